"""An exchange with a compressed request body."""

from __future__ import annotations

from service.errors import InvalidRequest, TooLarge, UnsupportedBody
from service.http.body_headers import body_coding
from service.http.exchange import Connection, DirectEndpoint, Exchange
from service.http.inflater import Inflater
from service.http.request_head import Fields


class InflatedExchange(Exchange):
    """An exchange that inflates the body for its endpoint. The limits hold for the compressed and the inflated body.

    `complete` is True once the whole body is inflated.
    """

    __slots__ = ("_has_ended", "_inflater", "_is_queued", "_sent_bytes")

    def __init__(
        self,
        protocol: Connection,
        endpoint: DirectEndpoint,
        headers: list[tuple[bytes, bytes]],
        fields: Fields,
        keep_alive: bool,
        coding: str,
    ) -> None:
        super().__init__(protocol, endpoint, headers, fields, keep_alive)
        self._inflater = Inflater(coding)
        self._sent_bytes = 0
        self._has_ended = False
        self._is_queued = False

    def add_body(self, data: bytes) -> None:
        """Takes a part of the compressed body."""
        if self._is_over:
            return
        self._sent_bytes += len(data)
        limit = self._protocol.watch.limits.max_body_bytes
        if self._sent_bytes > limit:
            self.refuse(TooLarge(f"a body of more than {limit:,} bytes."))
            return
        self._inflater.feed(data)
        if not self._is_queued:
            self._go_on()

    def finish_body(self) -> None:
        """Records the end of the compressed body."""
        self._has_ended = True
        self._inflater.end()
        if self._is_over:
            super().finish_body()
        elif not self._is_queued:
            self._go_on()

    def step(self) -> bool:
        """Does one of the queued steps; returns True if there are more."""
        more = self._inflate()
        if not more:
            self._is_queued = False
            if not self.body_is_held:
                self._protocol.release_reading()
            if self._has_ended:
                super().finish_body()
        return more

    def release_body(self) -> None:
        """Resumes reading the body, once all bytes that have come are inflated."""
        if self._is_queued:
            self.body_is_held = False
            self.ask_for_body()
        else:
            super().release_body()

    def _go_on(self) -> None:
        """Does the next step now, and queues the others."""
        if self._inflate():
            self._is_queued = True
            self._protocol.hold_reading()
            self._protocol.watch.inflations.add(self)
        elif self._has_ended:
            super().finish_body()

    def _inflate(self) -> bool:
        """Inflates as much as one step may; returns True if there is more to do."""
        if self._is_over:
            return False
        try:
            data, more = self._inflater.step()
        except ValueError as error:
            self.refuse(InvalidRequest(f"The body cannot be read: {error}."))
            return False
        if data:
            super().add_body(data)
        return more and not self._is_over

    @property
    def _is_over(self) -> bool:
        """True if the rest of the body is not needed."""
        return self._is_answered or self._refusal is not None


def exchange_for_coded(
    protocol: Connection,
    endpoint: DirectEndpoint,
    headers: list[tuple[bytes, bytes]],
    fields: Fields,
    keep_alive: bool,
) -> Exchange:
    """Returns the exchange of a request with `Content-Encoding`; an unsupported coding makes a refused exchange."""
    try:
        coding = body_coding(fields[b"content-encoding"])
    except UnsupportedBody as error:
        exchange = Exchange(protocol, endpoint, headers, fields, keep_alive)
        exchange.refuse(error)  # the endpoint gets the error once the exchange is opened
        return exchange
    if coding is None:
        return Exchange(protocol, endpoint, headers, fields, keep_alive)
    return InflatedExchange(protocol, endpoint, headers, fields, keep_alive, coding)
