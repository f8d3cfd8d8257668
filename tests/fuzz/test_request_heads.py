"""Bytes that are nearly HTTP: every connection ends within the server's time limits, each answer on it is a whole one and
belongs to the request that it stands for, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass

import pytest
from fuzzed_models import FUZZ_SECONDS, MODELS
from serving import Server, http_post

pytestmark = pytest.mark.faults

CONVERSATIONS = 50 * FUZZ_SECONDS
AT_A_TIME = 100
PATIENCE_SECONDS = 20  # the server's limits are seconds, and its cores are busy
REFUSALS = {400, 404, 405, 408, 413, 414, 422, 431}
INFORMATIONAL = {100}

GET = [
    b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /models/colours?x=%41 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"GET /models/iris/summary?format=text HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /predict HTTP/1.0\r\n\r\n",
]
JUNK = [
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"\t", b":", b"\r\n\r\n", b"GET", b"POST / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"FOO /predict HTTP/1.1\r\n\r\n", b"POST  /predict HTTP/1.1\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1e3\r\n", b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: 5, 5\r\n", b"Content-Length:\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: xchunked\r\n",
    b" folded: line\r\n", b"no colon\r\n", b": no name\r\n", b"X-Request-ID: \xff\xfe\r\n", b"X: " + b"y" * 70_000 + b"\r\n",
    b"A: b\r\n" * 2_000, b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: h2c\r\n",
    b"Connection: keep-alive, close\r\n", b"Expect: 100-continue\r\n", b"Expect: nonsense\r\n", b"Host: a\r\nHost: b\r\n",
    b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"ffffffffffffffff\r\n", b"5;ext=\"x\r\nabc", b"-1\r\n", b"G\r\n", b"00000000000000005\r\n",
]  # fmt: skip
TARGETS = [
    b"/predict", b"//predict", b"/predict/", b"/predict?a=b", b"/%70redict", b"http://x/predict", b"/predict%00", b"*", b"predict", b"/../predict",
    b"/" + b"a" * 70_000, b"/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", b"/models/%ff", b"/models/colours#x", b"/\xc3\xa9", b"http://[::1", b"/predict;x",
]  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """What is sent on one connection, piece by piece.

    Attributes:
        sound: the ids of the sound requests that it begins with, in order.
        half_close: whether the client then says that nothing more will come.
    """

    pieces: tuple[bytes, ...]
    sound: tuple[str, ...]
    half_close: bool

    def __str__(self) -> str:
        return f"{self.sound} {self.half_close} " + " | ".join(repr(piece[:2_000]) for piece in self.pieces)


class Talk:
    """Conversations drawn by a seed; each sound request has an id of its own, and a body whose answer is known."""

    def __init__(self, server: Server, seed: int) -> None:
        self._rng = random.Random(seed)
        self._count = 0
        self.answers: dict[str, bytes] = {}
        self._bodies: dict[bytes, bytes] = {}
        for name, checkpoint in MODELS.items():
            for i in range(3):
                columns = checkpoint.schema.columns
                row = [getattr(column, "mean", 0.0) + i if hasattr(column, "mean") else "Rome" for column in columns]
                body = json.dumps({"model": name, "instances": [row] * (1 + 7 * i)}).encode()
                answer = http_post(f"{server.url}/predict", content=body)
                assert answer.status_code == 200, answer.text
                self._bodies[body] = answer.content

    def conversation(self) -> Conversation:
        """Sound requests, then whatever."""
        rng, sound, data = self._rng, [], bytearray()
        for _ in range(rng.randrange(4)):
            id_, request = self._request()
            sound.append(id_)
            data += request
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            data += self._damaged()
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 1, 3, 10])))
        pieces = tuple(bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
        return Conversation(pieces, tuple(sound), rng.random() < 0.3)

    def _request(self, target: bytes = b"/predict") -> tuple[str, bytes]:
        rng = self._rng
        body = rng.choice(list(self._bodies))
        self._count += 1
        id_ = f"fuzz-{self._count}"
        self.answers[id_] = self._bodies[body]
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nX-Request-ID: %b\r\n" % (target, id_.encode())
        if rng.random() < 0.5:
            return id_, head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        size = rng.randrange(1, len(body) + 1)
        chunks = (body[at : at + size] for at in range(0, len(body), size))
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        return id_, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n"

    def _damaged(self) -> bytes:
        rng = self._rng
        match rng.randrange(6):
            case 0:
                return rng.choice(JUNK) * rng.choice([1, 1, 5])
            case 1:
                return rng.choice(GET)
            case 2:
                return self._request(rng.choice(TARGETS))[1]
            case 3:
                data = bytearray(rng.choice(GET))
            case _:
                data = bytearray(self._request()[1])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data) + 1)
            lines = [found.end() for found in re.finditer(b"\r\n", data)] or [at]
            match rng.randrange(6):
                case 0:
                    data[at:at] = rng.choice(JUNK)
                case 1:
                    line = rng.choice(lines)
                    data[line:line] = rng.choice(JUNK)
                case 2:
                    del data[at : at + rng.randrange(1, 20)]
                case 3:
                    del data[at:]
                case 4:
                    data[at : at + 1] = rng.randbytes(1)
                case _:
                    number = re.search(rb"Length: (\d+)", data)
                    if number is not None:
                        data[number.start(1) : number.end(1)] = str(rng.choice([0, 1, 10, 49, 10**6, 10**30])).encode()
        return bytes(data)


async def received(port: int, conversation: Conversation) -> bytes:
    """Everything that comes back until the server closes the connection.

    Raises:
        TimeoutError: it does not.
    """
    got = bytearray()
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in conversation.pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            if conversation.half_close:
                writer.write_eof()
            while data := await reader.read(1 << 16):
                got += data
        except ConnectionError:  # it closed while we were still sending
            pass
        finally:
            writer.transport.abort()
    return bytes(got)


def check(conversation: Conversation, got: bytes, answers: dict[str, bytes]) -> None:
    """Whole answers, no 5xx, those to the sound requests first, right and in order, and a refusal only after them."""
    expected = list(conversation.sound)
    at = 0
    while at < len(got):
        head = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[A-Za-z-]+: ?[^\r\n]*\r\n)*)\r\n").match(got, at)
        assert head is not None, got[at : at + 500]
        status = int(head[1])
        at = head.end()
        if status in INFORMATIONAL:
            continue
        fields = dict(re.findall(rb"([a-z-]+): ?([^\r\n]*)\r\n", head[2].lower()))
        length = int(fields[b"content-length"])
        body, at = got[at : at + length], at + length
        id_ = fields.get(b"x-request-id", b"").decode("latin-1")
        if expected:
            assert (status, id_) == (200, expected.pop(0)), body
        assert status in REFUSALS | {200, 307}, body
        if id_ in answers and status == 200:
            assert body == answers[id_]
        if status >= 400:
            assert fields[b"content-type"] == b"application/problem+json"
            assert json.loads(body)["status"] == status
        if fields.get(b"connection") == b"close":
            assert at == len(got), got[at : at + 500]
    assert at == len(got), "the last answer is not whole"


def test_no_bytes_hang_a_connection_or_put_answers_in_a_wrong_place(fuzzed: Server) -> None:
    talk = Talk(fuzzed, seed=1)
    conversations = [talk.conversation() for _ in range(CONVERSATIONS)]

    async def all_of_them() -> list[str]:
        free = asyncio.Semaphore(AT_A_TIME)

        async def one(conversation: Conversation) -> str | None:
            async with free:
                try:
                    check(conversation, await received(fuzzed.port, conversation), talk.answers)
                except (AssertionError, TimeoutError, KeyError, ValueError) as error:
                    return f"{type(error).__name__} {error}\n    after {conversation}"
            return None

        return [fault for fault in await asyncio.gather(*map(one, conversations)) if fault is not None]

    faults = asyncio.run(all_of_them())
    assert not faults, f"{len(faults)} of {CONVERSATIONS}:\n" + "\n".join(faults[:10])
    assert fuzzed.ready()
