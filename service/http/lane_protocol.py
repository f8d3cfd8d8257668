"""An HTTP connection whose plain requests take the lane; all others are read by the parser, as `HttpProtocol` does."""

from __future__ import annotations

from typing import Any, cast

from service.http.connection_watch import Phase
from service.http.exchange import Exchange
from service.http.protocol import Application, HttpProtocol


class LaneProtocol(HttpProtocol):
    """One connection.

    Bytes go to the lane only between two requests, on a connection without a request that is being read or handled.
    Whatever else happens to the connection turns its plain request into a usual one first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lane = lane = cast(Application, self.app).direct.lane
        self._plain = None if lane is None else lane.place(self)
        self._in_message = False  # True from the first byte of a request that the parser reads to its last
        self._whole: bytes | None = None  # bytes that may be one whole request

    def data_received(self, data: bytes) -> None:
        """Handles bytes of the client: in the lane, or by the parser."""
        plain, lane = self._plain, self._lane
        if plain is not None and lane is not None:
            if self.phase is Phase.IDLE and not self._in_message and not self._draining:
                self._unset_keepalive_if_required()
                if lane.take(plain, data):
                    return
            elif plain.part:
                data = self._take_back_part() + data
                if lane.take_rest(plain, data):
                    return
            elif plain.is_pending:
                plain.as_usual()
        self._read(data)

    def adopt(self, exchange: Exchange) -> None:
        """Takes a request, which the lane has read as a plain one, as a usual request that is being handled."""
        self.cycle = exchange  # type: ignore[assignment]
        self._unanswered.add(exchange)
        self._head_bytes = 0

    def on_message_begin(self) -> None:
        """Prepares for a new request."""
        self._in_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Records the end of a request, from which the lane may learn."""
        if not self.parser.should_upgrade():
            self._in_message = False
            if self._lane is not None and self._whole is not None and self._exchange is not None:
                self._lane.learn(self._whole, self._exchange)
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all requests of the connection, which the client or the server has closed."""
        self._leave_lane()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Closes the connection once all requests that have come in full or in part are answered; the server stops."""
        self._leave_lane()
        super().shutdown()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handles the end of the client's bytes; its requests are still answered."""
        self._leave_lane()
        return super().eof_received()

    def timed_out(self) -> None:
        """Ends a phase that takes too long."""
        self._leave_lane()
        super().timed_out()

    def _read(self, data: bytes) -> None:
        """Has the parser read bytes."""
        self._whole = None if self._in_message else data
        super().data_received(data)

    def _leave_lane(self) -> None:
        """Turns the plain request in the lane, whole or in part, into a usual request."""
        if self._plain is None:
            return
        if self._plain.is_pending:
            self._plain.as_usual()
        elif self._plain.part and not self.transport.is_closing():
            since = self.since
            self._read(self._take_back_part())
            self.since = since

    def _take_back_part(self) -> bytes:
        """Returns the first part of a plain request whose rest has not come, so that the connection is idle again."""
        assert self._plain is not None  # noqa: S101 -- the caller has looked
        part, self._plain.part = self._plain.part, b""
        self.phase = Phase.IDLE
        return part
