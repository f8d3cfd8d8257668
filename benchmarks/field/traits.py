"""The traits of a server beside its speed: a bad row among good ones, a killed worker, SIGTERM under load.

Each is tried on real processes over real sockets, with the settings of the speed measurements. A server is started anew
for each kill and each SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import uvloop

from benchmarks.core import AXON
from benchmarks.field.clients import Answer, Connection, Crowd, make_request
from benchmarks.field.peers import GRANIAN_TORCH, MOSEC, mosec
from benchmarks.measure import ANSWER_TOLERANCE
from benchmarks.model import make_model, make_rows
from benchmarks.peer import Peer
from benchmarks.process import MeasuredServer
from benchmarks.wire import Message, Rows

MODEL = "tab"
CLIENTS = 64  # as in the workload `tab-64`, and as many as mosec's largest batch
BURSTS = 20
WARM_SECONDS = 1.0
RECOVERY_SECONDS = 10.0  # a server without an answer for this long after a kill counts as ended
AFTERMATH_SECONDS = 1.0  # load after the first answer that follows a kill
END_SECONDS = 30.0  # the longest that a server may take to end after SIGTERM
_POLL_SECONDS = 0.02
_END_POLL_SECONDS = 0.1  # looking through /proc takes milliseconds, in which no client works


@dataclass(frozen=True)
class Candidate:
    """A server under test, and its settings.

    Attributes:
        peer: server and its settings.
        worker: opening of the role (`MeasuredServer.role`) of the processes that compute.
        environment: name of the server's virtual environment, or None if it runs in the benchmark's own.
    """

    peer: Peer
    worker: str
    environment: str | None = None


CANDIDATES = {
    candidate.peer.name: candidate
    for candidate in (
        Candidate(AXON, "worker-"),
        Candidate(MOSEC, "spawned", "mosec"),
        Candidate(mosec("mosec-2", workers=2), "spawned", "mosec"),
        Candidate(GRANIAN_TORCH, "forked", "granian"),
    )
}


def _with_a_text(rows: Rows) -> bytes:
    return json.dumps({"instances": [["x", *row[1:]] for row in rows]}).encode()


def _too_short(rows: Rows) -> bytes:
    return json.dumps({"instances": [row[:-1] for row in rows]}).encode()


def _cut_off(rows: Rows) -> bytes:
    return json.dumps({"instances": rows}).encode()[:-2]


BAD_ROWS: dict[str, Callable[[Rows], bytes]] = {
    "a text in place of a number": _with_a_text,
    "a number too few": _too_short,
    "JSON that breaks off": _cut_off,
}


@dataclass(frozen=True)
class Burst:
    """Requests that were sent at once, of which one has a bad row.

    Attributes:
        bad: kind of the bad row.
        good: number of requests with good rows.
        answered: number of these that got the right answer.
        status: HTTP status of the answer to the bad row, or None if none came.
    """

    bad: str
    good: int
    answered: int
    status: int | None


@dataclass(frozen=True)
class Loss:
    """The losses of a load after a `kill -9` of one worker, or after a SIGTERM to the main process.

    Attributes:
        unanswered: number of requests without any answer.
        errors: number of requests whose answer was an error.
        seconds: after a kill, time to the answer of a request that was sent later; after a SIGTERM, time until all
            processes had ended. None if that did not happen.
    """

    unanswered: int
    errors: int
    seconds: float | None


@dataclass
class Traits:
    """All results of one server."""

    bursts: list[Burst] = field(default_factory=list)
    kills: list[Loss] = field(default_factory=list)
    stops: list[Loss] = field(default_factory=list)


def try_traits(candidate: Candidate, times: int) -> Traits:
    """Tries one server.

    Args:
        candidate: server to try.
        times: number of kills and of SIGTERMs.

    Raises:
        RuntimeError: the server did not start, or has another number of workers than it should.
    """
    traits = Traits()
    _say(candidate, "bad rows")
    with _started(candidate) as server:
        for bad in BAD_ROWS:
            traits.bursts += [uvloop.run(_burst(server, bad, seed)) for seed in range(BURSTS)]
    for i in range(times):
        _say(candidate, f"kill {i + 1} of {times}")
        with _started(candidate) as server:
            traits.kills.append(uvloop.run(_kill(server, candidate)))
        _say(candidate, f"SIGTERM {i + 1} of {times}")
        with _started(candidate) as server:
            traits.stops.append(uvloop.run(_stop(server)))
    return traits


def _say(candidate: Candidate, step: str) -> None:
    print(f"{candidate.peer.name}: {step}", file=sys.stderr, flush=True)


def _started(candidate: Candidate) -> _Started:
    return _Started(candidate.peer, MODEL)


class _Started(MeasuredServer):
    """A server that has answered its first request."""

    def __enter__(self) -> _Started:
        super().__enter__()
        try:
            self.wait_until_it_answers(self.peer.wire.encode(make_rows(MODEL, 1)))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def pid_of(self, role: str) -> int:
        """Returns the id of one process whose role begins with `role`."""
        for pid in self.pids():
            if self.role(pid).startswith(role):
                return pid
        raise RuntimeError(f"{self.peer.name} has no process with the role {role!r}: {sorted(self.memory())}")


async def _burst(server: _Started, bad: str, seed: int) -> Burst:
    """Sends one request over each of many connections at once, of which one has a bad row."""
    peer = server.peer
    rows = make_rows(MODEL, CLIENTS)
    messages = [peer.wire.encode([row]) for row in rows]
    place = random.Random(seed).randrange(CLIENTS)
    requests = [make_request(peer.path, message.body) for message in messages]
    connections = [await Connection.to(server.port) for _ in rows]
    for connection, request in zip(connections, requests, strict=True):  # each connection is accepted and in use
        connection.send(request)
        await connection.answer()
    requests[place] = make_request(peer.path, BAD_ROWS[bad]([rows[place]]))
    for connection, request in zip(connections, requests, strict=True):
        connection.send(request)
    answers = await asyncio.gather(*(connection.answer() for connection in connections))
    for connection in connections:
        connection.close()
    right = [i != place and _is_right(peer, rows[i], answer) for i, answer in enumerate(answers)]
    bad_answer = answers[place]
    return Burst(bad, CLIENTS - 1, sum(right), bad_answer.status if bad_answer is not None else None)


def _is_right(peer: Peer, row: list[float], answer: Answer | None) -> bool:
    """Returns True if an answer has torch's probabilities for a row."""
    if answer is None or answer.status != 200:
        return False
    with torch.inference_mode():
        expected = make_model(MODEL)(torch.tensor([row])).softmax(-1)
    found = torch.tensor(peer.wire.decode(Message(answer.body)))
    return found.shape == expected.shape and bool((found - expected).abs().max() <= ANSWER_TOLERANCE)


async def _kill(server: _Started, candidate: Candidate) -> Loss:
    worker = server.pid_of(candidate.worker)
    async with _crowd(server) as crowd:
        await asyncio.sleep(WARM_SECONDS)
        before, killed = len(crowd.sent), time.monotonic()
        os.kill(worker, signal.SIGKILL)
        seconds = None
        while seconds is None and time.monotonic() < killed + RECOVERY_SECONDS:
            await asyncio.sleep(_POLL_SECONDS)
            if any(sent.at > killed and sent.answered for sent in crowd.sent[before:]):
                seconds = time.monotonic() - killed
        await asyncio.sleep(AFTERMATH_SECONDS)
    return _loss(crowd, before, seconds)


async def _stop(server: _Started) -> Loss:
    main = server.pid_of("main")
    async with _crowd(server) as crowd:
        await asyncio.sleep(WARM_SECONDS)
        before, stopped = len(crowd.sent), time.monotonic()
        os.kill(main, signal.SIGTERM)
        while (running := server.pids()) and time.monotonic() < stopped + END_SECONDS:
            await asyncio.sleep(_END_POLL_SECONDS)
        seconds = None if running else time.monotonic() - stopped
    return _loss(crowd, before, seconds)


def _crowd(server: _Started) -> Crowd:
    body = server.peer.wire.encode(make_rows(MODEL, 1)).body
    return Crowd(server.port, make_request(server.peer.path, body), CLIENTS)


def _loss(crowd: Crowd, before: int, seconds: float | None) -> Loss:
    """Counts the requests without an answer and with an error, among those that ended after the first `before`."""
    statuses = [sent.status for sent in crowd.sent[before:] if not sent.answered]
    unanswered = sum(status is None for status in statuses)
    return Loss(unanswered, len(statuses) - unanswered, seconds)
