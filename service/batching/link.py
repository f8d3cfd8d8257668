"""The streams from an API process to the inference workers: frames out and in, reconnection, and who is free.

A link holds what it sent until the answer is there. When its worker dies, the stream breaks, and everything that
was not answered goes back to where it came from, to be sent again: prediction is pure, so twice does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from service.errors import NoWorker
from service.logs import get_logger
from service.stream import frames
from service.stream.frames import AnswerFrame, Frame, FrameError, FrameReader, Kind
from service.stream.heartbeat_policy import HeartbeatPolicy

_RECONNECT_SECONDS = 0.02
_LOAD_ATTEMPTS = 3
_LOAD_SECONDS = 300.0
_RESTORED_AT_ONCE = 8  # versions that a worker is asked for at a time, which loads one after the other anyway

log = get_logger(__name__)


@dataclass(frozen=True)
class Loaded:
    """What a worker says of a model version that it was asked to load.

    Attributes:
        error: the reason why it cannot; None where the version is ready.
        batch_invariant: whether a row's answer was found not to depend, by a single bit, on its company in a batch.
    """

    error: str | None = None
    batch_invariant: bool = False


class Delivery(Protocol):
    """A batch on its way: what a link needs to know of it."""

    key: str

    def encode(self, id_: int) -> bytes:
        """The batch as a PREDICT or RETRY frame."""

    def started(self) -> None:
        """The worker begins with it; told of a RETRY alone."""

    def answered(self, answer: AnswerFrame) -> None:
        """Its answer has come."""

    def refused(self) -> None:
        """The worker cannot load its model version; another may."""

    def lost(self) -> None:
        """Its worker died before it answered."""


class Link(asyncio.Protocol):
    """The stream to one worker; it reconnects for as long as it is not closed."""

    def __init__(self, index: int, path: Path, on_change: Callable[[], None]) -> None:
        self.index = index
        self.worker: dict[str, Any] = {}  # what its HELLO said; empty while the worker is down
        self.in_flight: dict[int, Delivery] = {}
        self.in_hand: dict[str, list[Delivery]] = {}  # by key, oldest first; no key without a delivery
        self.loaded: set[str] = set()  # keys that the worker has said it can run
        self.lacking: dict[str, str] = {}  # keys that it has said it cannot load, with the reason
        self._path = path
        self._on_change = on_change
        self._reader = FrameReader()
        self._loads: dict[int, asyncio.Future[Loaded]] = {}
        self._transport: asyncio.Transport | None = None
        self._broken = asyncio.Event()
        self._last_id = 0
        self._heard = False  # since the last look
        self._misses = 0

    @property
    def up(self) -> bool:
        """Whether the worker has said that it is ready."""
        return bool(self.worker)

    async def run(self) -> None:
        """Keeps the link connected until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                with contextlib.suppress(OSError):
                    self._broken.clear()
                    await loop.create_unix_connection(lambda: self, str(self._path))
                    await self._broken.wait()
                await asyncio.sleep(_RECONNECT_SECONDS)
        finally:
            self.worker = {}
            if self._transport is not None:
                self._transport.abort()

    def send(self, delivery: Delivery) -> None:
        """Sends a batch; `delivery.answered` or `delivery.lost` will be called."""
        assert self._transport is not None  # noqa: S101 -- the pool hands out links that are up
        self._last_id += 1
        self.in_flight[self._last_id] = delivery
        self.in_hand.setdefault(delivery.key, []).append(delivery)
        self._transport.write(delivery.encode(self._last_id))

    async def load(self, key: str, kind: Kind = Kind.LOAD) -> Loaded:
        """Has the worker make a model version ready.

        Args:
            key: key of the version.
            kind: LOAD where the store's file is new, RESTORE where the version was served before.

        Raises:
            NoWorker: it went before it said.
        """
        assert self._transport is not None  # noqa: S101
        self._last_id += 1
        id_ = self._last_id
        loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._loads[id_] = loaded
        self._transport.write(frames.encode(kind, id_, key.encode()))
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                said = await loaded
        except TimeoutError:
            raise NoWorker(f"the worker took more than {_LOAD_SECONDS:g} s to load a model.") from None
        finally:
            self._loads.pop(id_, None)
        if said.error is None:
            self.loaded.add(key)
            self.lacking.pop(key, None)
        elif kind is Kind.RESTORE:
            self.lacking[key] = said.error
        return said

    def look(self, max_missed: int) -> None:
        """Called again and again: asks the worker whether it is there, and lets go of one that says nothing.

        Looks are counted, and not seconds: when this process itself was held up, the worker's words may be unread.
        """
        if self._transport is None or not self.worker:
            return
        self._misses = 0 if self._heard else self._misses + 1
        if self._misses >= max_missed:
            log.error("worker does not answer; its batches go to others", worker=self.index)
            self._transport.abort()
        elif self._heard:
            self._heard = False
            self._transport.write(frames.encode(Kind.PING, 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there; the worker's HELLO is next."""
        self._transport = cast(asyncio.Transport, transport)
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        """Bytes from the worker."""
        self._heard = True
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except (FrameError, KeyError, ValueError) as error:
            log.error("worker out of step; reconnecting", worker=self.index, reason=repr(error))
            cast(asyncio.Transport, self._transport).abort()

    def connection_lost(self, _: Exception | None) -> None:
        """The worker went: what it did not answer goes back."""
        self._transport = None
        if self.worker:
            log.warning("worker down", worker=self.index, unanswered=len(self.in_flight))
        self.worker = {}
        lost, self.in_flight = list(self.in_flight.values()), {}
        self.in_hand.clear()
        self.loaded.clear()
        self.lacking.clear()
        loads, self._loads = list(self._loads.values()), {}
        for load in loads:
            if not load.done():
                load.set_exception(NoWorker("the worker died while it was loading a model."))
        for delivery in lost:
            delivery.lost()
        self._broken.set()
        self._on_change()

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.ANSWER:
                answer = frames.decode_answer(frame.payload)  # before anything: where it is none, the batch is lost
                self._take_back(frame.id).answered(answer)
            case Kind.REFUSED:
                reason = json.loads(bytes(frame.payload))["error"]
                delivery = self._take_back(frame.id)
                self.loaded.discard(delivery.key)
                self.lacking[delivery.key] = reason
                delivery.refused()
            case Kind.STARTED:
                self.in_flight[frame.id].started()
            case Kind.LOADED:
                load = self._loads.pop(frame.id, None)
                if load is not None and not load.done():
                    facts = json.loads(bytes(frame.payload))
                    load.set_result(Loaded(facts["error"], facts.get("batch_invariant", False)))
            case Kind.HELLO:
                self.worker = json.loads(bytes(frame.payload))
                self._misses = 0
                log.info("worker up", **self.worker)
                self._on_change()
            case Kind.PONG:
                pass
            case _:
                raise FrameError(f"an API process takes no {frame.kind.name}")

    def _take_back(self, id_: int) -> Delivery:
        """The batch that the worker has done with."""
        delivery = self.in_flight.pop(id_)
        in_hand = self.in_hand[delivery.key]
        in_hand.remove(delivery)
        if not in_hand:
            del self.in_hand[delivery.key]
        return delivery


class WorkerPool:
    """All workers' links.

    Args:
        paths: the workers' sockets.
        on_change: called when a worker has come or gone.
        hang_seconds: a worker that says nothing for so long is taken for gone, until it connects anew.
    """

    def __init__(self, paths: Iterable[Path], on_change: Callable[[], None], *, hang_seconds: float = 10.0) -> None:
        self._patience = HeartbeatPolicy.of(hang_seconds)
        self.links = [Link(index, path, on_change) for index, path in enumerate(paths)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to connect."""
        self._tasks = [asyncio.create_task(link.run(), name=f"link-{link.index}") for link in self.links]
        self._tasks.append(asyncio.create_task(self._look(), name="look"))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._patience.probe_seconds)
            for link in self.links:
                link.look(self._patience.max_missed)

    async def close(self) -> None:
        """Lets go of the workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def free_link(self, key: str, *, at_most: int = 0) -> Link | None:
        """The least busy link that has at most so many batches of this model version in hand; None where there is none.

        One batch of a version at a time on a worker: what comes meanwhile gathers and becomes the next batch.
        """
        best: Link | None = None
        for link in self.links:
            free = link.worker and key not in link.lacking and len(link.in_hand.get(key, ())) <= at_most
            if free and (best is None or len(link.in_flight) < len(best.in_flight)):
                best = link
        return best

    async def load(self, key: str) -> Loaded:
        """Has every worker that is up make a model version ready; the first reason why one cannot, if there is one.

        At least one has to have said so: a version that nobody has loaded may be a bad one. Where there is none, it
        waits; the successor of one that died meanwhile loads for itself.

        Raises:
            NoWorker: they died each time.
        """
        for _ in range(_LOAD_ATTEMPTS):
            while not self.up:
                await asyncio.sleep(_RECONNECT_SECONDS)
            answers = await asyncio.gather(*(link.load(key) for link in self.links if link.up), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, NoWorker):
                    raise answer
            loaded = [answer for answer in answers if not isinstance(answer, BaseException)]
            if loaded:
                error = next((one.error for one in loaded if one.error is not None), None)
                return Loaded(error, all(one.batch_invariant for one in loaded))
        raise NoWorker(f"the workers died {_LOAD_ATTEMPTS} times while they were loading it.")

    async def confirm(self, keys: Collection[str]) -> None:
        """Asks each worker for the served versions that it has not said it can run: a successor has yet to say so, and
        what could not be loaded is tried again.

        Args:
            keys: keys of all versions that are served.
        """
        async with asyncio.TaskGroup() as tasks:
            for link in self.links:
                link.loaded.intersection_update(keys)
                link.lacking = {key: reason for key, reason in link.lacking.items() if key in keys}
                if link.up:
                    missing = [key for key in keys if key not in link.loaded]
                    # A few tasks for all of these: beginning a thousand would hold the event loop for 30 ms.
                    rest = iter(missing)
                    for _ in range(min(_RESTORED_AT_ONCE, len(missing))):
                        tasks.create_task(_restore(link, rest))

    def is_lacked(self, key: str) -> bool:
        """Returns True if no worker can load a version, not even one that is about to come back."""
        return all(key in link.lacking for link in self.links)

    def lacked(self) -> set[str]:
        """Keys of the versions that no worker can load."""
        return set.intersection(*(set(link.lacking) for link in self.links)) if self.links else set()

    def lacking(self) -> dict[str, str]:
        """The versions that some worker cannot load, by key, with the reason."""
        found: dict[str, str] = {}
        for link in self.links:
            for key, reason in link.lacking.items():
                who = "no worker" if self.is_lacked(key) else f"not worker {link.index}, but others,"
                found.setdefault(key, f"{who} can load it: {reason}")
        return found

    @property
    def up(self) -> int:
        """Workers that are ready."""
        return sum(link.up for link in self.links)


async def _restore(link: Link, keys: Iterator[str]) -> None:
    for key in keys:
        if link.up:
            with contextlib.suppress(NoWorker):  # its successor will be asked
                await link.load(key, Kind.RESTORE)
