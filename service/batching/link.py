"""The streams from an API process to the inference workers: frames, reconnection, and the choice of a free worker.

A link keeps each batch that it sent until the answer has come. When the worker dies, the stream breaks, and each
unanswered batch goes back to its sender, which sends it again. Predictions have no side effects, so computing them
twice does no harm.
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
_RESTORED_AT_ONCE = 8  # versions that a worker is asked to restore at a time; it loads one after the other anyway

log = get_logger(__name__)


@dataclass(frozen=True)
class Loaded:
    """The reply of a worker to the request to load a model version.

    Attributes:
        error: reason why the worker cannot load the version; None if the version is ready.
        batch_invariant: True if a test found that no bit of a row's answer depends on the other rows of its batch.
        may_pass: True if a later attempt may succeed without a change of the file.
    """

    error: str | None = None
    batch_invariant: bool = False
    may_pass: bool = False


class Delivery(Protocol):
    """A batch, as far as a link needs to know."""

    key: str

    def encode(self, id_: int) -> bytes:
        """Returns the batch as a PREDICT or RETRY frame."""

    def started(self) -> None:
        """Records the start of the batch in the worker; called for a RETRY only."""

    def answered(self, answer: AnswerFrame) -> None:
        """Takes the answer."""

    def refused(self) -> None:
        """Handles a refusal: this worker cannot load the model version, but another worker may be able to."""

    def lost(self) -> None:
        """Handles the death of the worker before the answer."""


class Link(asyncio.Protocol):
    """The stream to one worker, which reconnects until `run` is cancelled.

    Args:
        index: position of the worker among all workers.
        path: path of the worker's socket.
        on_change: function called when the worker has come up or gone down.

    Attributes:
        index: position of the worker among all workers.
        worker: content of the worker's HELLO; empty while the worker is down.
        in_flight: unanswered batches, by frame id.
        in_flight_by_key: unanswered batches by key, oldest first; no key has an empty list.
        loaded: keys of versions that the worker reported as loaded.
        load_failures: reasons by key for the versions that the worker cannot load.
    """

    def __init__(self, index: int, path: Path, on_change: Callable[[], None]) -> None:
        self.index = index
        self.worker: dict[str, Any] = {}
        self.in_flight: dict[int, Delivery] = {}
        self.in_flight_by_key: dict[str, list[Delivery]] = {}
        self.loaded: set[str] = set()
        self.load_failures: dict[str, str] = {}
        self._path = path
        self._on_change = on_change
        self._reader = FrameReader()
        self._loads: dict[int, asyncio.Future[Loaded]] = {}
        self._transport: asyncio.Transport | None = None
        self._broken = asyncio.Event()
        self._last_id = 0
        self._heard = False  # True if the worker sent anything since the last probe
        self._missed_heartbeats = 0

    @property
    def up(self) -> bool:
        """True once the worker has reported readiness."""
        return bool(self.worker)

    async def run(self) -> None:
        """Keeps the link connected until the task is cancelled."""
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
        self.in_flight_by_key.setdefault(delivery.key, []).append(delivery)
        self._transport.write(delivery.encode(self._last_id))

    async def load(self, key: str, kind: Kind = Kind.LOAD) -> Loaded:
        """Asks the worker to load a model version, and waits for the reply.

        Args:
            key: key of the version.
            kind: LOAD if the file in the store is new, RESTORE if the version was served before.

        Raises:
            NoWorker: the worker died before it replied, or did not reply in time.
        """
        assert self._transport is not None  # noqa: S101
        self._last_id += 1
        id_ = self._last_id
        loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._loads[id_] = loaded
        self._transport.write(frames.encode(kind, id_, key.encode()))
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                reply = await loaded
        except TimeoutError:
            raise NoWorker(f"the worker took more than {_LOAD_SECONDS:g} s to load a model.") from None
        finally:
            self._loads.pop(id_, None)
        if reply.error is None:
            self.loaded.add(key)
            self.load_failures.pop(key, None)
        elif kind is Kind.RESTORE:
            self.load_failures[key] = reply.error
        return reply

    def probe(self, max_missed: int) -> None:
        """Sends a PING to the worker, or closes the stream after `max_missed` missed heartbeats in a row.

        Probes are counted, not seconds: if this process itself was blocked, frames of the worker may still be unread.
        """
        if self._transport is None or not self.worker:
            return
        self._missed_heartbeats = 0 if self._heard else self._missed_heartbeats + 1
        if self._missed_heartbeats >= max_missed:
            log.error("worker does not answer; its batches go to others", worker=self.index)
            self._transport.abort()
        elif self._heard:
            self._heard = False
            self._transport.write(frames.encode(Kind.PING, 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the new stream; the worker sends HELLO next."""
        self._transport = cast(asyncio.Transport, transport)
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        """Handles bytes from the worker."""
        self._heard = True
        try:
            for frame in self._reader.feed(data):
                self._handle(frame)
        except (FrameError, KeyError, ValueError) as error:
            log.error("worker out of step; reconnecting", worker=self.index, reason=repr(error))
            cast(asyncio.Transport, self._transport).abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Gives all unanswered batches back, since the worker has gone."""
        self._transport = None
        if self.worker:
            log.warning("worker down", worker=self.index, unanswered=len(self.in_flight))
        self.worker = {}
        lost, self.in_flight = list(self.in_flight.values()), {}
        self.in_flight_by_key.clear()
        self.loaded.clear()
        self.load_failures.clear()
        loads, self._loads = list(self._loads.values()), {}
        for load in loads:
            if not load.done():
                load.set_exception(NoWorker("the worker died while it was loading a model."))
        for delivery in lost:
            delivery.lost()
        self._broken.set()
        self._on_change()

    def _handle(self, frame: Frame) -> None:
        """Handles one frame of the worker."""
        match frame.kind:
            case Kind.ANSWER:
                # First: if the answer is malformed, the batch is still in flight and counts as lost.
                answer = frames.decode_answer(frame.payload)
                self._remove(frame.id).answered(answer)
            case Kind.REFUSED:
                reason = json.loads(bytes(frame.payload))["error"]
                delivery = self._remove(frame.id)
                self.loaded.discard(delivery.key)
                self.load_failures[delivery.key] = reason
                delivery.refused()
            case Kind.STARTED:
                self.in_flight[frame.id].started()
            case Kind.LOADED:
                load = self._loads.pop(frame.id, None)
                if load is not None and not load.done():
                    facts = json.loads(bytes(frame.payload))
                    invariant, may_pass = (facts.get(name, False) for name in ("batch_invariant", "may_pass"))
                    load.set_result(Loaded(facts["error"], invariant, may_pass))
            case Kind.HELLO:
                self.worker = json.loads(bytes(frame.payload))
                self._missed_heartbeats = 0
                log.info("worker up", **self.worker)
                self._on_change()
            case Kind.PONG:
                pass
            case _:
                raise FrameError(f"an API process takes no {frame.kind.name}")

    def _remove(self, id_: int) -> Delivery:
        """Removes and returns a batch that the worker has finished."""
        delivery = self.in_flight.pop(id_)
        in_flight = self.in_flight_by_key[delivery.key]
        in_flight.remove(delivery)
        if not in_flight:
            del self.in_flight_by_key[delivery.key]
        return delivery


class WorkerPool:
    """The links to all workers.

    Args:
        paths: paths of the workers' sockets.
        on_change: function called when a worker has come up or gone down.
        hang_seconds: time without a sign of life after which a worker counts as hung, in seconds.
    """

    def __init__(self, paths: Iterable[Path], on_change: Callable[[], None], *, hang_seconds: float = 10.0) -> None:
        self._policy = HeartbeatPolicy.of(hang_seconds)
        self.links = [Link(index, path, on_change) for index, path in enumerate(paths)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the tasks that connect to all workers and send probes."""
        self._tasks = [asyncio.create_task(link.run(), name=f"link-{link.index}") for link in self.links]
        self._tasks.append(asyncio.create_task(self._probe_workers(), name="probe"))

    async def _probe_workers(self) -> None:
        """Probes all workers at regular intervals, until cancelled."""
        while True:
            await asyncio.sleep(self._policy.probe_seconds)
            for link in self.links:
                link.probe(self._policy.max_missed)

    async def close(self) -> None:
        """Closes the links to all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def free_link(self, key: str, *, at_most: int = 0) -> Link | None:
        """Returns the least busy link that can take a batch of a model version, or None.

        A worker computes one batch of a version at a time; rows that arrive meanwhile form the next batch.

        Args:
            key: key of the version.
            at_most: number of unanswered batches of the version that the link may have.
        """
        best: Link | None = None
        for link in self.links:
            free = link.worker and key not in link.load_failures and len(link.in_flight_by_key.get(key, ())) <= at_most
            if free and (best is None or len(link.in_flight) < len(best.in_flight)):
                best = link
        return best

    async def load(self, key: str, kind: Kind = Kind.LOAD) -> Loaded:
        """Asks all workers that are up to load a model version, and returns one reply for all.

        At least one worker has to reply, since a version that no worker has loaded may be faulty. If no worker is up,
        the call waits. If some workers die meanwhile, their successors load the version by themselves.

        Args:
            key: key of the version.
            kind: LOAD if the file in the store is new, RESTORE if the version was served before.

        Returns:
            The first error, None if all workers that replied loaded the version; batch-invariant if it is so for all.

        Raises:
            NoWorker: all workers died, in each of several attempts.
        """
        for _ in range(_LOAD_ATTEMPTS):
            while not self.up:
                await asyncio.sleep(_RECONNECT_SECONDS)
            answers = await asyncio.gather(
                *(link.load(key, kind) for link in self.links if link.up), return_exceptions=True
            )
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, NoWorker):
                    raise answer
            loaded = [answer for answer in answers if not isinstance(answer, BaseException)]
            if loaded:
                failed = [one for one in loaded if one.error is not None]
                if failed:
                    return Loaded(failed[0].error, may_pass=all(one.may_pass for one in failed))
                return Loaded(None, all(one.batch_invariant for one in loaded))
        raise NoWorker(f"the workers died {_LOAD_ATTEMPTS} times while they were loading it.")

    async def confirm(self, keys: Collection[str]) -> None:
        """Asks each worker to restore the served versions that the worker has not reported as loaded.

        A new worker is asked for all versions, an old worker for those that failed to load before.

        Args:
            keys: keys of all served versions.
        """
        async with asyncio.TaskGroup() as tasks:
            for link in self.links:
                link.loaded.intersection_update(keys)
                link.load_failures = {key: reason for key, reason in link.load_failures.items() if key in keys}
                if link.up:
                    missing = [key for key in keys if key not in link.loaded]
                    # A few tasks for all versions: starting a thousand tasks would block the event loop for 30 ms.
                    rest = iter(missing)
                    for _ in range(min(_RESTORED_AT_ONCE, len(missing))):
                        tasks.create_task(_restore(link, rest))

    def is_unloadable(self, key: str) -> bool:
        """Returns True if all workers failed to load a version; a worker that is down has not failed."""
        return all(key in link.load_failures for link in self.links)

    def unloadable_keys(self) -> set[str]:
        """Returns the keys of the versions that no worker can load."""
        return set.intersection(*(set(link.load_failures) for link in self.links)) if self.links else set()

    def load_failures(self) -> dict[str, str]:
        """Returns the reasons by key for the versions that some worker cannot load."""
        found: dict[str, str] = {}
        for link in self.links:
            for key, reason in link.load_failures.items():
                who = "no worker" if self.is_unloadable(key) else f"not worker {link.index}, but others,"
                found.setdefault(key, f"{who} can load it: {reason}")
        return found

    @property
    def up(self) -> int:
        """Number of workers that are ready."""
        return sum(link.up for link in self.links)


async def _restore(link: Link, keys: Iterator[str]) -> None:
    """Asks one worker to restore versions, one after the other."""
    for key in keys:
        if link.up:
            with contextlib.suppress(NoWorker):  # the worker's successor will be asked
                await link.load(key, Kind.RESTORE)
