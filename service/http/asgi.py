"""The HTTP door of an API process: the ASGI application that uvicorn runs.

The HTTP protocol itself answers requests for predictions, and finds their endpoints in `direct`: ASGI, routing,
dependencies and middleware would cost several times as much as the request. The FastAPI application answers all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import AccessError
from service.api_process import ApiProcess, SideDoor
from service.certificate import Certificate
from service.client_address import ClientAddresses
from service.errors import ServiceError
from service.http.app import create_app
from service.http.body_gate import BodyGate
from service.http.compressed_answers import WithCompression
from service.http.connection_shares import ConnectionShares
from service.http.connection_watch import ConnectionWatch, HttpLimits
from service.http.cors import Cors
from service.http.direct_routes import DirectRoutes
from service.http.event_loop import EventLoop
from service.http.head_requests import WithHead
from service.http.plain_lane import PlainLane
from service.http.predict_endpoint import PredictEndpoint
from service.http.response_headers import WithSecurityHeaders
from service.http.root_path import WithRootPath
from service.http.routes.drift import drift_router
from service.http.routes.explain import explain_router
from service.http.routes.health import health_router
from service.http.routes.metrics import metrics_router
from service.http.routes.mlflow import mlflow_router
from service.http.routes.models import models_router
from service.http.routes.network import network_router
from service.http.routes.open_inference import open_inference_router
from service.http.routes.predict import PredictRoute, predict_routes
from service.http.routes.studies import studies_router
from service.http.routes.tf_serving import tf_serving_router
from service.listeners import Listeners
from service.logs import LimitedLog, configure_logs, get_logger
from service.request_ids import renew_request_ids
from service.shadow_report import ShadowReport

log = get_logger(__name__)
limited_log = LimitedLog(log)

Routes = Callable[[], Sequence[PredictRoute]]


class AsgiApplication:
    """The ASGI application of an API process, and its HTTP door.

    The object is made before the processes fork; on ASGI's startup event each process starts its own `ApiProcess`.

    Args:
        process: API process, not started.
        listeners: sockets that all API processes accept from.
        certificate: TLS certificate; None serves plain HTTP.
        routes: function that returns the routes of predictions.
        doors: further doors of the process.

    Attributes:
        response_queue_id: an attribute that LitServe sets.
        number: position of the API process among the server's, set before each fork.
        is_successor: True if the API process replaces a dead one, set before each fork.
        direct: routes that the HTTP protocol answers itself, from the start on.
        watch: watch over the connections of the process, from the start on.
    """

    direct: DirectRoutes
    watch: ConnectionWatch

    def __init__(
        self,
        process: ApiProcess,
        listeners: Listeners,
        certificate: Certificate | None,
        routes: Routes = predict_routes,
        doors: Sequence[SideDoor] = (),
    ) -> None:
        self.response_queue_id = 0
        self.number = 0
        self.is_successor = False
        self._process = process
        self._listeners = listeners
        self._certificate = certificate
        self._routes = routes
        self._doors = doors
        settings = process.settings
        self._shares = ConnectionShares(settings.api_processes)
        self._limits = HttpLimits(
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            idle_seconds=settings.idle_seconds,
            max_connections=settings.max_connections,
            max_body_bytes=settings.max_body_bytes,
            max_buffered_bytes=settings.max_buffered_bytes,
            root_path=settings.root_path.encode(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or runs the lifespan of the process."""
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:  # a WebSocket: the server has none
            await send({"type": "websocket.close"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Starts the process, waits for the shutdown event, and stops the process."""
        await receive()
        try:
            await self._start()
        except Exception as error:
            # Such an error has a known cause: the disk or the key file changed after the server's start.
            known = isinstance(error, (OSError, ServiceError, AccessError))
            process = f"api-{self.number}"
            log.error("API process could not start", api_process=process, reason=str(error), exc_info=not known)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for door in self._doors:
            await door.stop()
        await self._process.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        """Prepares logs and event loop, starts the API process, and builds this door."""
        process, settings = self._process, self._process.settings
        configure_logs(settings.log_level, settings.log_format)
        renew_request_ids()
        self._loop = cast(EventLoop, asyncio.get_running_loop())
        self.refresh()  # the certificate may have been renewed since the server's start
        listeners = len(self._listeners.sockets) + len(self._listeners.grpc_sockets)
        self._loop.prepare(self._shares.of(self.number), self._limits, self._certificate, listeners)
        process.start(self.number, is_successor=self.is_successor)
        self.watch = ConnectionWatch(self._limits, self._on_refused_connection)
        cors = Cors(settings.cors_origins.split()) if settings.cors_origins is not None else None
        self._endpoints = self._predict_endpoints(cors)
        self._app = self._application(cors)
        for door in self._doors:
            await door.start()
        process.open(*self._doors, self)
        await process.settle()
        for door in self._doors:
            await door.accept()

    def _predict_endpoints(self, cors: Cors | None) -> list[PredictEndpoint]:
        """Returns an endpoint for each route of predictions, and fills the table of direct routes."""
        process, settings = self._process, self._process.settings
        clients = ClientAddresses(trusted_hops=settings.trusted_hops, header=settings.forwarded_header)
        gate = BodyGate(self._loop, process.steps.seconds_for)
        self.direct = DirectRoutes()
        self.direct.lane = self._lane = self._make_lane()
        endpoints = []
        for route in self._routes():
            endpoint = PredictEndpoint(
                route,
                process.admission,
                process.catalog,
                gate,
                max_body_bytes=settings.max_body_bytes,
                cors=cors,
                clients=clients,
            )
            endpoints.append(endpoint)
            for root in {"", settings.root_path}:
                self.direct.add("POST", f"{root}{route.path}", endpoint)
        return endpoints

    def _make_lane(self) -> PlainLane:
        """Returns the lane of plain requests."""
        process = self._process
        if process.tracer is None:
            return PlainLane(process.admission)
        from service.http.traced_lane import TracedLane

        return TracedLane(process.admission, process.tracer)

    def _application(self, cors: Cors | None) -> ASGIApp:
        """Returns the FastAPI application inside its middleware."""
        process, root_path = self._process, self._process.settings.root_path
        store = process.settings.store
        access, catalog = process.access, process.catalog
        routers = [
            models_router(catalog, process.steps, ShadowReport(process.metrics), process.held_lists, access),
            explain_router(process),
            network_router(process),
            health_router(process.not_ready),
            drift_router(catalog, process.drift, process.steps, access),
            metrics_router(process.metrics, catalog, process.pool, process.drift, access),
            open_inference_router(process, process.settings.max_request_rows),
            tf_serving_router(process),
            mlflow_router(process.not_ready, access),
            studies_router(store if isinstance(store, Path) else None, access),
        ]
        application = create_app(routers, access, root_path, console=process.settings.console)
        application.openapi()  # made once, here, where its 30 ms delay no request
        app: ASGIApp = WithHead(application)
        if cors is not None:
            app = cors.around(app)
        return WithCompression(WithSecurityHeaders(WithRootPath(app, root_path)), self.watch.compressions)

    def refresh(self) -> None:
        """Reads a changed certificate again."""
        if self._certificate is not None:
            self._certificate.refresh()

    def close_connections(self) -> None:
        """Makes each connection close after the next answer."""
        self.watch.draining = True
        self._lane.close()
        for endpoint in self._endpoints:
            endpoint.close_connections()

    async def finish_accepting(self) -> None:
        """Hides the listeners, so that new connections are refused, and accepts all clients that had connected."""
        self._listeners.hide()
        await self._loop.finish_accepting()

    def _on_refused_connection(self) -> None:
        """Counts and logs a connection beyond the limit."""
        self._process.metrics.connection_refused()
        limited_log.warning(
            "a connection was refused: there are too many", limit=self._process.settings.max_connections
        )
