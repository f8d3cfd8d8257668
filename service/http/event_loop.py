"""The event loop of an API process: uvloop's, with servers that accept as `Acceptor` does.

uvicorn has no seam for its listening sockets but the loop's `create_server`, and takes a loop class as a setting.
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
    """uvloop's loop with Axon's way to accept. `prepare` comes before `create_server`."""

    def prepare(self, share: Share, limits: HttpLimits, certificate: Certificate | None) -> None:
        """Sets what all acceptors of this process have in common.

        Args:
            share: connections of this process, among those of all.
            limits: limits of a connection.
            certificate: TLS certificate; None serves plain HTTP.
        """
        self._share = share
        self._limits = limits
        self._certificate = certificate
        self._acceptors: list[Acceptor] = []

    async def create_server(self, protocol_factory: Any, *_: Any, sock: Any = None, **__: Any) -> Any:
        """Accepts on a listening socket."""
        acceptor = Acceptor(self, protocol_factory, sock, self._share, self._limits, self._certificate)
        self._acceptors.append(acceptor)
        return acceptor

    async def finish_accepting(self) -> None:
        """Accepts all that waits on listeners that were hidden, and then stops."""
        await asyncio.gather(*(acceptor.finish() for acceptor in self._acceptors))
