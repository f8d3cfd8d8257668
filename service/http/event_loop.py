"""The event loop of an API process: a uvloop loop whose servers are acceptors.

uvicorn takes a loop class as a setting. The loop's `create_server` is the only place to replace uvicorn's listening
sockets.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop

from service.certificate import Certificate
from service.http.acceptor import Acceptor
from service.http.connection_shares import Share
from service.http.connection_watch import HttpLimits


class EventLoop(uvloop.Loop):
    """A uvloop loop that accepts by `Acceptor`. Call `prepare` before `create_server`."""

    def prepare(self, share: Share, limits: HttpLimits, certificate: Certificate | None, listeners: int = 1) -> None:
        """Sets the arguments of all acceptors of this process.

        Args:
            share: share of this process in all connections.
            limits: limits of the connections.
            certificate: TLS certificate; None serves plain HTTP.
            listeners: number of listening sockets.
        """
        self._listeners = listeners
        self._accepts_all = asyncio.Event()
        self._share = share
        self._limits = limits
        self._certificate = certificate
        self._acceptors: list[Acceptor] = []

    async def create_server(self, protocol_factory: Any, *_: Any, sock: Any = None, ssl: Any = None, **__: Any) -> Any:
        """Starts to accept on a listening socket; returns the acceptor.

        uvicorn has no certificate to pass. The gRPC door passes one of its own, because HTTP/2 is negotiated with it.
        """
        certificate = ssl if isinstance(ssl, Certificate) else self._certificate
        acceptor = Acceptor(self, protocol_factory, sock, self._share, self._limits, certificate)
        self._acceptors.append(acceptor)
        if len(self._acceptors) >= self._listeners:
            self._accepts_all.set()
        return acceptor

    async def finish_accepting(self) -> None:
        """Accepts all waiting connections of hidden listeners, and then stops.

        A successor that is drained in its start has not begun to accept yet.
        """
        await self._accepts_all.wait()
        await asyncio.gather(*(acceptor.finish() for acceptor in self._acceptors))
