"""What an API process is: the application that uvicorn runs in it, put together once the process has forked.

`POST /predict` is answered by the HTTP protocol itself, which finds its endpoint in `direct`: ASGI, routing,
dependencies and middleware would cost several times what the request does. All else goes to the FastAPI application.
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
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from models.store import Store
from service.batching.batcher import Batcher
from service.batching.catalog import Catalog
from service.batching.link import WorkerPool
from service.certificate import Certificate
from service.drain import HURRY_SIGNAL
from service.errors import ServiceError
from service.http.access import Access
from service.http.app import PREDICT_PATH, create_app
from service.http.client_address import ClientAddresses
from service.http.compressed_answers import WithCompression
from service.http.connection_shares import ConnectionShares
from service.http.connection_watch import ConnectionWatch, HttpLimits
from service.http.cors import Cors
from service.http.event_loop import EventLoop
from service.http.exchange import DirectEndpoint
from service.http.head_requests import WithHead
from service.http.loop_watch import LoopWatch
from service.http.request_ids import renew_request_ids
from service.http.response_headers import WithSecurityHeaders
from service.http.root_path import WithRootPath
from service.http.routes.health import health_router
from service.http.routes.metrics import metrics_router
from service.http.routes.models import models_router
from service.http.routes.predict import PredictEndpoint
from service.http.step_queue import StepQueue
from service.listeners import Listeners
from service.logs import LimitedLog, configure_logs, get_logger, report_suppressed
from service.metrics import ApiMetrics
from service.series_file import Labels
from service.settings import Settings
from service.stream.kept_checkpoints import KeptCheckpoints
from service.stream.served_list import ServedList, ServedLists
from service.stream.sockets import socket_path
from service.time_slices import in_slices

log = get_logger(__name__)
limited_log = LimitedLog(log)

# New objects after which the collector looks at them. A slice of a large request has thousands of rows, all of which go
# by themselves: the usual 700 would have it walk them once or twice for each slice.
_COLLECTED_FROM = 20_000
# How long the event loop waits for another thread of the process, such as the one that reads the store, and that after
# each call of the system. With Python's own 5 ms, a new model of 10,000 columns holds it up for a tenth of a second.
_SWITCH_SECONDS = 0.0005

SignalHandler = Callable[[int, FrameType | None], object]


class FrontDoor:
    """The ASGI application of an API process.

    It is made before the processes fork and holds nothing then; on ASGI's startup event each process builds its own
    catalog, batcher and links.

    Args:
        settings: settings of the server.
        runtime_dir: folder of the workers' sockets and the metric files.
        workers: number of workers.
        listeners: sockets that all API processes accept from.
        certificate: TLS certificate; None serves plain HTTP.

    Attributes:
        response_queue_id: which API process this is; LitServe sets it before each fork.
    """

    def __init__(
        self,
        settings: Settings,
        runtime_dir: Path,
        workers: int,
        listeners: Listeners,
        certificate: Certificate | None,
    ) -> None:
        self.response_queue_id = 0
        self._settings = settings
        self._runtime_dir = runtime_dir
        self._workers = workers
        self._listeners = listeners
        self._certificate = certificate
        self._shares = ConnectionShares(settings.api_processes)
        self._http_limits = HttpLimits(
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            idle_seconds=settings.idle_seconds,
            max_connections=settings.max_connections,
            max_body_bytes=settings.max_body_bytes,
            max_buffered_bytes=settings.max_buffered_bytes,
            root_path=settings.root_path.encode(),
        )
        self._access = Access.from_settings(settings)
        self._was_ready = False
        self._told_revision = 0
        self._draining = False
        self._leaving: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or runs the process's lifespan."""
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:  # a WebSocket: there is none here
            await send({"type": "websocket.close"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except Exception as error:
            known = isinstance(error, (OSError, ServiceError))  # a disk, or a key file, that changed since the start
            process = self.response_queue_id
            log.error("API process could not start", api_process=process, reason=str(error), exc_info=not known)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        settings = self._settings
        configure_logs(settings.log_level, settings.log_format)
        renew_request_ids()
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._loop = cast(EventLoop, asyncio.get_running_loop())
        self._loop.prepare(self._shares.of(self.response_queue_id), self._http_limits, self._certificate)
        self._metrics = metrics = ApiMetrics(self._runtime_dir / "metrics")
        self._pool = WorkerPool(
            [socket_path(self._runtime_dir, worker) for worker in range(self._workers)],
            self._on_worker_change,
            hang_seconds=settings.hang_seconds,
        )
        self._batcher = Batcher(
            self._pool,
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            on_resent=metrics.batch_resent,
        )
        self._served_list = ServedList(self._runtime_dir, f"api-{self.response_queue_id}")
        self._kept = KeptCheckpoints(self._runtime_dir)
        self._served_lists = ServedLists(self._runtime_dir, settings.api_processes)
        self._worker_changed = asyncio.Event()
        self._catalog = Catalog(
            Store(settings.store),
            self._pool.load,
            metrics.for_model,
            capacity=settings.model_cache,
            default_model=settings.default_model,
            intend=self._served_list.intend,
        )
        metrics.start(f"api-{self.response_queue_id}", self._batcher.waiting_rows)
        cors = Cors(settings.cors_origins.split()) if settings.cors_origins is not None else None
        clients = ClientAddresses(trusted_hops=settings.trusted_hops, header=settings.forwarded_header)
        steps = StepQueue(self._loop)
        self._predict = PredictEndpoint(
            self._catalog, self._batcher, metrics, settings, self._access, cors=cors, clients=clients, steps=steps
        )
        self.watch = ConnectionWatch(self._http_limits, self._on_refused_connection)
        self.direct: dict[tuple[bytes, bytes], DirectEndpoint] = {
            (b"POST", f"{root}{PREDICT_PATH}".encode()): self._predict for root in {"", settings.root_path}
        }
        access = self._access
        routers = [
            models_router(self._catalog, steps, access),
            health_router(self.not_ready),
            metrics_router(metrics, self._catalog, self._pool, access),
        ]
        application = create_app(routers, access, settings.root_path)
        application.openapi()  # made once, here, where it holds up nobody for 30 ms
        app: ASGIApp = WithHead(application)
        if cors is not None:
            app = cors.around(app)
        app = WithSecurityHeaders(WithRootPath(app, settings.root_path))
        self._app: ASGIApp = WithCompression(app, self.watch.compressions)
        self._pool.start()
        self._followers = [
            asyncio.create_task(self._keep_fresh(), name="refresh"),
            asyncio.create_task(self._keep_confirmed(), name="confirm"),
        ]
        if access is not None:
            self._followers.append(asyncio.create_task(access.follow(settings.reload_seconds), name="keys"))
        self._take_signals()
        # What was imported stays for good: the collector need not walk it again and again (a pause of 100 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECTED_FROM, *gc.get_threshold()[1:])
        self._loop_watch = LoopWatch(self._loop, lambda: metrics.has_gathered or steps.is_busy)

    async def _stop(self) -> None:
        self._loop_watch.close()
        for follower in self._followers:
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)
        await self._pool.close()
        self._metrics.flush()

    async def _keep_fresh(self) -> None:
        """Follows the store. A fault in one look is logged, and the next look comes all the same."""
        while True:
            try:
                self._metrics.measure_memory()
                self._metrics.set_longest_hold(self._loop_watch.longest_seconds)
                report_suppressed()
                if self._certificate is not None:
                    self._certificate.refresh()
                # Versions are checked by loading them on the workers, so the first look waits for all of these.
                if self._was_ready or self._pool.up == self._workers:
                    await self._catalog.refresh()
                    await self._tell_served()
                    if not self._was_ready:
                        # So does what the store holds now, of which the catalog has left little to be walked over.
                        gc.collect()
                        gc.freeze()
                    self._was_ready = True
            except Exception:
                log.exception("the store was not taken in")
            await asyncio.sleep(self._settings.reload_seconds if self._was_ready else 0.02)

    async def _tell_served(self) -> None:
        """Tells all others what is served, where that has changed, and removes copies that nobody needs any more."""
        catalog, revision = self._catalog, self._catalog.revision
        if revision != self._told_revision or self._served_list.is_behind:
            known: set[Labels] = {(name, str(version)) async for name, version in in_slices(catalog.known_versions())}
            if catalog.revision != revision:  # meanwhile: the next look will do
                return
            self._metrics.keep_only(known)
            keys = {served.key for served in catalog.ready_versions()}
            self._batcher.forget_paces(keys)
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
                await self._pool.confirm({served.key for served in self._catalog.ready_versions()})
                self._catalog.tell_lacking(self._pool.lacking())
                self._batcher.dispatch_all()
            except Exception:
                log.exception("the workers were not asked")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.reload_seconds):
                    await self._worker_changed.wait()

    def not_ready(self) -> str | None:
        """Why predictions would not be answered now; None where they would."""
        if self._draining:
            return "the server is about to stop"
        if not self._was_ready:
            return f"{self._pool.up} of {self._workers} workers have loaded their models"
        if self._pool.up == 0:
            return "no inference worker is up"
        if next(self._catalog.models(), None) is None:
            return "there is no model to serve in the store"
        if lacked := self._pool.lacked():
            ready = {served.key for served in self._catalog.ready_versions()}
            if lacked := lacked & ready:
                # Not which: a probe needs no key.
                return f"no worker can load {len(lacked)} of {len(ready)} model versions; GET /models says which"
        return None

    def _on_worker_change(self) -> None:
        self._batcher.dispatch_all()
        self._worker_changed.set()

    def _on_refused_connection(self) -> None:
        self._metrics.connection_refused()
        limited_log.warning("a connection was refused: there are too many", limit=self._settings.max_connections)

    def _take_signals(self) -> None:
        """SIGTERM begins the drain, `HURRY_SIGNAL` ends it.

        A terminal and a service manager signal all processes of a server. What ends it is the main process's to decide,
        so SIGINT and SIGHUP are nothing here, and a second SIGTERM does not hurry.
        """
        stop = cast(SignalHandler, signal.getsignal(signal.SIGTERM))  # uvicorn's
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain, stop)
        loop.add_signal_handler(HURRY_SIGNAL, self._hurry, stop)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(ignored, _pass)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, HURRY_SIGNAL))

    def _drain(self, stop: SignalHandler) -> None:
        """Readiness says no at once, and requests are taken for `drain_seconds` more.

        Each answer asks its client to connect anew, so that none is caught on a connection that closes.
        """
        if self._draining:
            return
        self._draining = self.watch.draining = True
        self._predict.close_connections()
        log.info("draining", seconds=self._settings.drain_seconds, waiting=self._batcher.waiting_requests)
        self._leaving = asyncio.create_task(self._leave(stop), name="leave")

    async def _leave(self, stop: SignalHandler) -> None:
        """After the drain: refuses newcomers, accepts who has connected, and has uvicorn stop in its orderly way."""
        await asyncio.sleep(self._settings.drain_seconds)
        self._listeners.hide()
        await self._loop.finish_accepting()
        stop(signal.SIGTERM, None)

    def _hurry(self, stop: SignalHandler) -> None:
        """Stops without the rest of the drain; what was accepted is answered."""
        self._draining = self.watch.draining = True
        self._predict.close_connections()
        if self._leaving is not None:
            self._leaving.cancel()
        stop(signal.SIGTERM, None)


def _pass() -> None:
    """Does nothing."""
