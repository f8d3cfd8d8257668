"""An inference worker for LitServe: a LitAPI that holds the engine, and a LitLoop that serves frames.

LitServe's own request path (three queues in a manager process) is not used: API processes connect to the worker's
Unix socket and send batches.

This file does without `from __future__ import annotations`: LitServe reads the types of a LitAPI's hooks at run time.
"""

import gc
import os
import signal
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from models.errors import AxonError
from models.keys import make_key, split_members
from models.signatures.trust import Trust
from service.library_pages import let_go_of, library_mappings
from service.logs import LimitedLog, configure_logs, get_logger, report_the_unexpected
from service.memory_metrics import MemoryMetrics
from service.metrics import WorkerMetrics, set_role
from service.preloaded_versions import preloaded_versions
from service.process_name import set_process_name
from service.served_store import ServedStore
from service.settings import Settings
from service.stream.held_list import HeldList
from service.stream.kept_checkpoints import KeptCheckpoints
from service.stream.served_list import ServedLists
from service.stream.sockets import socket_path
from service.workers.fault_isolation import MergedBatch
from service.workers.frame_server import FrameServer
from service.workers.worker_host import WorkerHost

log = get_logger(__name__)


class PredictAPI(litserve.LitAPI):
    """The models of a worker, as a LitAPI.

    Args:
        settings: settings of the server.
        runtime_dir: folder that the server's processes share.
        trust: keys that may have signed versions; None to load all versions.
    """

    def __init__(self, settings: Settings, runtime_dir: Path, trust: Trust | None = None) -> None:
        super().__init__(max_batch_size=settings.max_batch_rows, api_path="/predict", loop=FrameLoop(runtime_dir))
        self.settings = settings
        self.runtime_dir = runtime_dir
        self.trust = trust

    def setup(self, device: str) -> None:
        """Prepares the host, before the loop. Loads nothing: no device may be used before the fork."""
        # Ctrl-C sends SIGINT to every process of a terminal; only the main process decides when a worker ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        configure_logs(self.settings.log_level, self.settings.log_format)
        report_the_unexpected()

    def open(self, device: str, number: int) -> None:
        """Loads and warms the served versions for which there is room, in the worker's own process.

        The first worker loads the preloaded versions of the store. A successor loads the versions that the API
        processes serve, even if the store has changed. A bad checkpoint is logged and skipped.

        Args:
            device: name of a torch device.
            number: position of the worker among all workers.
        """
        from inference.cublas import forbid_split_sums
        from inference.engine import Engine  # imports torch, which the API processes do not need

        settings = self.settings
        if device.startswith("cuda"):
            forbid_split_sums()
        self._held = HeldList(self.runtime_dir, number)
        self._memory_metrics = MemoryMetrics(f"worker-{number}")
        self._reported = -1  # revision of the memory at the last report
        engine_log = get_logger(Engine.__module__)
        store = ServedStore.of(settings, self.trust)
        self.engine = Engine(
            store,
            kept=KeptCheckpoints(self.runtime_dir),
            device=device,
            threads=settings.threads,
            capacity=settings.model_cache,
            memory_bytes=settings.model_memory_bytes,
            max_batch_rows=settings.max_batch_rows,
            precision=settings.precision,
            log=engine_log,
            limited_log=LimitedLog(engine_log),
        )
        served = ServedLists(self.runtime_dir, settings.api_processes).read()
        if served is not None and served.ahead:
            keys, load = iter(served.ahead), self.engine.load
        else:
            versions = preloaded_versions(store)
            keys = (make_key(version.name, version.version, version.digest) for version in versions)
            load = self.engine.take_in
        for key in keys:
            try:
                if self.engine.has_room(key):  # the others are loaded when they are asked for
                    load(key)
            except AxonError as error:
                log.error("checkpoint not loaded", key=key, reason=str(error))
            except Exception as error:  # a worker that ends here would be started again for ever
                log.error("checkpoint not loaded", key=key, exc_info=error)
        self.tidy()

    def load(self, key: str) -> dict[str, Any]:
        """Loads a model version from the store; returns the facts that only a worker knows."""
        return self._facts(self.engine.verify(key))

    def restore(self, key: str) -> dict[str, Any]:
        """Loads a model version that was served before, even if the store has changed; returns the same facts."""
        return self._facts(self.engine.restore(key))

    def fetch(self, key: str) -> dict[str, Any]:
        """Loads and pins a model version for batches that wait; returns the same facts."""
        self.engine.fetch(split_members(key)[0])
        return {}

    def pin(self, key: str) -> bool:
        """Keeps a model version in memory until `unpin`; returns False if the version is not in memory."""
        return self.engine.memory.pin(split_members(key)[0])

    def unpin(self, key: str) -> None:
        """Lets a model version leave the memory."""
        self.engine.memory.unpin(split_members(key)[0])

    def make_room(self, key: str) -> list[str]:
        """Makes room for a model version; returns the pinned versions that have to leave too."""
        return self.engine.memory.make_room(self.engine.size_of(split_members(key)[0]))

    def tidy(self) -> None:
        """Keeps the memory within its limit, and reports what is in memory."""
        memory = self.engine.memory
        memory.trim()
        if memory.revision != self._reported:
            self._reported = memory.revision
            self._held.write(memory.keys())
        self._memory_metrics.report(
            versions=len(memory), size=memory.total_bytes, loads=memory.loads, evictions=memory.evictions
        )

    @staticmethod
    def _facts(facts: Any) -> dict[str, Any]:
        if facts is None:
            return {}
        return {"inference_parameters": facts.parameter_count, "batch_invariant": facts.batch_invariant}

    def predict(self, batch: MergedBatch) -> NDArray[np.float32]:
        """Runs one forward pass; returns `(rows, out_features)` answers for the rows of all parts."""
        key, members = split_members(batch.key)
        return self.engine.run(key, list(batch.parts), members)


class FrameLoop(litserve.loops.LitLoop):
    """The main loop of a host, as a LitLoop: keeps one worker running."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__()
        self._runtime_dir = runtime_dir

    def __call__(self, lit_api: PredictAPI, device: str, worker_id: int, *_: Any) -> None:
        """Runs until the main process ends or kills this process."""
        gc.disable()  # until the worker is forked; the collector would take a fifth of the time of the import
        import inference.engine  # noqa: F401 -- imports torch once, for all workers that this host will fork

        libraries = library_mappings()
        let_go_of(libraries)
        settings = lit_api.settings
        path = socket_path(self._runtime_dir, worker_id)

        def serve() -> None:
            set_process_name(f"axon-worker-{worker_id}")
            set_role(f"worker-{worker_id}")
            served = ServedLists(self._runtime_dir, settings.api_processes)
            metrics = WorkerMetrics(self._runtime_dir / "metrics", served.versions)
            lit_api.open(device, worker_id)
            let_go_of(libraries)
            about = {"worker": worker_id, "device": device, "host": os.getppid()}
            server = FrameServer(lit_api, metrics, path, max_batch_rows=settings.max_batch_rows, about=about)
            server.serve_forever()

        WorkerHost(serve, path, hang_seconds=settings.hang_seconds).run_forever()
