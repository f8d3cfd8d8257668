"""The lane for plain requests and the HTTP parser give the same answers to the same bytes, and count the same.

Two servers get the same conversations: one as it is, and one whose lane takes nothing. A conversation is what one
client sends on one connection: requests in the styles of several clients, plain and not plain, sound, faulty and
damaged, whole, in pieces and glued together. Answers are compared byte by byte, apart from the date and from ids that
the server made.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop
from fuzzed_models import FUZZ_SECONDS, KEY, MODELS, SECRET
from infer_bodies import binary_tensor, element_bytes, tensor, with_bytes
from serving import ROOT, Server, http_get, running

from models.store import Store

pytestmark = pytest.mark.faults

AT_A_TIME = 48
REQUESTS = 12  # of one conversation, on average
QUIET_SECONDS = 0.3  # after this time without a byte, the server waits for more from the client
LONGER_QUIET_SECONDS = (
    3.0  # the same for a conversation that differed: on a busy machine, an answer may have come later
)
PATIENCE_SECONDS = 120

CLIENTS = [  # the lines of a head, apart from the first; each client keeps its style for a whole conversation
    [b"Host: x", b"Content-Type: application/json", b"Content-Length: %(length)d"],
    [
        b"Host: 127.0.0.1:8000", b"User-Agent: python-requests/2.32", b"Accept-Encoding: gzip, deflate",
        b"Accept: */*", b"Connection: keep-alive", b"Content-Length: %(length)d", b"Content-Type: application/json",
        b"X-API-Key: %(key)s",
    ],
    [
        b"host: x", b"user-agent: node", b"content-length: %(length)d", b"x-request-id: %(id)s",
        b"traceparent: 00-%(trace)s-00f067aa0ba902b7-01", b"authorization: Bearer %(key)s",
    ],
    [b"HOST: x", b"CONTENT-LENGTH: %(length)d", b"X-Request-Timeout-Seconds: 20", b"X-REQUEST-ID: %(id)s"],
    [b"Host: x", b"Content-Length: %(length)d", b"Origin: https://app.example", b"Accept-Encoding: gzip"],
]  # fmt: skip
LINES = [
    b"Expect: 100-continue", b"Connection: close", b"Connection: keep-alive, x", b"Transfer-Encoding: chunked",
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length:  %(length)d", b"Content-Length: 0%(length)d",
    b"Host: y", b"Host:", b"X-Request-ID: twice", b"X-Request-ID: \xff", b"X-Request-ID: a b  c", b"Upgrade: h2c",
    b"Content-Encoding: gzip", b"Content-Type: text/csv", b"Content-Type: text/html", b"no colon", b" folded: line",
    b"X-API-Key: wrong", b"Authorization: Basic x", b"X-Request-Timeout-Seconds: 0", b"X: " + b"y" * 3_000,
    b"TE: trailers", b"Cookie: a=b",
]  # fmt: skip
FIRST_LINES = [
    b"POST /predict HTTP/1.1", b"POST /predict?x=1 HTTP/1.1", b"POST /predict?model=iris HTTP/1.1",
    b"POST http://x/predict HTTP/1.1", b"POST /predict HTTP/1.0", b"GET /health/live HTTP/1.1",
    b"PUT /predict HTTP/1.1",
    b"post /predict HTTP/1.1", b"POST /models/iris/summary HTTP/1.1",
]  # fmt: skip
JUNK = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\r\n\r\n", b"\xff", b"0", b"Host: z\r\n", FIRST_LINES[0] + b"\r\n"]
BROKEN = [b"", b"{", b"[]", b'{"instances":[[1,2]]', b'{"instances":[[NaN,1]]}', b'{"instances":[[1,2]]} x']
DATE = re.compile(rb"\r\ndate: [^\r]*", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
MADE_ID = re.compile(rb"\b[0-9a-f]{12}-[0-9a-f]+\b")


@dataclass(frozen=True)
class Asked:
    """A request without the style of its client.

    Attributes:
        first: first line of the head.
        lines: lines of the head that the body needs.
        body: body of the request.
    """

    first: bytes
    lines: list[bytes]
    body: bytes


@dataclass(frozen=True)
class Step:
    """The bytes of one request.

    Attributes:
        pieces: bytes, one or more pieces that are sent one after the other.
        is_glued: True if the next request follows before the answer.
    """

    pieces: tuple[bytes, ...]
    is_glued: bool


class Script:
    """A generator of conversations, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        bodies = [*(json.dumps(body).encode() for body in self._documents()), *BROKEN]
        self._asked = [Asked(FIRST_LINES[0], [], body) for body in bodies]
        self._inferred = list(self._inferences())

    @staticmethod
    def _documents() -> Iterator[object]:
        """Yields documents: rows as lists and objects for each model, one and several, and faulty ones."""
        for name, checkpoint in MODELS.items():
            columns = checkpoint.schema.columns
            for shift in range(3):
                row = [round(0.3 + shift / 7, 3) if hasattr(column, "mean") else "null" for column in columns]
                named = dict(zip(checkpoint.schema.names, row, strict=True))
                yield from ({"model": name, "instances": rows} for rows in ([row], [named], [row] * 3, [row] * 40))
                yield {"instances": [row], "model": f"{name}@1"}
                yield {"model": name, "instances": [row[:-1]]}
            yield {"model": name, "instances": [["unseen"] * len(columns)]}
            yield {"model": name, "instances": [[True] * len(columns)]}
            yield {"model": name, "instances": [[None] * len(columns)]}
            yield {"model": name, "instances": [[1e39] * len(columns)]}
            yield {"model": name, "instances": []}
        yield {"instances": [["null"]]}
        yield {"instances": [["null"]], "model": None, "more": 1}
        yield {"model": "nobody", "instances": [[1]]}

    @staticmethod
    def _inferences() -> Iterator[Asked]:
        """Yields requests of the Open Inference Protocol: JSON and binary, sound and faulty, with various outputs."""
        forms: list[dict[str, Any]] = [{}, {"id": "7"}, {"parameters": {"binary_data_output": True}}]
        forms += [{"outputs": [{"name": "predictions", "parameters": {"binary_data": True}}]}]
        forms += [{"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}]
        forms += [{"outputs": [{"name": "other"}]}, {"parameters": {"timeout": 2e7}}, {"more": 1}]
        for path, width in (("colours", 4), ("price/versions/1", 2), ("xor", 2), ("mixed", 2), ("nobody", 1)):
            first = f"POST /v2/models/{path}/infer HTTP/1.1".encode()
            for form, rows, values in itertools.product(forms, (1, 3), ([0.5], [-0.25, 1e39])):
                flat = (values * rows * width)[: rows * width]
                body, _ = with_bytes({"inputs": [tensor("x", "FP32", [rows, width], flat)], **form})
                yield Asked(first, [], body)
                part = element_bytes("FP64", flat)
                given = binary_tensor("x", "FP64", [rows, width], len(part))
                body, length = with_bytes({"inputs": [given], **form}, part)
                yield Asked(first, [b"Inference-Header-Content-Length: %d" % length], body)
            for length in (0, 5):
                yield Asked(first, [b"Inference-Header-Content-Length: %d" % length], bytes(4 * width))

    def conversation(self) -> list[Step]:
        """Makes a conversation; its last request asks for the end of the connection."""
        rng = self._rng
        choices = self._inferred if rng.random() < 0.4 else self._asked
        lines, asked = rng.choice(CLIENTS), rng.choice(choices)
        steps = []
        for _ in range(rng.randrange(2, 2 * REQUESTS)):
            if rng.random() < 0.5:
                asked = rng.choice(choices)
            data = self._request(lines, asked)
            if rng.random() < 0.08:
                data = self._damaged(data)
            cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 0, 0, 1, 3])))
            if rng.random() < 0.1 and b"\r\n\r\n" in data:
                cuts = [data.index(b"\r\n\r\n") + 4]  # head and body separately, as many clients do
            pieces = tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
            steps.append(Step(pieces, rng.random() < 0.1))
        end = self._request([*CLIENTS[0], b"Connection: close"], self._asked[0])
        return [*steps, Step((end,), False)]

    def _request(self, lines: list[bytes], asked: Asked) -> bytes:
        rng, body = self._rng, asked.body
        first, lines = asked.first, [*lines, *asked.lines]
        if rng.random() < 0.06:
            lines = [*lines, rng.choice(LINES)] if rng.random() < 0.7 else lines
            first = rng.choice(FIRST_LINES)
            rng.shuffle(lines := [*lines])
        values = {
            b"length": len(body),
            b"key": SECRET.encode(),
            b"id": b"fuzz-%d" % rng.randrange(1000),
            b"trace": b"%032x" % rng.getrandbits(128),
        }
        head = b"\r\n".join([first, *(line % values if b"%(" in line else line for line in lines), b"", b""])
        return head + body

    def _damaged(self, data: bytes) -> bytes:
        rng, damaged = self._rng, bytearray(data)
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(damaged) + 1)
            match rng.randrange(5):
                case 0:
                    damaged[at:at] = rng.choice(JUNK)
                case 1:
                    del damaged[at : at + rng.randrange(1, 8)]
                case 2:
                    damaged[at : at + 1] = rng.randbytes(1)
                case 3:
                    ends = [found.end() for found in re.finditer(b"\r\n", bytes(damaged))] or [at]
                    line = rng.choice(ends)
                    damaged[line:line] = rng.choice(LINES) + b"\r\n"
                case _:
                    del damaged[at:]
        return bytes(damaged)


class Client(asyncio.Protocol):
    """The client's side of a connection."""

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self.received = bytearray()
        self.ended = self.reset = False
        self.progress = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.progress.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.reset = True, exc is not None
        self.progress.set()

    async def answers(self, count: int) -> None:
        """Waits for this many answers in all, the end of the connection, or a quiet server."""
        while not self.ended and count_answers(self.received) < count:
            self.progress.clear()
            try:
                async with asyncio.timeout(self._quiet_seconds):
                    await self.progress.wait()
            except TimeoutError:
                return


def count_answers(received: bytearray) -> int:
    """Returns the number of whole answers, without interim ones."""
    return sum(1 for _ in answers_in(bytes(received)))


def answers_in(received: bytes) -> Iterator[bytes]:
    """Yields the whole answers, without interim ones, with dates and made ids blotted out."""
    at = 0
    while (end := received.find(b"\r\n\r\n", at)) >= 0:
        head = received[at : end + 4]
        length = LENGTH.search(head)
        size = int(length[1]) if length is not None else 0
        if end + 4 + size > len(received):
            return
        if not head.startswith(b"HTTP/1.1 100 "):
            head, body = DATE.sub(b"", head), received[end + 4 : end + 4 + size]
            if MADE_ID.search(body):  # later ids are longer
                head = LENGTH.sub(b"", head)
            yield MADE_ID.sub(b"(made id)", head + body)
        at = end + 4 + size


async def talk(port: int, conversation: list[Step], quiet_seconds: float) -> tuple[list[bytes], bool]:
    """Sends a conversation step by step; returns the answers, and True if the server has reset the connection."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        _, client = await loop.create_connection(lambda: Client(quiet_seconds), "127.0.0.1", port)
        transport = client.transport
        for number, step in enumerate(conversation, start=1):
            for piece in step.pieces:
                if not transport.is_closing():
                    transport.write(piece)  # type: ignore[attr-defined]
                if len(step.pieces) > 1:
                    await asyncio.sleep(0.001)
            if not step.is_glued:
                await client.answers(number)
            if client.ended:
                break
        if not client.ended:
            await client.answers(1 << 30)
            if not transport.is_closing():
                transport.write_eof()  # type: ignore[attr-defined]
            while not client.ended:
                client.progress.clear()
                await client.progress.wait()
    return list(answers_in(bytes(client.received))), client.reset


class UsualWay(Server):
    """The server without its lane."""

    command = (str(ROOT / "tests/fuzz/usual_way_service.py"),)


@pytest.fixture(scope="module", params=[False, True], ids=["open", "with keys"])
def both(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    """Two servers over the same store; the lane of the second takes nothing."""
    folder = tmp_path_factory.mktemp("both")
    store = Store(folder / "store")
    for name, checkpoint in MODELS.items():
        store.publish(name, checkpoint)
    settings = {"default_model": "anything", "max_body_bytes": 200_000, "max_request_rows": 500, "reload_seconds": 5}
    if request.param:
        settings["api_keys"] = KEY
    for side in ("lane", "usual"):
        (folder / side).mkdir()
    with (
        running(store.root, folder / "lane", **settings) as lane,
        running(store.root, folder / "usual", UsualWay, **settings) as usual,
    ):
        yield lane, usual


def counts(server: Server) -> dict[str, str]:
    """Returns the counted requests, rows and unknown categories."""
    text = http_get(f"{server.url}/metrics", headers={"X-API-Key": SECRET}).text
    pattern = r"^(axon_(?:requests|rows|unknown_categories)_total\{.*\}) (\S+)$"
    return dict(re.findall(pattern, text, re.MULTILINE))


def test_the_lane_answers_as_the_parser_does(both: tuple[Server, Server]) -> None:
    script = Script(seed=20)
    conversations = [script.conversation() for _ in range(30 * FUZZ_SECONDS)]
    missing = 0  # answers that one of the two servers did not give, or that did not arrive

    async def differing(conversation: list[Step], quiet_seconds: float = QUIET_SECONDS) -> str | None:
        """Returns the first answers that differ, and the steps around; None if all are equal."""
        (ours, was_reset), (theirs, were_reset) = await asyncio.gather(
            *(talk(server.port, conversation, quiet_seconds) for server in both)
        )
        nonlocal missing
        missing += abs(len(ours) - len(theirs))
        for at, (lane, usual) in enumerate(itertools.zip_longest(ours, theirs)):
            # A client that sends more after a request that closes may get a reset in place of the last answer.
            is_lost = (lane is None and was_reset) or (usual is None and were_reset)
            if lane != usual and not is_lost:
                if quiet_seconds < LONGER_QUIET_SECONDS:
                    return await differing(conversation, LONGER_QUIET_SECONDS)
                steps = "\n".join(f"  {at + near}: {step}" for near, step in enumerate(conversation[at : at + 3]))
                return f"answer {at} to\n{steps[:3_000]}\nlane:  {lane}\nusual: {usual}"
        return None

    async def all_of_them() -> list[str]:
        free = asyncio.Semaphore(AT_A_TIME)

        async def one(conversation: list[Step]) -> str | None:
            async with free:
                return await differing(conversation)

        return [found for found in await asyncio.gather(*map(one, conversations)) if found is not None]

    found = uvloop.run(all_of_them())
    assert not found, f"{len(found)} of {len(conversations)} differ:\n" + "\n\n".join(found[:3])
    lane, usual = map(counts, both)
    names = {name for name in {*lane, *usual} if not missing or name.startswith("axon_requests_total")}
    apart = sum(abs(float(lane.get(name, 0)) - float(usual.get(name, 0))) for name in names)
    # A request whose answer was lost in a reset may have been counted by one server only, and so may its rows.
    assert apart <= missing, f"{missing} answers missing, and the counts are {lane} and {usual}"
    assert sum(map(float, lane.values())) > len(conversations), "predictions were among them"
