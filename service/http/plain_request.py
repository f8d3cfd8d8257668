"""The place of a plain request on its connection. One object serves all plain requests of a connection in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from service.answer_form import AnswerForm
from service.batching.version_choice import STICKY_HEADER
from service.http.connection_watch import Phase
from service.http.exchange import Connection, Exchange
from service.http.known_heads import NO_VALUES, FoundHead, PlainHead
from service.http.predict_endpoint import HttpPrediction
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.trace_context import TRACEPARENT_HEADER, TRACESTATE_HEADER

_KEPT_HEADERS = frozenset((STICKY_HEADER, TRACEPARENT_HEADER, TRACESTATE_HEADER))  # read again outside the lane


class Transport(Protocol):
    """The transport of a connection."""

    def write(self, data: bytes) -> None:
        """Sends bytes."""

    def is_closing(self) -> bool:
        """Returns True if no more bytes can be sent."""


class ServerState(Protocol):
    """The state that all connections of a process share.

    Attributes:
        default_headers: headers of each answer, among them the date.
        total_requests: number of answered requests.
    """

    default_headers: list[tuple[bytes, bytes]]
    total_requests: int


class PlainConnection(Connection, Protocol):
    """The connection of a plain request.

    Attributes:
        transport: transport of the connection.
        server_state: state of the process.
        phase: current phase of the connection.
        since: start of the phase on the watch's clock, in seconds.
    """

    transport: Transport
    server_state: ServerState
    phase: Phase
    since: float

    def adopt(self, exchange: Exchange) -> None:
        """Takes a request, which the connection has read as a plain one, as a usual request that is being handled."""


class PlainRequest:
    """A plain request, from its arrival to its answer.

    Attributes:
        connection: connection of the request.
        is_pending: True from the arrival to the answer.
        part: head and first bytes of the body, if the rest of the body has not come; else empty.
        prediction: the same request as a usual one; None as long as it is plain.
        head: facts of the head.
        body: body of the request, until it is read.
        form: form of the answer, once the request was read.
        values: values of the head that differ in each request, by name, until the answer.
        started: time of the arrival, on `time.perf_counter`'s clock, in seconds.
    """

    __slots__ = ("body", "connection", "form", "head", "is_pending", "part", "prediction", "started", "values")

    head: PlainHead
    body: bytes
    form: AnswerForm | None
    values: Mapping[bytes, bytes]
    started: float

    def __init__(self, connection: PlainConnection) -> None:
        self.connection = connection
        self.is_pending = False
        self.part = b""
        self.prediction: HttpPrediction | None = None

    def wait(self, part: bytes) -> None:
        """Keeps the first part of a request until the rest of its body comes."""
        self.part = part
        self.connection.phase, self.connection.since = Phase.BODY, self.connection.watch.now

    def take(self, found: FoundHead, body: bytes, started: float) -> None:
        """Takes the next request of the connection."""
        self.is_pending = True
        self.prediction = None
        self.head = found.head
        self.body = body
        self.form = None
        self.values = found.values
        self.started = started
        self.connection.phase = Phase.HANDLING

    def as_usual(self) -> HttpPrediction:
        """Returns the pending request as a usual one, which its connection holds from now on."""
        if self.prediction is not None:
            return self.prediction
        head, fields, values = self.head, self.head.fields, self.values
        if not _KEPT_HEADERS.isdisjoint(values):
            fields = {**fields, **{name: values[name] for name in _KEPT_HEADERS & values.keys()}}
        exchange = Exchange(self.connection, head.endpoint, head.headers, fields, keep_alive=True)
        exchange.query, exchange.parameters = head.query, head.parameters
        exchange.started = self.started
        exchange.opened = exchange.complete = True
        exchange.request_id = accepted_request_id(values.get(REQUEST_ID_HEADER))
        prediction = self.prediction = exchange.context = HttpPrediction(head.endpoint, exchange)
        prediction.format, prediction.named, prediction.seconds = head.format, head.named, head.seconds
        if self.form is not None:
            prediction.set_form(self.form)
        self.connection.adopt(exchange)
        return prediction

    def leave(self) -> HttpPrediction:
        """Returns the pending request as a usual one, which the lane does not answer any more."""
        prediction = self.as_usual()
        self.is_pending = False
        self.values = NO_VALUES
        return prediction
