"""A request on a direct path and its answer, without ASGI between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from service.errors import BodiesCongested, ClientGone, TooLarge
from service.http.compression import WORTH_BYTES, accepted_coding, compress
from service.http.connection_watch import ConnectionWatch
from service.http.problems import CLIENT_CLOSED_REQUEST
from service.http.request_head import Fields

# Bodies up to here are read even where large ones fill the room for all: their senders are not whom it is against.
_SMALL_BODY_BYTES = 16 * 1024

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})

Headers = Iterable[tuple[bytes, bytes]]
Content = bytes | bytearray | tuple[bytes, ...]  # an answer's body, a large one in parts


class DirectEndpoint(Protocol):
    """What answers the requests of one path without ASGI. No method may raise or block."""

    def begin(self, exchange: Exchange) -> None:
        """The head has come: the place to refuse a request before its body is read."""

    def handle(self, exchange: Exchange) -> None:
        """The body has come: `exchange.respond` has to be called, now or later."""

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Answers with an error: the body is too large, too slow or unreadable, or the client hung up."""


class Answering(Protocol):
    """The connection of an exchange."""

    watch: ConnectionWatch
    client: tuple[str, int] | None

    def send(self, exchange: Exchange, status: int, content_type: bytes, body: Content, headers: Headers) -> None:
        """Writes its answer."""

    def hold_reading(self) -> None:
        """Reads no more from the client until `release_reading`: what has come is to be worked on first."""

    def release_reading(self) -> None:
        """Reads on."""

    def ask_for_body(self) -> None:
        """Tells the client to send the body."""


class _NoEvent:
    """uvicorn's protocol sets its cycle's event; an exchange has nobody who waits for one."""

    def set(self) -> None:
        """Nothing."""


_NO_EVENT = _NoEvent()


class Exchange:
    """One request on a direct path and its answer. It stands in uvicorn's protocol where a request cycle stands.

    Attributes:
        headers: names in lower case, and values.
        query: query of the request target, without the question mark.
        parameters: values of the parameters in the route's path, percent-decoded.
        fields: values by name; those of a repeated header are joined by a line feed.
        body: what has come of it; all of it once `handle` is called.
        started: when its head had come, on `time.perf_counter`'s clock.
        disconnected: the client has hung up.
        rest_seconds: time after the answer during which no request of the connection is read.
        body_is_held: the rest of the body is left with the client.
        expects_continue: the client waits until it is asked for its body.
        request_id, context: the endpoint's own.
    """

    __slots__ = (
        "_chunks",
        "_endpoint",
        "_is_answered",
        "_protocol",
        "_refusal",
        "_size",
        "body",
        "body_is_held",
        "complete",
        "context",
        "disconnected",
        "expects_continue",
        "fields",
        "headers",
        "keep_alive",
        "opened",
        "parameters",
        "query",
        "request_id",
        "response_complete",
        "rest_seconds",
        "started",
    )

    message_event = _NO_EVENT

    def __init__(
        self,
        protocol: Answering,
        endpoint: DirectEndpoint,
        headers: list[tuple[bytes, bytes]],
        fields: Fields,
        keep_alive: bool,
    ) -> None:
        self._protocol = protocol
        self._endpoint = endpoint
        self._chunks: bytearray | None = None  # not a list: a chunk of one byte would take fifty there
        self._refusal: Exception | None = None
        self._size = 0
        self._is_answered = False  # `response_complete` follows when the answer has been compressed
        self.headers = headers
        self.fields = fields
        self.query = b""
        self.parameters = NO_PARAMETERS
        self.body: bytes | bytearray = b""
        self.started = time.perf_counter()
        self.keep_alive = keep_alive
        self.opened = False
        self.complete = False
        self.disconnected = False
        self.expects_continue = False
        self.body_is_held = False
        self.response_complete = False
        self.rest_seconds = 0.0
        self.request_id = b""
        self.context: Any = None

    @property
    def peer(self) -> str | None:
        """Address of whoever connected; None over a Unix socket."""
        client = self._protocol.client
        return client[0] if client is not None else None

    def hold_body(self) -> None:
        """Leaves the rest of the body with the client until `release_body`."""
        self.body_is_held = True
        self._protocol.hold_reading()

    def release_body(self) -> None:
        """Reads the body on."""
        self.body_is_held = False
        if not self.disconnected:
            self.ask_for_body()
            self._protocol.release_reading()

    def ask_for_body(self) -> None:
        """Asks a client that waits for this to send the body, unless the body is held back or not wanted."""
        if self.expects_continue and not (self.body_is_held or self.complete or self._is_answered or self._refusal):
            self.expects_continue = False
            self._protocol.ask_for_body()

    def open(self) -> None:
        """Its turn on the connection has come."""
        self.opened = True
        self._endpoint.begin(self)
        if self._is_answered:
            return
        if self._refusal is not None:
            self._endpoint.refuse(self, self._refusal)
        elif self.complete:
            self._endpoint.handle(self)

    def add_body(self, data: bytes) -> None:
        """Takes a part of the body."""
        if self._is_answered or self._refusal is not None:
            return
        watch = self._protocol.watch
        self._size += len(data)
        watch.buffered_bytes += len(data)
        if self._size > watch.limits.max_body_bytes:  # it came in chunks, without a length
            self.refuse(TooLarge(f"a body of more than {watch.limits.max_body_bytes:,} bytes."))
        elif watch.buffered_bytes > watch.limits.max_buffered_bytes and self._size > _SMALL_BODY_BYTES:
            self.refuse(BodiesCongested())
        elif self._size == len(data):
            self.body = data
        elif self._chunks is None:
            self._chunks, self.body = bytearray(self.body), b""  # held once
            self._chunks += data
        else:
            self._chunks += data

    def finish_body(self) -> None:
        """The message is complete."""
        self.complete = True
        if self._chunks is not None:
            self.body, self._chunks = self._chunks, None  # as it is: a copy of a large body takes milliseconds
        if self.opened and not self._is_answered:
            self._endpoint.handle(self)

    def refuse(self, error: Exception) -> None:
        """Ends the request while its body is being read; the rest of the body is not worth reading."""
        self.keep_alive = False
        self._refusal = error
        if self.opened and not self._is_answered:
            self._endpoint.refuse(self, error)

    def respond(self, status: int, content_type: bytes, body: Content, headers: Headers = ()) -> None:
        """Sends the answer, in one write where it is not in parts. After a disconnect it is dropped."""
        if self._is_answered:
            return
        self._is_answered = True
        self._protocol.watch.buffered_bytes -= self._size
        self._size = 0
        self.body, self._chunks = b"", None
        if (len(body) >= WORTH_BYTES or isinstance(body, tuple)) and not self.disconnected:
            coding = accepted_coding(self.fields.get(b"accept-encoding", b""))
            if coding is not None:
                self._respond_compressed(status, content_type, body, headers, coding)
                return
        self.response_complete = True
        if not self.disconnected:
            self._protocol.send(self, status, content_type, body, headers)

    def drop(self) -> None:
        """The connection is gone."""
        self.disconnected = True
        if not self.opened:
            self.respond(CLIENT_CLOSED_REQUEST, b"", b"")
        elif not self.complete:  # nobody will answer it
            self._endpoint.refuse(self, ClientGone("the client hung up before its request had come."))

    def _send(self, status: int, content_type: bytes, headers: Headers, body: Content) -> None:
        self.response_complete = True
        if not self.disconnected:
            self._protocol.send(self, status, content_type, body, headers)

    def _respond_compressed(
        self, status: int, content_type: bytes, body: Content, headers: Headers, coding: bytes
    ) -> None:
        headers = list(headers)
        send = partial(self._send, status, content_type, [*headers, (b"content-encoding", coding)])
        if not isinstance(body, tuple) and self._protocol.watch.compressions.take(len(body)):
            send(compress(body, coding))
            return

        def finish(done: asyncio.Future[bytes]) -> None:
            if done.exception() is None:
                send(done.result())
            else:  # no memory, for one: the answer itself is there
                self._send(status, content_type, headers, body)

        asyncio.get_running_loop().run_in_executor(None, compress, body, coding).add_done_callback(finish)
