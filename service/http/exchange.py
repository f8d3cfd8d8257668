"""A request on a direct path and its answer, without ASGI."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from service.buffer_memory import buffer_memory
from service.errors import BodiesCongested, ClientGone, TooLarge
from service.http.compression import WORTH_BYTES, accepted_coding, compress
from service.http.connection_watch import ConnectionWatch
from service.http.problems import CLIENT_CLOSED_REQUEST
from service.http.request_head import Fields

# Bodies up to this size are read even if large bodies fill the limit: the limit is not against their senders.
_SMALL_BODY_BYTES = 16 * 1024
_MOST_DROPPED_BYTES = 1 << 20  # of a refused body; more are not read, and the connection closes

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})

Headers = Iterable[tuple[bytes, bytes]]
Content = bytes | bytearray | tuple[bytes, ...]  # an answer's body, a large one in parts


class DirectEndpoint(Protocol):
    """An endpoint that answers the requests of one path without ASGI. No method may raise or block."""

    def begin(self, exchange: Exchange) -> None:
        """Takes a request whose head has come; may refuse the request before its body is read."""

    def handle(self, exchange: Exchange) -> None:
        """Takes the body; has to call `exchange.respond`, now or later."""

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Sends an error as the answer: the body is too large, too slow or unreadable, or the client hung up."""


class Connection(Protocol):
    """The connection of an exchange.

    Attributes:
        watch: watch over the connections of the process.
        client: address and port of the client; None over a Unix socket.
    """

    watch: ConnectionWatch
    client: tuple[str, int] | None

    @property
    def scheme(self) -> str | None:
        """Scheme of the connection: `http` or `https`."""

    def send(self, exchange: Exchange, status: int, content_type: bytes, body: Content, headers: Headers) -> None:
        """Writes the answer of an exchange."""

    def hold_reading(self) -> None:
        """Stops reading from the client until `release_reading`."""

    def release_reading(self) -> None:
        """Resumes reading."""

    def ask_for_body(self) -> None:
        """Tells the client to send the body."""


class _NoEvent:
    """An event without waiters: uvicorn's protocol sets the event of its request cycle."""

    def set(self) -> None:
        """Does nothing."""


_NO_EVENT = _NoEvent()


class Exchange:
    """One request on a direct path and its answer. In uvicorn's protocol, it takes the place of a request cycle.

    Attributes:
        headers: headers in their order, with names in lower case.
        fields: values of headers by name; the values of a repeated header are joined by a line feed.
        query: query of the request target, without the question mark.
        parameters: values of the parameters in the route's path, percent-decoded.
        body: body of the request, complete once `handle` is called.
        started: time of the arrival of the head, on `time.perf_counter`'s clock, in seconds.
        keep_alive: False if the connection closes after the answer.
        opened: True once it is the turn of this request on its connection.
        complete: True once the whole request has come.
        disconnected: True if the client has hung up.
        expects_continue: True if the client waits for `100 Continue` before it sends the body.
        body_is_held: True if the rest of the body is not read for now.
        response_complete: True once the answer was written or dropped.
        pause_seconds: time after the answer during which no request of the connection is read, in seconds.
        request_id: identifier of the request, set by the endpoint.
        context: data of the endpoint.
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
        "pause_seconds",
        "query",
        "request_id",
        "response_complete",
        "started",
    )

    message_event = _NO_EVENT

    def __init__(
        self,
        protocol: Connection,
        endpoint: DirectEndpoint,
        headers: list[tuple[bytes, bytes]],
        fields: Fields,
        keep_alive: bool,
    ) -> None:
        self._protocol = protocol
        self._endpoint = endpoint
        self._chunks: bytearray | None = None  # a list would take fifty bytes for a chunk of one byte
        self._refusal: Exception | None = None
        self._size = 0
        self._is_answered = False  # `response_complete` follows once the answer is compressed
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
        self.pause_seconds = 0.0
        self.request_id = b""
        self.context: Any = None

    @property
    def peer(self) -> str | None:
        """Address of the connecting client or proxy; None over a Unix socket."""
        client = self._protocol.client
        return client[0] if client is not None else None

    @property
    def scheme(self) -> str:
        """Scheme of the connection: `http` or `https`."""
        return self._protocol.scheme or "http"

    @property
    def max_body_bytes(self) -> int:
        """Largest number of bytes of a body, as sent and after decompression."""
        return self._protocol.watch.limits.max_body_bytes

    def hold_body(self) -> None:
        """Stops reading the body until `release_body`."""
        self.body_is_held = True
        self._protocol.hold_reading()

    def release_body(self) -> None:
        """Resumes reading the body."""
        self.body_is_held = False
        if not self.disconnected:
            self.ask_for_body()
            self._protocol.release_reading()

    def ask_for_body(self) -> None:
        """Sends `100 Continue` to a waiting client, unless the body is held back or not needed."""
        if self.expects_continue and not (self.body_is_held or self.complete or self._is_answered or self._refusal):
            self.expects_continue = False
            self._protocol.ask_for_body()

    def open(self) -> None:
        """Hands the request to the endpoint, since all earlier requests were answered."""
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
        if self._size > watch.limits.max_body_bytes:  # the body came in chunks, without a length
            self.refuse(TooLarge(f"a body of more than {watch.limits.max_body_bytes:,} bytes."))
        elif watch.buffered_bytes > watch.limits.max_buffered_bytes and self._size > _SMALL_BODY_BYTES:
            self.refuse(BodiesCongested())
        elif self._size == len(data):
            self.body = data
        else:
            buffer_memory.report("http", watch.buffered_bytes)
            if self._chunks is None:
                self._chunks, self.body = bytearray(self.body), b""  # frees the first copy
            self._chunks += data

    def finish_body(self) -> None:
        """Hands the complete body to the endpoint."""
        self.complete = True
        if self._chunks is not None:
            self.body, self._chunks = self._chunks, None  # not copied: copying a large body takes milliseconds
        if self.opened and not self._is_answered:
            self._endpoint.handle(self)

    def refuse(self, error: Exception) -> None:
        """Ends the request with an error while its body is being read; the rest of the body is dropped."""
        self.keep_alive = False
        self._refusal = error
        if self.opened and not self._is_answered:
            self._endpoint.refuse(self, error)

    def refuse_held(self, error: Exception, pause_seconds: float) -> None:
        """Ends the request with an error while its body is held.

        The connection stays open, since a client that connects again would send again at once. After the pause, the
        rest of the body is read and dropped. The connection closes if the body is too large for that or may never come,
        or if connections are many: a paused connection shows late that its client has hung up.

        Args:
            error: error that is answered.
            pause_seconds: time for which the body is still held, in seconds.
        """
        size = int(self.fields.get(b"content-length", 0))
        if self.expects_continue or size > _MOST_DROPPED_BYTES or self._protocol.watch.crowded:
            self.refuse(error)
        elif not self._is_answered:
            self.pause_seconds = pause_seconds
            self._endpoint.refuse(self, error)

    def respond(self, status: int, content_type: bytes, body: Content, headers: Headers = ()) -> None:
        """Sends the answer, in one write unless the body is in parts. After a disconnect the answer is dropped."""
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
        """Ends the request, since the connection is gone."""
        self.disconnected = True
        if not self.opened:
            self.respond(CLIENT_CLOSED_REQUEST, b"", b"")
        elif not self.complete:  # the endpoint has not begun to handle it
            self._endpoint.refuse(self, ClientGone("the client hung up before its request had come."))

    def _send(self, status: int, content_type: bytes, headers: Headers, body: Content) -> None:
        """Writes the answer unless the client has hung up."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.send(self, status, content_type, body, headers)

    def _respond_compressed(
        self, status: int, content_type: bytes, body: Content, headers: Headers, coding: bytes
    ) -> None:
        """Compresses and sends the answer, now or when its turn has come."""
        headers = list(headers)
        send = partial(self._send, status, content_type, [*headers, (b"content-encoding", coding)])
        if not isinstance(body, tuple) and self._protocol.watch.compressions.take(len(body)):
            send(compress(body, coding))
            return

        def finish(compressed: bytes | None) -> None:
            if compressed is not None:
                send(compressed)
            else:
                self._send(status, content_type, headers, body)

        self._protocol.watch.compression_queue.add(body, coding, finish)
