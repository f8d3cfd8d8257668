"""A running server, with the addresses of its doors."""

from __future__ import annotations

from dataclasses import dataclass

from serving import Server


@dataclass(frozen=True)
class Doors:
    """A server and the addresses of its doors.

    Attributes:
        server: running server.
        http: `host:port` of HTTP.
        grpc: `host:port` of gRPC.
    """

    server: Server
    http: str
    grpc: str
