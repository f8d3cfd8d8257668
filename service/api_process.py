"""An API process: catalog, batcher, links to workers, readiness and drain, without any protocol or wire format.

Clients reach it through doors: HTTP and gRPC. Each door implements one protocol, and hands requests to the
`Admission` of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol, cast

from models.signatures.trust import Trust
from service.access import Access
from service.admission import Admission
from service.api_heartbeats import Beat, Heartbeats
from service.batching.batch import Batch
from service.batching.batcher import Batcher
from service.batching.catalog import Catalog
from service.batching.inherited import Inherited, KnownModels
from service.batching.link import WorkerPool
from service.batching.model_loading import ModelLoading
from service.batching.served_version import ServedVersion
from service.batching.shadow_schedule import ShadowSchedule
from service.batching.unloaded import UnloadedModels
from service.batching.version_memory import VersionMemory
from service.drift.monitor import DriftMonitor
from service.library_pages import let_go_of, library_mappings
from service.logs import get_logger, report_suppressed
from service.loop_watch import LoopWatch
from service.memory_metrics import MemoryMetrics
from service.metrics import ApiMetrics
from service.series_file import Labels
from service.served_store import ServedStore
from service.settings import Settings
from service.step_queue import StepQueue
from service.stop_signals import HURRY_SIGNAL
from service.stream.frames import Kind
from service.stream.heartbeat_policy import HeartbeatPolicy
from service.stream.held_list import HeldLists
from service.stream.kept_checkpoints import KeptCheckpoints
from service.stream.served_list import ServedList, ServedLists
from service.stream.sockets import socket_path
from service.time_slices import in_slices
from service.tracing.environment import is_sdk_disabled

if TYPE_CHECKING:
    from service.prediction_log.log import PredictionLog
    from service.tracing.tracer import Tracer

log = get_logger(__name__)

# Number of new objects after which the garbage collector runs. A slice of a large request has thousands of rows, which
# are freed without it. With the usual 700, it would traverse them once or twice for each slice.
_COLLECTED_FROM = 20_000
# Longest time that the event loop waits for another thread of the process, such as the one that reads the store, after
# each system call. With Python's default of 5 ms, a new model of 10,000 columns blocks it for a tenth of a second.
_SWITCH_SECONDS = 0.0005
_BUCKET_JITTER = (0.8, 1.2)  # of the time between two refreshes
_SIBLINGS_SECONDS = 5.0  # longest time for which a process with models waits for the other API processes
_REFRESH_SECONDS_BEFORE_READY = 0.02  # time between two refreshes until the process is ready
_SETTLE_SECONDS = 5.0  # longest time for which a successor accepts no connection
_SETTLE_POLL_SECONDS = 0.005
_FLUSH_SECONDS = 2.0  # longest time for the last spans, after the last answer
_HURRIED_FLUSH_SECONDS = 0.2

SignalHandler = Callable[[int, FrameType | None], object]


class Door(Protocol):
    """A protocol by which clients reach an API process."""

    def refresh(self) -> None:
        """Reads files that may have changed, such as a certificate; called at regular intervals."""

    def close_connections(self) -> None:
        """Makes each connection close after the next answer, because the process is about to stop."""

    async def finish_accepting(self) -> None:
        """Refuses new connections, and waits until all connections that were open before are accepted."""


class SideDoor(Door, Protocol):
    """A door beside HTTP's, which starts and stops the process."""

    async def start(self) -> None:
        """Builds the door, after the API process has started."""

    async def accept(self) -> None:
        """Starts to accept connections, after the API process has opened."""

    async def stop(self) -> None:
        """Answers what was accepted, and closes all connections."""


class ApiProcess:
    """One API process. The object is made before the processes fork, without any parts; `start` builds the parts.

    Args:
        settings: settings of the server.
        runtime_dir: folder of the workers' sockets and the metric files.
        workers: number of workers.
        heartbeats: heartbeats of all API processes.
        main: descriptor of the main process (pidfd); the process ends when the main process has ended.
        trust: keys that may have signed versions; None to load all versions.

    Attributes:
        settings: settings of the server.
        access: API keys; None lets everybody in.
        held_lists: lists of what the workers hold in memory.
        metrics, pool, batcher, catalog, loading, drift, steps, admission: parts of the process, from `start` on.
        prediction_log: log of predictions, from `start` on; None without one.
        tracer: tracer of the process, from `start` on; None without traces.
        draining: True once the process is about to stop.
    """

    metrics: ApiMetrics
    pool: WorkerPool
    batcher: Batcher
    catalog: Catalog
    loading: ModelLoading
    drift: DriftMonitor
    steps: StepQueue
    admission: Admission
    prediction_log: PredictionLog | None
    tracer: Tracer | None

    def __init__(
        self,
        settings: Settings,
        runtime_dir: Path,
        workers: int,
        heartbeats: Heartbeats,
        main: int,
        trust: Trust | None = None,
    ) -> None:
        self.settings = settings
        self.access = Access.from_settings(settings)
        self.draining = False
        self._trust = trust
        self._runtime_dir = runtime_dir
        self._workers = workers
        self._heartbeats = heartbeats
        self._main = main
        self._is_successor = False
        self.held_lists = HeldLists(runtime_dir, workers)
        self._doors: list[Door] = []
        self._was_ready = False
        self._siblings_until = 0.0  # time up to which readiness waits for the other API processes; 0 if it does not
        self._published_revision = 0
        self._drain_task: asyncio.Task[None] | None = None
        self._flush_seconds = min(_FLUSH_SECONDS, settings.shutdown_seconds / 2)

    def start(self, number: int, *, is_successor: bool) -> None:
        """Builds the parts of the process, within a running event loop.

        Args:
            number: position of the process among the server's API processes.
            is_successor: True if the process replaces a dead one.

        Raises:
            AccessError: the key file has changed since the start of the server, and cannot be read.
            OSError: the metric files cannot be written.
        """
        settings = self.settings
        self._number, self._is_successor = number, is_successor
        if self.access is not None and is_successor:
            # The keys that this process inherits are those of the server's start: some may have been withdrawn.
            self.access.refresh(is_strict=True)
        sys.setswitchinterval(_SWITCH_SECONDS)
        loop = asyncio.get_running_loop()
        self.metrics = metrics = ApiMetrics(self._runtime_dir / "metrics")
        self.pool = WorkerPool(
            [socket_path(self._runtime_dir, worker) for worker in range(self._workers)],
            self._on_worker_change,
            hang_seconds=settings.hang_seconds,
        )
        self.tracer = tracer = self._make_tracer(f"api-{number}")
        self.batcher = Batcher(
            self.pool,
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            on_resent=metrics.batch_resent,
            make_batch=Batch if tracer is None else tracer.make_batch,
        )
        metrics.start(f"api-{number}", self.batcher.waiting_rows, self.batcher.awake_seconds)
        if tracer is not None:
            tracer.start()
        self._served_list = ServedList(self._runtime_dir, f"api-{number}")
        self._kept = KeptCheckpoints(self._runtime_dir)
        self._served_lists = ServedLists(self._runtime_dir, settings.api_processes)
        self._known_models = KnownModels(self._runtime_dir, f"api-{number}")
        self._worker_changed = asyncio.Event()
        self._shadows = ShadowSchedule(self.batcher, metrics.shadows, self._runtime_dir / "stopped-shadows")
        unloaded = UnloadedModels(self._runtime_dir / "unloaded")
        self._memory_metrics, limit = MemoryMetrics(f"api-{number}"), settings.model_memory_bytes
        self._memory = None if limit is None else VersionMemory(limit, self.batcher.is_busy, self._kept.path)
        self.catalog = Catalog(
            ServedStore.of(settings, self._trust),
            self.pool.load,
            metrics.for_model,
            capacity=settings.model_cache,
            default_model=settings.default_model,
            intend=self._served_list.intend,
            unloaded=unloaded,
            make_shadow=self._shadows.make,
            memory=self._memory,
            inherited=self._inherited() if is_successor else None,
        )
        self.loading = ModelLoading(self.catalog, unloaded)
        self.drift = DriftMonitor(settings, self._runtime_dir / "drift", number, self.batcher)
        self.prediction_log = self._make_prediction_log(f"api-{number}")
        self.batcher.log = self.prediction_log
        self.steps = StepQueue(loop)
        admit = Admission if tracer is None else tracer.make_admission
        self.admission = admit(self.catalog, self.batcher, self.steps, metrics, self.access, settings)

    def open(self, *doors: Door) -> None:
        """Starts to follow the store, the workers, the keys and the signals.

        Args:
            doors: all doors of the process, started.
        """
        self._doors = list(doors)
        self.pool.start()
        self._followers = [
            asyncio.create_task(self._follow_store(), name="refresh"),
            asyncio.create_task(self._follow_workers(), name="confirm"),
        ]
        if self.access is not None:
            self._followers.append(asyncio.create_task(self.access.follow(self.settings.reload_seconds), name="keys"))
        self._take_signals()
        asyncio.get_running_loop().add_reader(self._main, self._end_without_main)
        # Imported modules stay for good: the collector need not traverse them again and again (a pause of 100 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECTED_FROM, *gc.get_threshold()[1:])
        let_go_of(library_mappings())
        metrics, steps = self.metrics, self.steps
        policy = HeartbeatPolicy.of(self.settings.hang_seconds)
        self._beat = Beat(self._heartbeats, self._number, policy)
        if self.prediction_log is not None:
            self.prediction_log.start()
        self._loop_watch = LoopWatch(asyncio.get_running_loop(), lambda: metrics.has_gathered or steps.is_busy)

    async def settle(self) -> None:
        """Waits until a successor can answer, and leaves all connections to others until then.

        The first processes accept at once, since the server is alive while workers load their models. A successor that
        cannot become ready accepts after some seconds, and tells the reason.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        while self._is_successor and self.not_ready() is not None and not self.draining:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_SETTLE_POLL_SECONDS)

    def checkpoint_paths(self, served: ServedVersion) -> tuple[Path, Path]:
        """Returns the paths at which the checkpoint of a version may be: the workers' copy, and the store's file."""
        return self._kept.path(served.key), served.path

    async def stop(self) -> None:
        """Ends all tasks and links that `open` started, and writes the last metrics."""
        self._loop_watch.close()
        self._beat.close()
        asyncio.get_running_loop().remove_reader(self._main)
        self._shadows.close()
        for follower in self._followers:
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)
        await self.drift.stop()
        await self.pool.close()
        if self.prediction_log is not None:
            await asyncio.to_thread(self.prediction_log.stop, self._flush_seconds)
        if self.tracer is not None:
            await self.tracer.close(self._flush_seconds)
        self.metrics.flush()

    def _inherited(self) -> Inherited:
        """Reads what the predecessor and the siblings serve, before this process replaces its predecessor's list."""
        served = self._served_lists.read()
        keys = frozenset() if served is None else served.keys
        return Inherited(self._known_models.read(), keys, self._kept, partial(self.pool.load, kind=Kind.RESTORE))

    def _make_tracer(self, process: str) -> Tracer | None:
        """Makes the tracer; returns None without traces, for which OpenTelemetry need not be installed."""
        if not self.settings.traces or is_sdk_disabled(os.environ):
            return None
        from service.tracing.tracer import Tracer

        return Tracer(process, self._runtime_dir / "metrics")

    def _make_prediction_log(self, process: str) -> PredictionLog | None:
        """Makes the log of predictions; returns None without one, which then costs no import."""
        folder = self.settings.prediction_log
        if folder is None:
            return None
        from service.prediction_log.log import PredictionLog

        return PredictionLog(self.settings, folder, process)

    def not_ready(self) -> str | None:
        """Returns the reason why predictions would not be answered now, None if the process is ready."""
        if self.draining:
            return "the server is about to stop"
        if not self._was_ready:
            return f"{self.pool.up} of {self._workers} workers have loaded their models"
        if self._waits_for_siblings():
            return "other API processes have not yet read the store"
        if self.pool.up == 0:
            return "no inference worker is up"
        if next(self.catalog.models(), None) is None:
            reason = self.catalog.problems.get("")
            return "there is no model to serve in the store" if reason is None else f"there is no model: {reason}"
        if unloadable := self.pool.unloadable_keys():
            ready = self.catalog.answering_keys()
            if unloadable := unloadable & ready:
                # Without the names of the models: a readiness probe needs no key.
                return f"no worker can load {len(unloadable)} of {len(ready)} model versions; GET /models says which"
        return None

    def _waits_for_siblings(self) -> bool:
        """Returns True while an API process of the same start has not read the store.

        A client that was told that the server is ready may reach any of the processes with its next connection. A
        process writes its list of what it serves after it has read the store.
        """
        if self._siblings_until and (
            self._is_successor
            or self._served_lists.served() is not None
            or time.monotonic() > self._siblings_until  # a sibling dies again and again, or cannot write its list
        ):
            self._siblings_until = 0.0
        return bool(self._siblings_until)

    async def _follow_store(self) -> None:
        """Refreshes the catalog again and again. An error in one round is logged, and the next round comes anyway."""
        while True:
            try:
                self.metrics.measure_memory()
                self._report_memory()
                self.metrics.set_longest_hold(self._loop_watch.longest_seconds)
                report_suppressed()
                for door in self._doors:
                    door.refresh()
                if self._was_ready or self._enough_workers_are_up():
                    await self.catalog.refresh()
                    if not self._was_ready:
                        # The models of the store stay, too; the catalog has left few of their objects to the collector.
                        gc.collect()
                        gc.freeze()
                        self._was_ready = True
                        self._siblings_until = time.monotonic() + _SIBLINGS_SECONDS
                    await self._publish_served()
            except Exception:
                log.exception("the store was not taken in")
            await asyncio.sleep(self._refresh_seconds() if self._was_ready else _REFRESH_SECONDS_BEFORE_READY)

    def _refresh_seconds(self) -> float:
        """Returns the time until the next refresh; a random one for a bucket, so that replicas do not ask in step."""
        seconds = self.settings.reload_seconds
        if isinstance(self.settings.store, Path):
            return seconds
        return seconds * random.uniform(*_BUCKET_JITTER)  # noqa: S311  # nosec B311

    def _enough_workers_are_up(self) -> bool:
        """Returns True if the store may be read for the first time.

        Versions are checked by loading them on the workers. When the server starts, all of them do. A successor comes
        at any time, perhaps while a worker is being replaced.
        """
        return self.pool.up >= (1 if self._is_successor else self._workers)

    def _report_memory(self) -> None:
        """Reports what the process holds of its versions."""
        held = [served.memory_bytes for served in self.catalog.ready_versions() if not served.is_released]
        evictions = 0 if self._memory is None else self._memory.evictions
        self._memory_metrics.report(
            versions=len(held), size=sum(held), loads=len(held) + evictions, evictions=evictions
        )

    async def _publish_served(self) -> None:
        """Publishes the list of served versions after a change, and removes copies that are no longer needed.

        Other processes read the list. The metrics and the service-time estimates of ended versions are dropped.
        """
        catalog, revision = self.catalog, self.catalog.revision
        if revision != self._published_revision or self._served_list.is_behind:
            known: set[Labels] = {(name, str(version)) async for name, version in in_slices(catalog.known_versions())}
            if catalog.revision != revision:  # changed meanwhile: the next round publishes the list
                return
            self.metrics.keep_only(known)
            await self.drift.follow(catalog.ready_versions())
            keys = {served.key for served in catalog.ready_versions()}
            self.batcher.forget_estimates(keys)
            versions = map("@".join, known)
            await asyncio.to_thread(self._served_list.write, catalog.preloaded_keys(), keys, versions)
            await asyncio.to_thread(self._known_models.write, catalog.entries())
            self._published_revision = revision
        await asyncio.to_thread(self._remove_copies)

    def _remove_copies(self) -> None:
        """Removes copies of checkpoints that no API process serves."""
        names = self._kept.names()  # before the lists are read: a key is listed before its copy is written
        served = self._served_lists.served()
        if served is not None:
            self._kept.keep_only(served.keys, names)

    async def _follow_workers(self) -> None:
        """Asks all workers again and again to restore served versions.

        A worker that has just started is asked for all versions, another worker for those that failed to load before.
        """
        while True:
            self._worker_changed.clear()
            try:
                await self.pool.confirm({served.key for served in self.catalog.ready_versions()})
                self.catalog.report_load_failures(self.pool.load_failures())
                self.batcher.dispatch_all()
            except Exception:
                log.exception("the workers were not asked")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.reload_seconds):
                    await self._worker_changed.wait()

    def _on_worker_change(self) -> None:
        """Sends waiting batches and wakes `_follow_workers`, since a worker has come up or gone down."""
        self.batcher.dispatch_all()
        self._worker_changed.set()

    def _take_signals(self) -> None:
        """Installs signal handlers: SIGTERM starts the drain, and `HURRY_SIGNAL` ends the drain.

        A terminal and a service manager signal all processes of a server. Only the main process decides when the server
        ends, so SIGINT and SIGHUP are ignored here, and a second SIGTERM does not shorten the drain.
        """
        stop = cast(SignalHandler, signal.getsignal(signal.SIGTERM))  # uvicorn's
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain, stop)
        loop.add_signal_handler(HURRY_SIGNAL, self._hurry, stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(ignored, _ignore)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, HURRY_SIGNAL))

    def _drain(self, stop: SignalHandler) -> None:
        """Reports the process as not ready at once, and still takes requests for `drain_seconds` seconds.

        Each answer closes its connection, so that no request is lost on a connection that closes later.
        """
        if self.draining:
            return
        self._begin_to_close()
        log.info("draining", seconds=self.settings.drain_seconds, waiting=self.batcher.waiting_requests)
        self._drain_task = asyncio.create_task(self._finish_drain(stop), name="drain")

    async def _finish_drain(self, stop: SignalHandler) -> None:
        """Waits for the end of the drain, closes the doors, and stops the process in order."""
        await asyncio.sleep(self.settings.drain_seconds)
        for door in self._doors:
            await door.finish_accepting()
        stop(signal.SIGTERM, None)

    def _hurry(self, stop: SignalHandler) -> None:
        """Stops without the rest of the drain; accepted requests are still answered."""
        self._begin_to_close()
        self._flush_seconds = _HURRIED_FLUSH_SECONDS
        if self._drain_task is not None:
            self._drain_task.cancel()
        stop(signal.SIGTERM, None)

    def _end_without_main(self) -> None:
        """Drains as after SIGTERM, because the main process was killed."""
        asyncio.get_running_loop().remove_reader(self._main)
        os.kill(os.getpid(), signal.SIGTERM)

    def _begin_to_close(self) -> None:
        """Reports the process as not ready, and closes each connection after its next answer."""
        self.draining = True
        for door in self._doors:
            door.close_connections()


def _ignore() -> None:
    """Does nothing."""
