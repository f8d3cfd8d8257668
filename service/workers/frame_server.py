"""The frame server of a worker: receives frames from API processes, runs merged batches, and sends the answers.

The waiting batches of one model version, from all API processes, become one forward pass; there is no timer. Threads
load models, so that other models are served meanwhile: one for new versions, one for batches whose version is not in
memory (`cold_batches.py`).
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.errors import DeviceFault, NetworkUnavailable
from models.errors import AxonError, may_pass, reason_of
from models.keys import parse_key, split_members
from service.logs import LimitedLog, get_logger, report_suppressed
from service.metrics import WorkerMetrics
from service.stream import frames
from service.stream.frames import Frame, FrameError, FrameReader, Kind, PredictFrame
from service.workers.cold_batches import ColdBatches, Fetched
from service.workers.fault_isolation import FaultIsolation, MergedBatch

_READ_BYTES = 1 << 20
_BACKLOG = 128
_MAX_UNREAD_BYTES = 1 << 28  # answers that an API process has not read; beyond this, it counts as dead
# How long the worker polls for the next batch before it sleeps, if the last batch came that soon. For a lone client's
# request, going to sleep and waking up takes longer than the forward pass: docs/decisions/0011.
_SPIN_SECONDS = 300e-6
_EXPIRED = "the deadline passed before a worker came to it."
_MAX_LOAD_ERRORS = 1_000  # keys whose load error is remembered, so that it is logged once
DEVICE_FAULT_EXIT_CODE = 3

log = get_logger(__name__)
failures = LimitedLog(log)  # limits failures that a client can cause again and again


class Predictor(Protocol):
    """The interface of the frame server to the worker's models."""

    def predict(self, batch: MergedBatch) -> NDArray[np.float32]:
        """Returns `(rows, out_features)` answers for the rows of all parts."""

    def load(self, key: str) -> dict[str, Any]:
        """Loads a model version from the store; returns facts about the version. Runs in the loader's thread."""

    def restore(self, key: str) -> dict[str, Any]:
        """Loads a model version that was served before; returns the same facts. Runs in the loader's thread."""

    def fetch(self, key: str) -> dict[str, Any]:
        """Loads and pins a model version for batches that wait; returns the same facts. Runs in a thread."""

    def pin(self, key: str) -> bool:
        """Keeps a version in memory until as many calls of `unpin`; returns False if the version is not in memory."""

    def unpin(self, key: str) -> None:
        """Lets a model version leave the memory."""

    def make_room(self, key: str) -> list[str]:
        """Makes room for a model version; returns the pinned versions that have to leave too."""

    def tidy(self) -> None:
        """Keeps the memory within its limit, and reports what is in memory; called at each heartbeat."""


class Connection:
    """The stream to one API process."""

    __slots__ = ("reader", "stream", "unsent")

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.stream = stream
        self.reader = FrameReader()
        self.unsent = bytearray()

    def fileno(self) -> int:
        """Returns the descriptor of the stream; a selector calls this."""
        return self.stream.fileno()


WaitingBatch = tuple[Connection, Frame, PredictFrame]  # the sender, the frame, and its decoded payload


class FrameServer:
    """Accepts API processes, groups their batches by model version, and runs the version that has waited longest.

    Args:
        predictor: models of the worker.
        metrics: counters of the worker's batches.
        path: path of the Unix socket to listen on.
        max_batch_rows: largest number of rows in one forward pass.
        about: facts about this worker that each API process gets when it connects.
    """

    def __init__(
        self,
        predictor: Predictor,
        metrics: WorkerMetrics,
        path: Path,
        *,
        max_batch_rows: int,
        about: dict[str, Any],
    ) -> None:
        self._predictor = predictor
        self._metrics = metrics
        self._about = about | {"pid": os.getpid()}
        self._max_batch_rows = max_batch_rows
        self._isolation = FaultIsolation(predictor.predict, failures)
        self._waiting: dict[str, deque[WaitingBatch]] = {}  # pinned, by key, in the order of each key's first batch
        self._cold: ColdBatches[WaitingBatch] = ColdBatches(
            predictor, self._fetch, self._wake_up, lambda item: item[2].deadline
        )
        self._running: str | None = None  # key of the forward pass that runs, which stays pinned until its end
        self._ended = 0.0  # when the last batch was done
        self._spins = False  # True if the next batch is likely to come within `_SPIN_SECONDS`
        self._received = memoryview(bytearray(_READ_BYTES))
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._load_errors: dict[str, str] = {}  # reason of the last failed attempt to load, by key
        self._loaded: deque[tuple[Connection, int, bytes]] = deque()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._send_loaded)

    def serve_forever(self) -> None:
        """Runs until the process ends."""
        log.info("worker ready", **self._about)
        while True:
            # Poll the sockets between any two batches: a frame that came meanwhile may join the next batch.
            until_flush = self._metrics.flush_if_due()
            found = self._select(until_flush)
            began = time.perf_counter()
            for selected, events in found:
                handle: Connection | Callable[[], None] = selected.data
                if isinstance(handle, Connection):
                    self._serve(handle, events)
                else:
                    handle()
            if self._waiting:
                self._run_oldest()
                self._ended = time.perf_counter()
                self._metrics.observe_busy(self._ended - began)
            if self._cold:
                self._serve_cold()

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Returns the sockets that are ready; blocks until one is ready only if no batch waits."""
        if self._waiting:
            return self._selector.select(0)
        if self._spins:
            while time.perf_counter() - self._ended < _SPIN_SECONDS:
                if found := self._selector.select(0):
                    return found
                os.sched_yield()  # processes that have work go first
        found = self._selector.select(timeout)
        self._spins = time.perf_counter() - self._ended < _SPIN_SECONDS
        return found

    def close(self) -> None:
        """Closes all sockets and ends the loader's thread."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Connection):
                key.data.stream.close()
        for stream in (self._listener, self._wake, self._woken):
            stream.close()
        self._selector.close()
        self._loader.shutdown(wait=False)
        self._cold.close()

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:
            return
        connection = Connection(stream)
        self._selector.register(connection, selectors.EVENT_READ, connection)
        self._send(connection, frames.encode(Kind.HELLO, 0, json.dumps(self._about).encode()))

    def _serve(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(connection, b"")
        if not events & selectors.EVENT_READ:
            return
        try:
            # The buffer is reused: allocating one of this size would take longer than all other work on a small batch.
            size = connection.stream.recv_into(self._received)
            if not size:
                raise ConnectionResetError
            for frame in connection.reader.feed(bytes(self._received[:size])):
                self._handle(connection, frame)
        except BlockingIOError:
            return
        except (OSError, FrameError) as error:
            if isinstance(error, FrameError):
                log.error("connection out of step", reason=str(error))
            self._drop(connection)

    def _handle(self, connection: Connection, frame: Frame) -> None:
        match frame.kind:
            case Kind.PREDICT | Kind.RETRY:
                batch = frames.decode_predict(frame.payload)
                self._put_in_line(batch.key, (connection, frame, batch))
            case Kind.LOAD | Kind.RESTORE:
                key = bytes(frame.payload).decode(errors="replace")
                load = self._predictor.load if frame.kind is Kind.LOAD else self._predictor.restore
                loading = self._loader.submit(self._load, key, load)
                loading.add_done_callback(lambda done: self._loading_done(connection, frame.id, done))
            case Kind.PING:
                self._metrics.measure_memory()
                self._predictor.tidy()
                report_suppressed()
                self._send(connection, frames.encode(Kind.PONG, frame.id))
            case _:
                raise FrameError(f"a worker takes no {frame.kind.name}")

    def _put_in_line(self, key: str, item: WaitingBatch) -> None:
        """Puts a batch into the queue of its version, or into that of the versions to be loaded."""
        queue, cold = self._waiting.get(key), self._cold
        if cold.closing and split_members(key)[0] in cold.closing:
            cold.add(key, item)
        elif queue is not None:
            queue.append(item)
        elif key not in cold and self._predictor.pin(key):
            self._waiting[key] = deque((item,))
        else:
            cold.add(key, item)

    def _serve_cold(self) -> None:
        """Takes the batches whose version has been loaded, and has the next version loaded."""
        if (fetched := self._cold.take_fetched()) is not None:
            self._take(fetched)
        for ready in self._cold.start_next():
            self._take(ready)

    def _take(self, fetched: Fetched[WaitingBatch]) -> None:
        """Queues the batches of a version that was loaded; refuses the batches if the load failed."""
        key, items = fetched.key, fetched.items
        if fetched.refusal is not None:  # another worker may be able to load the model
            for connection, frame, _ in items:
                self._send(connection, frames.encode(Kind.REFUSED, frame.id, fetched.refusal))
        elif key in self._waiting:
            self._waiting[key].extend(items)
            self._predictor.unpin(key)  # pinned twice
        elif items:
            self._waiting[key] = items
        else:
            self._predictor.unpin(key)

    def _fetch(self, key: str) -> bytes | None:
        """Loads a version for batches that wait; returns the payload of REFUSED, or None if the version is there."""
        payload = self._load(key, self._predictor.fetch)
        return None if json.loads(payload)["error"] is None else payload

    def _wake_up(self) -> None:
        """Wakes the main loop from another thread."""
        self._wake.send(b"\0")

    def _load(self, key: str, load: Callable[[str], dict[str, Any]]) -> bytes:
        """Loads a model version in the loader's thread, and returns the payload of LOADED."""
        try:
            facts = load(key)
        except DeviceFault as error:
            _end(key, error)
        except Exception as error:
            ours = isinstance(error, AxonError)
            if self._load_errors.get(key) != str(error):  # an API process asks again and again
                if len(self._load_errors) >= _MAX_LOAD_ERRORS:
                    self._load_errors.clear()
                self._load_errors[key] = str(error)
                log.error("checkpoint not loaded", key=key, reason=str(error), exc_info=None if ours else error)
            reason = reason_of(error) if ours else f"the model cannot be loaded: {type(error).__name__}."
            return json.dumps({"key": key, "error": reason, "may_pass": may_pass(error)}).encode()
        self._load_errors.pop(key, None)
        return json.dumps({"key": key, "error": None, **facts}).encode()

    def _loading_done(self, connection: Connection, id_: int, loading: Future[bytes]) -> None:
        """Hands the result from the loader's thread to the main loop."""
        self._loaded.append((connection, id_, loading.result()))
        self._wake_up()

    def _send_loaded(self) -> None:
        self._woken.recv(_READ_BYTES)
        while self._loaded:
            connection, id_, payload = self._loaded.popleft()
            if connection.fileno() >= 0:
                self._send(connection, frames.encode(Kind.LOADED, id_, payload))

    def _run_oldest(self) -> None:
        """Runs one forward pass for the model version whose first batch has waited longest."""
        self._running = key = next(iter(self._waiting))
        self._run(key, self._waiting.pop(key))
        self._running = None
        if key not in self._waiting:
            self._predictor.unpin(key)

    def _run(self, key: str, queue: deque[WaitingBatch]) -> None:
        """Runs one forward pass for the first batches of a queue, and puts the rest of the queue back."""
        now = time.monotonic()
        taken: list[WaitingBatch] = []
        rows = 0
        while queue and (not taken or rows + queue[0][2].rows <= self._max_batch_rows):
            connection, frame, part = queue[0]
            if taken and Kind.RETRY in (frame.kind, taken[0][1].kind):
                break
            if any(other is connection for other, _, _ in taken):
                break  # the API process divided its rows into these batches, so that other models run between them
            queue.popleft()
            if part.deadline < now:
                faults = dict.fromkeys(range(len(part.segments)), _EXPIRED)
                nothing = np.zeros((part.rows, 0), dtype=np.float32)
                self._send(connection, frames.encode_answer(frame.id, nothing, faults, now))
                continue
            taken.append((connection, frame, part))
            rows += part.rows
        if queue:
            self._waiting[key] = queue  # behind the other models, so that one model's load does not delay them
        if not taken:
            return
        connection, frame, _ = taken[0]
        if frame.kind is Kind.RETRY:  # if this process dies now, the API process knows which batch it was running
            self._send(connection, frames.encode(Kind.STARTED, frame.id))
        started = time.perf_counter()
        try:
            answers, faults_of_parts = self._isolation.run(key, [part for _, _, part in taken])
        except DeviceFault as error:
            _end(key, error)
        except NetworkUnavailable as error:  # another worker may be able to load the model
            refusal = json.dumps({"key": key, "error": str(error)}).encode()
            for connection, frame, _ in taken:
                self._send(connection, frames.encode(Kind.REFUSED, frame.id, refusal))
            return
        seconds = time.perf_counter() - started
        finished = time.monotonic()
        at = 0
        for (connection, frame, part), part_faults in zip(taken, faults_of_parts, strict=True):
            answer = answers[at : at + part.rows]
            at += part.rows
            self._send(connection, frames.encode_answer(frame.id, answer, part_faults, finished, seconds))
        # Only after the answers are sent, so that no client waits for it.
        name, version, _ = parse_key(split_members(key)[0])
        self._metrics.observe_batch(name, version, rows, seconds)

    def _send(self, connection: Connection, data: bytes) -> None:
        """Sends as much as the socket takes, and the rest later, so that a slow reader does not block the worker."""
        unsent = connection.unsent
        unsent_before = bool(unsent)
        if unsent_before:
            unsent += data
        try:
            sent = connection.stream.send(unsent if unsent_before else data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(connection)
            return
        if unsent_before:
            del unsent[:sent]
        elif sent == len(data):
            return
        else:
            unsent += data[sent:]
        if len(unsent) > _MAX_UNREAD_BYTES:
            log.error("an API process does not read its answers; connection dropped", unread_bytes=len(unsent))
            self._drop(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0)
        if connection.fileno() >= 0 and self._selector.get_key(connection).events != wanted:
            self._selector.modify(connection, wanted, connection)

    def _drop(self, connection: Connection) -> None:
        if connection.fileno() >= 0:
            self._selector.unregister(connection)
            connection.stream.close()
        for key, queue in list(self._waiting.items()):
            kept = deque(item for item in queue if item[0] is not connection)
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]
                if key != self._running:
                    self._predictor.unpin(key)
        self._cold.remove(lambda item: item[0] is connection)


def _end(key: str, fault: DeviceFault) -> NoReturn:
    """Ends this process. A successor replaces it, and the API processes send its batches again."""
    log.error("the device failed; this worker ends", key=key, reason=str(fault))
    os._exit(DEVICE_FAULT_EXIT_CODE)  # in an orderly exit, the device's driver may hang
