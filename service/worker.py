"""An inference worker: LitServe spawns it, its LitAPI holds the engine, its LitLoop serves frames.

LitServe's own request path (three queues in a manager process) is not used: API processes connect to the worker's
Unix socket and send batches. All batches of one model version that are waiting become one forward pass, whichever
API process they came from; there is no timer.

`from __future__ import annotations` stays out of this file: LitServe reads the types of a LitAPI's hooks at run time.
"""

import json
import os
import selectors
import signal
import socket
import time
from collections import deque
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from models.errors import AxonError
from models.store import Store
from service import frames
from service.catalog import served_versions
from service.frames import Frame, FrameError, FrameReader, Kind, PredictFrame
from service.keys import make_key, parse_key
from service.logs import configure_logs, get_logger
from service.metrics import WorkerMetrics, set_role
from service.settings import Settings

_READ_BYTES = 1 << 20
_BACKLOG = 128
_MAX_UNREAD_BYTES = 1 << 28  # answers that an API process has not taken; beyond it, it is as good as dead

log = get_logger(__name__)


def socket_path(runtime_dir: Path, worker: int) -> Path:
    """Where a worker listens."""
    return runtime_dir / f"worker-{worker}.sock"


class Batch:
    """What `predict` gets: frames of one model version, to be run as one."""

    def __init__(self, key: str, parts: list[PredictFrame]) -> None:
        self.key = key
        self.parts = parts


class PredictAPI(litserve.LitAPI):
    """The model side of the server, as LitServe sees it."""

    def __init__(self, settings: Settings, runtime_dir: Path) -> None:
        super().__init__(max_batch_size=settings.max_batch_rows, api_path="/predict", loop=FrameLoop(runtime_dir))
        self.settings = settings
        self.runtime_dir = runtime_dir

    def setup(self, device: str) -> None:
        """Runs in the worker: loads and warms what the store serves. A bad checkpoint is reported and passed over."""
        from service.engine import Engine  # imports torch, which the API processes do without

        # Ctrl-C goes to every process of a terminal; the main process alone decides when a worker ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        settings = self.settings
        configure_logs(settings.log_level, settings.log_format)
        set_role(f"worker-{os.environ['LITSERVE_WORKER_ID']}")
        self.metrics = WorkerMetrics(self.runtime_dir / "metrics")
        store = Store(settings.store)
        self.engine = Engine(
            store,
            device=device,
            threads=settings.threads,
            capacity=settings.model_cache,
            max_batch_rows=settings.max_batch_rows,
        )
        for version in served_versions(store):
            try:
                self.engine.load(make_key(version.name, version.version, version.digest))
            except AxonError as error:
                log.error("checkpoint not loaded", model=version.name, version=version.version, reason=str(error))

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """One forward pass: `(rows, out_features)` answers for the rows of all parts."""
        return self.engine.run(batch.key, list(batch.parts))


class FrameLoop(litserve.loops.LitLoop):
    """The worker's main loop: takes frames, merges them, has them predicted, answers."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__()
        self._runtime_dir = runtime_dir

    def __call__(self, lit_api: PredictAPI, device: str, worker_id: int, *_: Any) -> None:
        """Serves until the main process ends or kills this one."""
        FrameServer(lit_api, socket_path(self._runtime_dir, worker_id), device, worker_id).serve_forever()


class Connection:
    """One API process's stream."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.stream = stream
        self.reader = FrameReader()
        self.unsent = bytearray()

    def fileno(self) -> int:
        """What a selector asks for."""
        return self.stream.fileno()


class FrameServer:
    """Accepts API processes, gathers their batches by model version, and runs the one that has waited longest."""

    def __init__(self, api: PredictAPI, path: Path, device: str, worker: int) -> None:
        self._api = api
        self._hello = frames.encode(
            Kind.HELLO, 0, json.dumps({"worker": worker, "pid": os.getpid(), "device": device}).encode()
        )
        self._max_batch_rows = api.settings.max_batch_rows
        self._waiting: dict[str, deque[tuple[Connection, int, PredictFrame]]] = {}  # in the order of their first batch
        self._selector = selectors.DefaultSelector()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        if (parent := parent_process()) is not None:
            self._selector.register(parent.sentinel, selectors.EVENT_READ, self._orphaned)

    def serve_forever(self) -> None:
        """Runs until the main process is gone."""
        log.info("worker ready", **json.loads(self._hello[16:]))
        while True:
            # Look at the sockets between any two batches: what came meanwhile may join the next one.
            for selected, events in self._selector.select(0 if self._waiting else None):
                handle = selected.data
                if isinstance(handle, Connection):
                    self._serve(handle, events)
                else:
                    handle()
            if self._waiting:
                self._run_oldest()

    def close(self) -> None:
        """Lets go of its sockets."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Connection):
                key.data.stream.close()
        self._listener.close()
        self._selector.close()

    def _orphaned(self) -> None:
        log.error("the main process is gone; this worker ends")
        raise SystemExit(1)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:
            return
        connection = Connection(stream)
        self._selector.register(connection, selectors.EVENT_READ, connection)
        self._send(connection, self._hello)

    def _serve(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(connection, b"")
        if not events & selectors.EVENT_READ:
            return
        try:
            data = connection.stream.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError
            for frame in connection.reader.feed(data):
                self._take(connection, frame)
        except BlockingIOError:
            return
        except (OSError, FrameError) as error:
            if isinstance(error, FrameError):
                log.error("connection out of step", reason=str(error))
            self._drop(connection)

    def _take(self, connection: Connection, frame: Frame) -> None:
        match frame.kind:
            case Kind.PREDICT:
                batch = frames.decode_predict(frame.payload)
                self._waiting.setdefault(batch.key, deque()).append((connection, frame.id, batch))
            case Kind.LOAD:
                self._send(connection, frames.encode(Kind.LOADED, frame.id, self._load(bytes(frame.payload).decode())))
            case _:
                raise FrameError(f"a worker takes no {frame.kind.name}")

    def _load(self, key: str) -> bytes:
        try:
            network = self._api.engine.load(key)
        except Exception as error:
            if not isinstance(error, AxonError):
                log.exception("checkpoint not loaded", key=key)
            return json.dumps({"key": key, "error": str(error) or type(error).__name__}).encode()
        return json.dumps({"key": key, "error": None, "inference_parameters": network.parameter_count}).encode()

    def _run_oldest(self) -> None:
        """One forward pass for the model version whose first batch has waited longest."""
        key = next(iter(self._waiting))
        queue = self._waiting.pop(key)
        taken: list[tuple[Connection, int, PredictFrame]] = []
        rows = 0
        while queue and (not taken or rows + queue[0][2].rows <= self._max_batch_rows):
            taken.append(queue.popleft())
            rows += taken[-1][2].rows
        if queue:
            self._waiting[key] = queue  # behind the other models: one model's flood holds up nobody
        parts = [part for _, _, part in taken]
        started = time.perf_counter()
        answers, faults = self._predict(key, parts)
        seconds = time.perf_counter() - started
        name, version, _ = parse_key(key)
        self._api.metrics.observe_batch(name, version, rows, seconds)
        at = 0
        for (connection, id_, part), part_faults in zip(taken, faults, strict=True):
            answer = answers[at : at + part.rows]
            at += part.rows
            self._send(connection, frames.encode_answer(id_, answer, part_faults, seconds))

    def _predict(self, key: str, parts: list[PredictFrame]) -> tuple[NDArray[np.float32], list[dict[int, str]]]:
        """Answers for all rows, and for each part the faults of its segments.

        Rows of a faulty segment are zero. When the batch fails as a whole, it is halved until the fault is alone.
        """
        try:
            answers = self._api.predict(Batch(key, parts))
        except Exception as error:
            return self._isolate(key, parts, error)
        faults: list[dict[int, str]] = [{} for _ in parts]
        finite = np.asarray(np.isfinite(answers).all(axis=1))
        if not finite.all():
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
            reason = str(error) if isinstance(error, AxonError) else f"the model failed: {type(error).__name__}."
            log.error("forward pass failed", key=key, rows=parts[0].rows, error=repr(error))
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
        unsent += data
        try:
            if unsent:
                sent = connection.stream.send(unsent)
                del unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
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


def _halves(part: PredictFrame) -> list[PredictFrame]:
    middle = len(part.segments) // 2
    row_bytes = len(part.data) // part.rows
    cut = sum(part.segments[:middle]) * row_bytes
    return [
        PredictFrame(part.key, part.segments[:middle], part.data[:cut]),
        PredictFrame(part.key, part.segments[middle:], part.data[cut:]),
    ]


def _stack(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Blocks of answers on top of each other; a faulty one may be narrower, and its zeros are widened."""
    width = max(block.shape[1] for block in blocks)
    return np.concatenate(
        [block if block.shape[1] == width else np.zeros((len(block), width), dtype=np.float32) for block in blocks]
    )
