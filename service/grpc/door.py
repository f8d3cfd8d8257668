"""The gRPC door of an API process: its services, its connections, and their end."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from service.access import Scope
from service.api_process import ApiProcess
from service.certificate import Certificate
from service.client_address import ClientAddresses
from service.listeners import Listeners

if TYPE_CHECKING:
    from service.grpc.connection_watch import ConnectionWatch
    from service.grpc.health import HealthService
    from service.grpc.methods import Methods


class GrpcDoor:
    """The door. It is made before the processes fork, without any parts; `start` builds the parts.

    Args:
        process: API process.
        listeners: sockets that all API processes accept from.
        certificate: TLS certificate; None serves without TLS.
    """

    _watch: ConnectionWatch
    _methods: Methods
    _health: HealthService

    def __init__(self, process: ApiProcess, listeners: Listeners, certificate: Certificate | None) -> None:
        self._process = process
        self._listeners = listeners
        self._certificate = certificate

    async def start(self) -> None:
        """Builds the door, after the API process has started."""
        from service.grpc.connection_watch import ConnectionWatch, GrpcLimits

        self._watch = ConnectionWatch(GrpcLimits.of(self._process.settings))
        self._methods = self._make_methods()

    async def accept(self) -> None:
        """Starts to accept connections, on the running event loop."""
        from service.grpc.connection import GrpcConnection

        if self._certificate is not None:
            self._certificate.refresh()
        watch, methods = self._watch, self._methods
        loop = asyncio.get_running_loop()
        for listener in self._listeners.grpc_sockets:
            await self._accept(loop, lambda: GrpcConnection(methods, watch), listener)

    async def _accept(self, loop: asyncio.AbstractEventLoop, make_connection: object, listener: socket.socket) -> None:
        """Starts to accept on a socket; the process's loop shares connections fairly among the API processes."""
        await loop.create_server(make_connection, sock=listener, ssl=self._certificate)  # type: ignore[call-overload]

    def _make_methods(self) -> Methods:
        """Returns the methods of all services."""
        from service.grpc.health import HealthService
        from service.grpc.infer_method import InferMethod
        from service.grpc.methods import Methods
        from service.grpc.model_calls import SERVICE, ModelCalls
        from service.grpc.reflection import Reflection

        process, settings = self._process, self._process.settings
        clients = ClientAddresses(trusted_hops=settings.trusted_hops, header=settings.forwarded_header)
        infer = InferMethod(process.admission, process.catalog, clients, settings.max_body_bytes)
        self._health = HealthService(process.not_ready, [SERVICE])
        by_path = ModelCalls(process).methods() | self._health.methods()
        by_path[f"/{SERVICE}/ModelInfer"] = infer, Scope.PREDICT
        services = {path.split("/")[1] for path in by_path}
        for version in ("v1", "v1alpha"):
            services.add(f"grpc.reflection.{version}.ServerReflection")
        for version in ("v1", "v1alpha"):
            reflection = Reflection(version, services)
            by_path[reflection.path] = reflection, Scope.READ
        return Methods(by_path, process.access)

    def refresh(self) -> None:
        """Reports changes of the server's health to its watchers, and reads a changed certificate again."""
        if self._certificate is not None:
            self._certificate.refresh()
        self._health.report_changes()

    def close_connections(self) -> None:
        """Asks the clients to use other connections."""
        self._health.report_changes()
        self._health.close()
        self._watch.drain()

    async def finish_accepting(self) -> None:
        """Does nothing: the HTTP door hides all listeners, and the process's loop accepts all that had connected."""

    async def stop(self) -> None:
        """Waits until all calls are answered, and closes all connections."""
        await self._watch.finish(self._process.settings.shutdown_seconds)
