"""An inference worker as LitServe sees it: a LitAPI that holds the engine, and a LitLoop that serves frames.

LitServe's own request path (three queues in a manager process) is not used: API processes connect to the worker's
Unix socket and send batches.

`from __future__ import annotations` stays out of this file: LitServe reads the types of a LitAPI's hooks at run time.
"""

import os
import signal
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from models.errors import AxonError
from models.keys import make_key
from models.store import Store
from service.logs import LimitedLog, configure_logs, get_logger, report_the_unexpected
from service.metrics import WorkerMetrics, set_role
from service.preloaded_versions import preloaded_versions
from service.settings import Settings
from service.stream.kept_checkpoints import KeptCheckpoints
from service.stream.served_list import ServedLists
from service.stream.sockets import socket_path
from service.workers.frame_server import Batch, FrameServer
from service.workers.worker_host import WorkerHost

log = get_logger(__name__)


class PredictAPI(litserve.LitAPI):
    """The model side of the server, as LitServe sees it."""

    def __init__(self, settings: Settings, runtime_dir: Path) -> None:
        super().__init__(max_batch_size=settings.max_batch_rows, api_path="/predict", loop=FrameLoop(runtime_dir))
        self.settings = settings
        self.runtime_dir = runtime_dir

    def setup(self, device: str) -> None:
        """Runs in the host, before the loop. Nothing is loaded: a device has to stay untouched until the fork."""
        # Ctrl-C goes to every process of a terminal; the main process alone decides when a worker ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        configure_logs(self.settings.log_level, self.settings.log_format)
        report_the_unexpected()

    def open(self, device: str) -> None:
        """Runs in the process that predicts: loads and warms what is served.

        The first worker goes by the store, a later one by what the API processes serve, whatever has become of the
        store. A bad checkpoint is reported and passed over.
        """
        from inference.engine import Engine  # imports torch, which the API processes do without

        settings = self.settings
        engine_log = get_logger(Engine.__module__)
        store = Store(settings.store)
        self.engine = Engine(
            store,
            kept=KeptCheckpoints(self.runtime_dir),
            device=device,
            threads=settings.threads,
            capacity=settings.model_cache,
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
                load(key)
            except AxonError as error:
                log.error("checkpoint not loaded", key=key, reason=str(error))

    def load(self, key: str) -> dict[str, Any]:
        """Takes a model version in from the store; facts about it that only a worker knows."""
        return self._facts(self.engine.take_in(key))

    def restore(self, key: str) -> dict[str, Any]:
        """Makes a model version ready that was served before, whatever has become of the store; the same facts."""
        return self._facts(self.engine.load(key))

    @staticmethod
    def _facts(network: Any) -> dict[str, Any]:
        return {"inference_parameters": network.parameter_count, "batch_invariant": network.batch_invariant}

    def predict(self, batch: Batch) -> NDArray[np.float32]:
        """One forward pass: `(rows, out_features)` answers for the rows of all parts."""
        return self.engine.run(batch.key, list(batch.parts))


class FrameLoop(litserve.loops.LitLoop):
    """The worker's main loop: hosts the process that predicts."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__()
        self._runtime_dir = runtime_dir

    def __call__(self, lit_api: PredictAPI, device: str, worker_id: int, *_: Any) -> None:
        """Runs until the main process ends or kills this one."""
        import inference.engine  # noqa: F401 -- imports torch, once for all processes that will be forked

        settings = lit_api.settings
        path = socket_path(self._runtime_dir, worker_id)

        def serve() -> None:
            set_role(f"worker-{worker_id}")
            served = ServedLists(self._runtime_dir, settings.api_processes)
            metrics = WorkerMetrics(self._runtime_dir / "metrics", served.versions)
            lit_api.open(device)
            about = {"worker": worker_id, "device": device, "host": os.getppid()}
            server = FrameServer(lit_api, metrics, path, max_batch_rows=settings.max_batch_rows, about=about)
            server.serve_forever()

        WorkerHost(serve, path, hang_seconds=settings.hang_seconds).run_forever()
