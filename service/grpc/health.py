"""The standard health service of gRPC: a check, and a watch that reports each change."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from models.errors import ModelNotFound
from service.access import Scope
from service.errors import InvalidRequest, ModelUnavailable
from service.grpc.messages import message_class, parsed
from service.grpc.methods import UnaryMethod, fail
from service.grpc.stream import Method, Stream
from service.stream.frames import Buffer

_SERVICE = "grpc.health.v1.Health"
_REQUEST = message_class("grpc.health.v1.HealthCheckRequest")
_RESPONSE = message_class("grpc.health.v1.HealthCheckResponse")
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3
_MOST_WATCHERS = 1000


class HealthService:
    """The service. It needs no key, as the health paths of HTTP.

    Args:
        not_ready: function that returns the reason why predictions would not be answered now, or None.
        services: names of the services; the empty name stands for the server.
    """

    def __init__(self, not_ready: Callable[[], str | None], services: Collection[str]) -> None:
        self._not_ready = not_ready
        self._services = {"", *services}
        self._watchers: dict[Stream, int] = {}

    def methods(self) -> dict[str, tuple[Method, Scope | None]]:
        """Returns the methods by path."""
        check = UnaryMethod("grpc.health.v1.HealthCheckRequest", self._check)
        return {f"/{_SERVICE}/Check": (check, None), f"/{_SERVICE}/Watch": (self, None)}

    async def _check(self, request: Any) -> Any:
        status = self._status(request.service)
        if status == _SERVICE_UNKNOWN:
            raise ModelNotFound(f"there is no service {request.service[:100]!r}.")
        return _RESPONSE(status=status)

    def _status(self, service: str) -> int:
        if service not in self._services:
            return _SERVICE_UNKNOWN
        return _SERVING if self._not_ready() is None else _NOT_SERVING

    def report_changes(self) -> None:
        """Reports changes to the watchers; called at regular intervals, and at the start of a drain."""
        is_ready = self._not_ready() is None
        for stream, known in list(self._watchers.items()):
            if stream.is_closed:
                del self._watchers[stream]
            elif known != _SERVICE_UNKNOWN and (status := _SERVING if is_ready else _NOT_SERVING) != known:
                self._watchers[stream] = status
                stream.send(_RESPONSE(status=status).SerializeToString())

    # The method `Watch`.

    takes_many = False

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        """Starts a watch."""
        try:
            if is_compressed:
                raise InvalidRequest("A compressed HealthCheckRequest is not supported.")
            status = self._status(parsed(_REQUEST, message).service)
            stream.release()
            self.report_changes()  # forgets watchers that have gone
            if len(self._watchers) >= _MOST_WATCHERS:
                raise InvalidRequest(f"More than {_MOST_WATCHERS:,} calls watch the server's health.")
            self._watchers[stream] = status
            stream.send(_RESPONSE(status=status).SerializeToString())
        except Exception as error:
            fail(stream, error)

    def end(self, stream: Stream) -> None:
        """Does nothing: a call has one message."""

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Ends a call with an error."""
        fail(stream, error)

    def close(self) -> None:
        """Ends all watches, which would otherwise keep their connections open."""
        for stream in self._watchers:
            fail(stream, _STOPPING)
        self._watchers.clear()


_STOPPING = ModelUnavailable("the server is about to stop.")
