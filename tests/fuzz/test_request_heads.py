"""For any bytes, a connection ends within the time limits, and the answers are whole and in the requests' order."""

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

CONVERSATIONS = 75 * FUZZ_SECONDS
AT_A_TIME = 100
PATIENCE_SECONDS = 20  # the server's limits are seconds, and its cores are busy
REFUSALS = {400, 404, 405, 408, 413, 414, 415, 422, 431, 501}
INFORMATIONAL = {100}

HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[A-Za-z-]+: ?[^\r\n]*\r\n)*)\r\n")

GET = [
    b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /models/colours?x=%41 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"GET /models/iris/summary?format=text HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /predict HTTP/1.0\r\n\r\n",
]
LINES = [
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 1e3", b"Content-Length: 18446744073709551616",
    b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Type: text/csv", b"Accept-Encoding: gzip;q=x, *",
    b"Transfer-Encoding: gzip, chunked", b"Host: a b",
    b"Content-Length: 5, 5", b"Content-Length:", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding : chunked", b"Transfer-Encoding: xchunked",
    b" folded: line", b"no colon", b": no name", b"X-Request-ID: \xff\xfe", b"X: " + b"y" * 70_000,
    b"A: b\r\n" * 2_000, b"Connection: close", b"Connection: upgrade\r\nUpgrade: websocket", b"Upgrade: h2c",
    b"Connection: upgrade\r\nUpgrade: h2c", b"Connection: keep-alive, close", b"Expect: 100-continue", b"Expect: x",
    b"Host: a\r\nHost: b", b"FOO /predict HTTP/1.1", b"POST  /predict HTTP/1.1",
    b"GET / HTTP/9.9\r\n", b"GET / HTTP/0.9", b"ffffffffffffffff", b'5;ext="x\r\nabc', b"-1", b"G",
    b"00000000000000005", b"0\r\n", b"0\r\nTrailer: x\r\n",
]  # fmt: skip
JUNK = [
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"\t", b":", b"\r\n\r\n", b"GET", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    *(line + b"\r\n" for line in LINES),
]  # fmt: skip
TARGETS = [
    b"/predict", b"//predict", b"/predict/", b"/predict?a=b", b"/%70redict", b"http://x/predict", b"/predict%00", b"*",
    b"predict", b"/../predict", b"/" + b"a" * 70_000, b"/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", b"/models/%ff",
    b"/models/colours#x", b"/\xc3\xa9", b"http://[::1", b"/predict;x",
]  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """The bytes sent on one connection, piece by piece.

    Attributes:
        sound: ids of the valid requests at the beginning, in order.
        half_close: True if the client then announces the end of its data.
    """

    pieces: tuple[bytes, ...]
    sound: tuple[str, ...]
    half_close: bool

    def __str__(self) -> str:
        return f"{self.sound} {self.half_close} " + " | ".join(repr(piece[:1_000]) for piece in self.pieces)


class Talk:
    """A generator of conversations, drawn from a seed; each valid request has its own id and a known answer."""

    def __init__(self, server: Server, seed: int) -> None:
        self._rng = random.Random(seed)
        self._count = 0
        self.answers: dict[str, bytes] = {}  # answers to the valid requests, by id
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
        """Makes a conversation: valid requests, then anything."""
        rng, sound, data = self._rng, [], bytearray()
        for _ in range(rng.randrange(4)):
            id_, request, answer = self._request()
            self.answers[id_] = answer
            sound.append(id_)
            data += request
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            data += self._damaged()
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 1, 3, 10])))
        pieces = tuple(bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
        return Conversation(pieces, tuple(sound), rng.random() < 0.3)

    def _request(self, target: bytes = b"/predict") -> tuple[str, bytes, bytes]:
        """Makes a request: its id, its bytes, and the body of the answer."""
        rng = self._rng
        body = rng.choice(list(self._bodies))
        self._count += 1
        id_ = f"fuzz-{self._count}"
        answer = self._bodies[body]
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nX-Request-ID: %b\r\n" % (target, id_.encode())
        if rng.random() < 0.5:
            return id_, head + b"Content-Length: %d\r\n\r\n" % len(body) + body, answer
        size = rng.randrange(1, len(body) + 1)
        chunks = (body[at : at + size] for at in range(0, len(body), size))
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        return id_, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n", answer

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


async def received(port: int, conversation: Conversation) -> tuple[bytes, bool]:
    """Sends a conversation and reads until the server closes the connection.

    Returns:
        All received bytes, and True if the server reset the connection.

    Raises:
        TimeoutError: the server does not close the connection.
    """
    got, reset = bytearray(), False
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
        except ConnectionError:
            reset = True
        finally:
            writer.transport.abort()
    return bytes(got), reset


def check(conversation: Conversation, got: bytes, reset: bool, answers: dict[str, bytes]) -> None:
    """Fails unless the answers are whole, not 5xx, in the order of the valid requests, and then at most one refusal."""
    expected = list(conversation.sound)
    at = 0
    while at < len(got):
        head = HEAD.match(got, at)
        assert head is not None, got[at : at + 500]
        status = int(head[1])
        at = head.end()
        if status in INFORMATIONAL:
            continue
        fields = dict(re.findall(rb"([a-z-]+): ?([^\r\n]*)\r\n", head[2].lower()))
        length = int(fields[b"content-length"])
        body, at = got[at : at + length], at + length
        if expected:
            id_ = expected.pop(0)
            assert (status, fields.get(b"x-request-id"), body) == (200, id_.encode(), answers[id_])
        assert status in REFUSALS | {200, 307}, body
        if status >= 400:
            assert fields[b"content-type"] == b"application/problem+json"
            assert json.loads(body)["status"] == status
        if fields.get(b"connection") == b"close":
            assert at == len(got), got[at : at + 500]
    assert at <= len(got) or reset, "the last answer is not whole"
    # A client that sends more after a request that closes may get a reset.
    assert not expected or reset, f"without an answer: {expected}"


def test_no_bytes_hang_a_connection_or_put_answers_in_a_wrong_place(fuzzed: Server) -> None:
    talk = Talk(fuzzed, seed=1)
    conversations = [talk.conversation() for _ in range(CONVERSATIONS)]

    async def all_of_them() -> list[str]:
        free = asyncio.Semaphore(AT_A_TIME)

        async def one(conversation: Conversation) -> str | None:
            async with free:
                try:
                    check(conversation, *await received(fuzzed.port, conversation), talk.answers)
                except (AssertionError, TimeoutError, KeyError, ValueError) as error:
                    return f"{type(error).__name__} {error}\n    after {conversation}"
            return None

        return [fault for fault in await asyncio.gather(*map(one, conversations)) if fault is not None]

    faults = asyncio.run(all_of_them())
    assert not faults, f"{len(faults)} of {CONVERSATIONS}:\n" + "\n".join(faults[:10])
    assert fuzzed.ready()
