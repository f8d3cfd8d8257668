"""An API process: catalog, batcher, links to workers, readiness and drain. It knows no protocol and no wire format.

Doors stand before it, HTTP today: each speaks one protocol, and hands requests to the `Admission` of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Protocol, cast

from models.store import Store
from service.access import Access
from service.admission import Admission
from service.batching.batcher import Batcher
from service.batching.catalog import Catalog
from service.batching.link import WorkerPool
from service.drain import HURRY_SIGNAL
from service.logs import get_logger, report_suppressed
from service.loop_watch import LoopWatch
from service.metrics import ApiMetrics
from service.series_file import Labels
from service.settings import Settings
from service.step_queue import StepQueue
from service.stream.kept_checkpoints import KeptCheckpoints
from service.stream.served_list import ServedList, ServedLists
from service.stream.sockets import socket_path
from service.time_slices import in_slices

log = get_logger(__name__)

# New objects after which the collector looks at them. A slice of a large request has thousands of rows, all of which go
# by themselves: the usual 700 would have it walk them once or twice for each slice.
_COLLECTED_FROM = 20_000
# How long the event loop waits for another thread of the process, such as the one that reads the store, and that after
# each call of the system. With Python's own 5 ms, a new model of 10,000 columns holds it up for a tenth of a second.
_SWITCH_SECONDS = 0.0005
_FIRST_LOOK_SECONDS = 0.02  # from one look at the store to the next, until the process is ready

SignalHandler = Callable[[int, FrameType | None], object]


class Door(Protocol):
    """A protocol by which clients reach an API process."""

    def refresh(self) -> None:
        """Takes in what may have changed on the disk, such as a certificate; called with each look at the store."""

    def close_connections(self) -> None:
        """Asks each client to connect anew from now on, since the process is about to stop."""

    async def finish_accepting(self) -> None:
        """Refuses new connections, and returns once all that had connected are accepted."""


class ApiProcess:
    """One API process. It is made before the processes fork and holds nothing then; `start` builds its parts.

    Args:
        settings: settings of the server.
        runtime_dir: folder of the workers' sockets and the metric files.
        workers: number of workers.

    Attributes:
        settings: settings of the server.
        access: API keys; None lets everybody in.
        metrics, pool, batcher, catalog, steps, admission: parts of the process, from `start` on.
        draining: True once the process is about to stop.
    """

    metrics: ApiMetrics
    pool: WorkerPool
    batcher: Batcher
    catalog: Catalog
    steps: StepQueue
    admission: Admission

    def __init__(self, settings: Settings, runtime_dir: Path, workers: int) -> None:
        self.settings = settings
        self.access = Access.from_settings(settings)
        self.draining = False
        self._runtime_dir = runtime_dir
        self._workers = workers
        self._doors: list[Door] = []
        self._was_ready = False
        self._told_revision = 0
        self._leaving: asyncio.Task[None] | None = None

    def start(self, number: int) -> None:
        """Builds the parts of the process, within a running event loop.

        Args:
            number: position of the process among the server's API processes.

        Raises:
            OSError: the disk refuses the files of the metrics.
        """
        settings = self.settings
        sys.setswitchinterval(_SWITCH_SECONDS)
        loop = asyncio.get_running_loop()
        self.metrics = metrics = ApiMetrics(self._runtime_dir / "metrics")
        self.pool = WorkerPool(
            [socket_path(self._runtime_dir, worker) for worker in range(self._workers)],
            self._on_worker_change,
            hang_seconds=settings.hang_seconds,
        )
        self.batcher = Batcher(
            self.pool,
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            on_resent=metrics.batch_resent,
        )
        self._served_list = ServedList(self._runtime_dir, f"api-{number}")
        self._kept = KeptCheckpoints(self._runtime_dir)
        self._served_lists = ServedLists(self._runtime_dir, settings.api_processes)
        self._worker_changed = asyncio.Event()
        self.catalog = Catalog(
            Store(settings.store),
            self.pool.load,
            metrics.for_model,
            capacity=settings.model_cache,
            default_model=settings.default_model,
            intend=self._served_list.intend,
        )
        metrics.start(f"api-{number}", self.batcher.waiting_rows)
        self.steps = StepQueue(loop)
        self.admission = Admission(self.catalog, self.batcher, self.steps, metrics, self.access, settings)

    def open(self, *doors: Door) -> None:
        """Begins to follow the store, the workers, the keys and the signals, with all doors in place."""
        self._doors = list(doors)
        self.pool.start()
        self._followers = [
            asyncio.create_task(self._keep_fresh(), name="refresh"),
            asyncio.create_task(self._keep_confirmed(), name="confirm"),
        ]
        if self.access is not None:
            self._followers.append(asyncio.create_task(self.access.follow(self.settings.reload_seconds), name="keys"))
        self._take_signals()
        # What was imported stays for good: the collector need not walk it again and again (a pause of 100 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECTED_FROM, *gc.get_threshold()[1:])
        metrics, steps = self.metrics, self.steps
        self._loop_watch = LoopWatch(asyncio.get_running_loop(), lambda: metrics.has_gathered or steps.is_busy)

    async def stop(self) -> None:
        """Ends what `open` began, and writes the last metrics."""
        self._loop_watch.close()
        for follower in self._followers:
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)
        await self.pool.close()
        self.metrics.flush()

    def not_ready(self) -> str | None:
        """Returns why predictions would not be answered now, None if they would."""
        if self.draining:
            return "the server is about to stop"
        if not self._was_ready:
            return f"{self.pool.up} of {self._workers} workers have loaded their models"
        if self.pool.up == 0:
            return "no inference worker is up"
        if next(self.catalog.models(), None) is None:
            return "there is no model to serve in the store"
        if lacked := self.pool.lacked():
            ready = {served.key for served in self.catalog.ready_versions()}
            if lacked := lacked & ready:
                # Not which: a probe needs no key.
                return f"no worker can load {len(lacked)} of {len(ready)} model versions; GET /models says which"
        return None

    async def _keep_fresh(self) -> None:
        """Follows the store. A fault in one look is logged, and the next look comes all the same."""
        while True:
            try:
                self.metrics.measure_memory()
                self.metrics.set_longest_hold(self._loop_watch.longest_seconds)
                report_suppressed()
                for door in self._doors:
                    door.refresh()
                # Versions are checked by loading them on the workers, so the first look waits for all of these.
                if self._was_ready or self.pool.up == self._workers:
                    await self.catalog.refresh()
                    await self._tell_served()
                    if not self._was_ready:
                        # So does what the store holds now, of which the catalog has left little to be walked over.
                        gc.collect()
                        gc.freeze()
                    self._was_ready = True
            except Exception:
                log.exception("the store was not taken in")
            await asyncio.sleep(self.settings.reload_seconds if self._was_ready else _FIRST_LOOK_SECONDS)

    async def _tell_served(self) -> None:
        """Tells all others what is served, if that has changed, and removes copies that nobody needs any more."""
        catalog, revision = self.catalog, self.catalog.revision
        if revision != self._told_revision or self._served_list.is_behind:
            known: set[Labels] = {(name, str(version)) async for name, version in in_slices(catalog.known_versions())}
            if catalog.revision != revision:  # meanwhile: the next look will do
                return
            self.metrics.keep_only(known)
            keys = {served.key for served in catalog.ready_versions()}
            self.batcher.forget_estimates(keys)
            versions = map("@".join, known)
            await asyncio.to_thread(self._served_list.write, catalog.keys_ahead(), keys, versions)
            self._told_revision = revision
        await asyncio.to_thread(self._remove_copies)

    def _remove_copies(self) -> None:
        names = self._kept.names()  # before the lists are read: a key is listed before its copy is written
        served = self._served_lists.served()
        if served is not None:
            self._kept.keep_only(served.keys, names)

    async def _keep_confirmed(self) -> None:
        """Asks workers that have come up, and again those that lack a version, for what is served."""
        while True:
            self._worker_changed.clear()
            try:
                await self.pool.confirm({served.key for served in self.catalog.ready_versions()})
                self.catalog.tell_lacking(self.pool.lacking())
                self.batcher.dispatch_all()
            except Exception:
                log.exception("the workers were not asked")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.reload_seconds):
                    await self._worker_changed.wait()

    def _on_worker_change(self) -> None:
        self.batcher.dispatch_all()
        self._worker_changed.set()

    def _take_signals(self) -> None:
        """Has SIGTERM begin the drain, and `HURRY_SIGNAL` end it.

        A terminal and a service manager signal all processes of a server. The main process decides what ends it, so
        SIGINT and SIGHUP are ignored here, and a second SIGTERM does not hurry.
        """
        stop = cast(SignalHandler, signal.getsignal(signal.SIGTERM))  # uvicorn's
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain, stop)
        loop.add_signal_handler(HURRY_SIGNAL, self._hurry, stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(ignored, _pass)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, HURRY_SIGNAL))

    def _drain(self, stop: SignalHandler) -> None:
        """Reports the process as not ready at once, and takes requests for `drain_seconds` more.

        Each answer asks its client to connect anew, so that no request is caught on a connection that closes.
        """
        if self.draining:
            return
        self._begin_to_close()
        log.info("draining", seconds=self.settings.drain_seconds, waiting=self.batcher.waiting_requests)
        self._leaving = asyncio.create_task(self._leave(stop), name="leave")

    async def _leave(self, stop: SignalHandler) -> None:
        """Closes the doors after the drain, and has the process stop in its orderly way."""
        await asyncio.sleep(self.settings.drain_seconds)
        for door in self._doors:
            await door.finish_accepting()
        stop(signal.SIGTERM, None)

    def _hurry(self, stop: SignalHandler) -> None:
        """Stops without the rest of the drain; what was accepted is answered."""
        self._begin_to_close()
        if self._leaving is not None:
            self._leaving.cancel()
        stop(signal.SIGTERM, None)

    def _begin_to_close(self) -> None:
        self.draining = True
        for door in self._doors:
            door.close_connections()


def _pass() -> None:
    """Does nothing."""
