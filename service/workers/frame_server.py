"""The process that predicts: takes frames from the API processes, merges them, runs the engine, answers.

The next batches of one model version from all API processes become one forward pass; there is no timer. Models are
loaded in a thread of their own, so that the others are served meanwhile.
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
from models.errors import AxonError, reason_of
from models.keys import parse_key
from service.logs import LimitedLog, get_logger, report_suppressed
from service.metrics import WorkerMetrics
from service.stream import frames
from service.stream.frames import Frame, FrameError, FrameReader, Kind, PredictFrame

_READ_BYTES = 1 << 20
_BACKLOG = 128
_MAX_UNREAD_BYTES = 1 << 28  # answers that an API process has not taken; beyond it, it is as good as dead
# How long to look for the next batch before going to sleep, where the last one came that soon. To be put to sleep and
# woken costs a lone client's request more than its forward does: docs/decisions/0011.
_LOOK_SECONDS = 300e-6
_EXPIRED = "the deadline passed before a worker came to it."
_MOST_REMEMBERED = 1_000  # keys whose failure is remembered, so that it is logged once
DEVICE_FAULT_EXIT_CODE = 3

log = get_logger(__name__)
failures = LimitedLog(log)  # what a client can cause again and again


class Batch:
    """What `Predictor.predict` gets: frames of one model version, to be run as one."""

    __slots__ = ("key", "parts")

    def __init__(self, key: str, parts: list[PredictFrame]) -> None:
        self.key = key
        self.parts = parts


class Predictor(Protocol):
    """The models, as the server of frames sees them."""

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """`(rows, out_features)` answers for the rows of all parts."""

    def load(self, key: str) -> dict[str, Any]:
        """Takes a model version in from the store; facts about it. Called from another thread than `predict`."""

    def restore(self, key: str) -> dict[str, Any]:
        """Makes a model version ready that was served before; facts about it. Called from that thread too."""


class Connection:
    """One API process's stream."""

    __slots__ = ("reader", "stream", "unsent")

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.stream = stream
        self.reader = FrameReader()
        self.unsent = bytearray()

    def fileno(self) -> int:
        """What a selector asks for."""
        return self.stream.fileno()


Waiting = tuple[Connection, Frame, PredictFrame]  # whose batch, as it came and as it was read


class FrameServer:
    """Accepts API processes, gathers their batches by model version, and runs the one that has waited longest.

    Args:
        predictor: the models.
        metrics: where batches are counted.
        path: the Unix socket to listen on.
        max_batch_rows: rows in one forward pass at most.
        about: what each API process is told of this worker when it connects.
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
        self._waiting: dict[str, deque[Waiting]] = {}  # in the order of their first batch
        self._ended = 0.0  # when the last batch was done
        self._is_brisk = False  # the next one is likely to come within `_LOOK_SECONDS`
        self._received = memoryview(bytearray(_READ_BYTES))
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._failed: dict[str, str] = {}  # by key, why it could not be loaded when it was last asked for
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
        self._selector.register(self._woken, selectors.EVENT_READ, self._tell_loaded)

    def serve_forever(self) -> None:
        """Runs until the process ends."""
        log.info("worker ready", **self._about)
        while True:
            # Look at the sockets between any two batches: what came meanwhile may join the next one.
            until_flush = self._metrics.flush_if_due()
            for selected, events in self._select(until_flush):
                handle: Connection | Callable[[], None] = selected.data
                if isinstance(handle, Connection):
                    self._serve(handle, events)
                else:
                    handle()
            if self._waiting:
                self._run_oldest()
                self._ended = time.perf_counter()

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """The sockets on which there is something to do; where no batch waits, after waiting for it."""
        if self._waiting:
            return self._selector.select(0)
        if self._is_brisk:
            while time.perf_counter() - self._ended < _LOOK_SECONDS:
                if found := self._selector.select(0):
                    return found
                os.sched_yield()  # who has work goes first
        found = self._selector.select(timeout)
        self._is_brisk = time.perf_counter() - self._ended < _LOOK_SECONDS
        return found

    def close(self) -> None:
        """Lets go of its sockets."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Connection):
                key.data.stream.close()
        for stream in (self._listener, self._wake, self._woken):
            stream.close()
        self._selector.close()
        self._loader.shutdown(wait=False)

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
            # Into a buffer that is kept: a fresh one of this size would cost a small batch more than the rest of it.
            size = connection.stream.recv_into(self._received)
            if not size:
                raise ConnectionResetError
            for frame in connection.reader.feed(bytes(self._received[:size])):
                self._take(connection, frame)
        except BlockingIOError:
            return
        except (OSError, FrameError) as error:
            if isinstance(error, FrameError):
                log.error("connection out of step", reason=str(error))
            self._drop(connection)

    def _take(self, connection: Connection, frame: Frame) -> None:
        match frame.kind:
            case Kind.PREDICT | Kind.RETRY:
                batch = frames.decode_predict(frame.payload)
                self._waiting.setdefault(batch.key, deque()).append((connection, frame, batch))
            case Kind.LOAD | Kind.RESTORE:
                key = bytes(frame.payload).decode(errors="replace")
                load = self._predictor.load if frame.kind is Kind.LOAD else self._predictor.restore
                loading = self._loader.submit(self._load, key, load)
                loading.add_done_callback(lambda done: self._loading_done(connection, frame.id, done))
            case Kind.PING:
                self._metrics.measure_memory()
                report_suppressed()
                self._send(connection, frames.encode(Kind.PONG, frame.id))
            case _:
                raise FrameError(f"a worker takes no {frame.kind.name}")

    def _load(self, key: str, load: Callable[[str], dict[str, Any]]) -> bytes:
        """In the loader's thread: what LOADED says."""
        try:
            facts = load(key)
        except DeviceFault as error:
            _end(key, error)
        except Exception as error:
            ours = isinstance(error, AxonError)
            if self._failed.get(key) != str(error):  # an API process asks again and again
                if len(self._failed) >= _MOST_REMEMBERED:
                    self._failed.clear()
                self._failed[key] = str(error)
                log.error("checkpoint not loaded", key=key, reason=str(error), exc_info=None if ours else error)
            reason = reason_of(error) if ours else f"the model cannot be loaded: {type(error).__name__}."
            return json.dumps({"key": key, "error": reason}).encode()
        self._failed.pop(key, None)
        return json.dumps({"key": key, "error": None, **facts}).encode()

    def _loading_done(self, connection: Connection, id_: int, loading: Future[bytes]) -> None:
        """In the loader's thread: hands the result to the main loop."""
        self._loaded.append((connection, id_, loading.result()))
        self._wake.send(b"\0")

    def _tell_loaded(self) -> None:
        self._woken.recv(_READ_BYTES)
        while self._loaded:
            connection, id_, payload = self._loaded.popleft()
            if connection.fileno() >= 0:
                self._send(connection, frames.encode(Kind.LOADED, id_, payload))

    def _run_oldest(self) -> None:
        """One forward pass for the model version whose first batch has waited longest."""
        key = next(iter(self._waiting))
        queue = self._waiting.pop(key)
        now = time.monotonic()
        taken: list[Waiting] = []
        rows = 0
        while queue and (not taken or rows + queue[0][2].rows <= self._max_batch_rows):
            connection, frame, part = queue[0]
            if taken and Kind.RETRY in (frame.kind, taken[0][1].kind):
                break
            if any(other is connection for other, _, _ in taken):
                break  # its API process has cut this batch from that one, so that others get their turn between them
            queue.popleft()
            if part.deadline < now:
                faults = dict.fromkeys(range(len(part.segments)), _EXPIRED)
                nothing = np.zeros((part.rows, 0), dtype=np.float32)
                self._send(connection, frames.encode_answer(frame.id, nothing, faults, now))
                continue
            taken.append((connection, frame, part))
            rows += part.rows
        if queue:
            self._waiting[key] = queue  # behind the other models: one model's flood holds up nobody
        if not taken:
            return
        connection, frame, _ = taken[0]
        if frame.kind is Kind.RETRY:  # should this process end now, it is known what it had in hand
            self._send(connection, frames.encode(Kind.STARTED, frame.id))
        started = time.perf_counter()
        try:
            answers, faults_of_parts = self._predict(key, [part for _, _, part in taken])
        except NetworkUnavailable as error:
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
            self._send(connection, frames.encode_answer(frame.id, answer, part_faults, finished))
        # Only now: nobody waits for it any more.
        name, version, _ = parse_key(key)
        self._metrics.observe_batch(name, version, rows, seconds)

    def _predict(self, key: str, parts: list[PredictFrame]) -> tuple[NDArray[np.float32], list[dict[int, str]]]:
        """Answers for all rows, and for each part the faults of its segments.

        Rows of a faulty segment are zero. When the batch fails as a whole, it is halved until the fault is alone. A
        fault of the device is no fault of the batch: this process ends, is replaced, and the batch is sent again.
        """
        try:
            answers = self._predictor.predict(Batch(key, parts))
        except DeviceFault as error:
            _end(key, error)
        except NetworkUnavailable:  # no fault of the batch: another worker may have the model
            raise
        except Exception as error:
            return self._isolate(key, parts, error)
        faults: list[dict[int, str]] = [{} for _ in parts]
        # A sum is finite only if every term is; where it is not, a look at each row tells which.
        if not np.isfinite(answers.sum()):
            finite = np.asarray(np.isfinite(answers).all(axis=1))
            at = 0
            for part, part_faults in zip(parts, faults, strict=True):
                for segment, rows in enumerate(part.segments):
                    if not finite[at : at + rows].all():
                        row = int(finite[at : at + rows].argmin())
                        part_faults[segment] = f"the model's answer to row {row} is not finite."
                    at += rows
        return answers, faults

    def _isolate(
        self, key: str, parts: list[PredictFrame], error: Exception
    ) -> tuple[NDArray[np.float32], list[dict[int, str]]]:
        if len(parts) == 1 and len(parts[0].segments) == 1:
            reason = reason_of(error) if isinstance(error, AxonError) else f"the model failed: {type(error).__name__}."
            kind = type(error).__name__
            failures.error("forward pass failed", kind=kind, key=key, rows=parts[0].rows, error=repr(error))
            return np.zeros((parts[0].rows, 1), dtype=np.float32), [{0: reason}]
        if len(parts) > 1:
            halves = [parts[: len(parts) // 2], parts[len(parts) // 2 :]]
            done = [self._predict(key, half) for half in halves]
            return _stack([answers for answers, _ in done]), [fault for _, faults in done for fault in faults]
        done = [self._predict(key, [half]) for half in _halves(parts[0])]
        merged: dict[int, str] = {}
        for offset, (_, [faults]) in zip((0, len(parts[0].segments) // 2), done, strict=True):
            merged |= {segment + offset: text for segment, text in faults.items()}
        return _stack([answers for answers, _ in done]), [merged]

    def _send(self, connection: Connection, data: bytes) -> None:
        """Sends what the socket takes; the rest waits for it to be writable, so that a slow reader holds up nobody."""
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


def _end(key: str, fault: DeviceFault) -> NoReturn:
    log.error("the device failed; this worker ends", key=key, reason=str(fault))
    os._exit(DEVICE_FAULT_EXIT_CODE)  # the device's driver may hang in an orderly exit


def _halves(part: PredictFrame) -> list[PredictFrame]:
    middle = len(part.segments) // 2
    row_bytes = len(part.data) // part.rows
    cut = sum(part.segments[:middle]) * row_bytes
    return [
        PredictFrame(part.key, part.segments[:middle], part.data[:cut], part.deadline),
        PredictFrame(part.key, part.segments[middle:], part.data[cut:], part.deadline),
    ]


def _stack(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Blocks of answers on top of each other; a faulty one may be narrower, and its zeros are widened."""
    width = max(block.shape[1] for block in blocks)
    return np.concatenate(
        [block if block.shape[1] == width else np.zeros((len(block), width), dtype=np.float32) for block in blocks]
    )
