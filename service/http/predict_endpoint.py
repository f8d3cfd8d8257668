"""The endpoint of predictions: takes exchanges and writes answers, in any wire format. This is the hot path.

A small request is handled with bytes and plain Python types, in direct calls. A large body is read in steps
(`LargeReading`), between which other requests have their turn.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import Rows
from service.admission import Admission, Prediction, failures
from service.answer_form import AnswerForm
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.batching.version_choice import STICKY_HEADER
from service.client_address import ClientAddresses
from service.errors import InvalidRequest, ReadingCongested, TooLarge
from service.first_row_header import FIRST_ROW_HEADER, first_row_in
from service.http.body_gate import LARGE_BYTES, BodyGate, Entry
from service.http.cors import Cors
from service.http.exchange import Content, Exchange, Headers
from service.http.problems import CLIENT_CLOSED_REQUEST, Problem
from service.http.routes.predict import PredictRoute
from service.http.span_facts import http_span_facts
from service.http.timeout_header import TIMEOUT_HEADER, seconds_in
from service.http.wire.json_format import written_problem
from service.http.wire.wire_format import (
    STEP_NUMBERS,
    AnswerWriter,
    Body,
    Payload,
    Undetermined,
    WireFormat,
    WrittenAnswer,
)
from service.large_reading import LargeReading
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.span_facts import SpanFacts
from service.trace_context import TRACEPARENT_HEADER, TRACESTATE_HEADER
from service.unknown_headers import unknown_headers

_PAUSE_SECONDS = 1.0
_LARGE_BODY_DIGITS = len(str(LARGE_BYTES))
MOST_AT_ONCE = 256  # rows of a batch that are written in one step: a small answer takes 15 µs to write and send


class PredictEndpoint:
    """The endpoint of one route.

    Args:
        route: path and wire formats.
        admission: admission of the API process.
        catalog: model versions that are served; the endpoint keeps an answer writer for each.
        gate: gate of large bodies.
        max_body_bytes: largest number of bytes of a body.
        cors: web origins that may read answers; None allows none.
        clients: reader of client addresses behind proxies.
    """

    def __init__(
        self,
        route: PredictRoute,
        admission: Admission,
        catalog: Catalog,
        gate: BodyGate,
        *,
        max_body_bytes: int,
        cors: Cors | None,
        clients: ClientAddresses,
    ) -> None:
        self.cors = cors
        self.clients = clients
        self.gate = gate
        self._route = route
        self.path = route.path
        self.default = route.default
        self.admission = admission
        self._catalog = catalog
        self._max_body_bytes = max_body_bytes
        self._writers: defaultdict[WireFormat, dict[str, AnswerWriter]] = defaultdict(dict)
        self._closing = False

    def close_connections(self) -> None:
        """Makes each connection close after the next answer, because the server is about to stop."""
        self._closing = True

    def begin(self, exchange: Exchange) -> None:
        """Accepts or refuses a request by its head."""
        field = exchange.fields.get
        exchange.request_id = accepted_request_id(field(REQUEST_ID_HEADER))
        if self._closing:
            exchange.keep_alive = False
        prediction = exchange.context = HttpPrediction(self, exchange)
        try:
            if self.admission.needs_key:
                self.admission.check_key(field(b"authorization"), field(b"x-api-key"))
            timeout = field(TIMEOUT_HEADER)
            if timeout is not None:
                prediction.set_deadline(seconds_in(timeout))
            first_row = field(FIRST_ROW_HEADER)
            if first_row is not None:
                prediction.first_row = first_row_in(first_row, self.admission.max_rows)
            prediction.format = self._route.choose(exchange.fields)
            if exchange.query or exchange.parameters:
                prediction.named = prediction.format.model_in_head(exchange)
        except Exception as error:
            prediction.fail(error)
            return
        length = field(b"content-length", b"")
        if len(length) >= _LARGE_BODY_DIGITS:
            self._begin_large(prediction, int(length))

    def _begin_large(self, prediction: HttpPrediction, size: int) -> None:
        """Refuses a large body, holds the body back for now, or lets the body come."""
        exchange = prediction.exchange
        if size > self._max_body_bytes:
            exchange.refuse(TooLarge(f"a body of {size:,} bytes; the limit is {self._max_body_bytes:,}."))
        elif size >= LARGE_BYTES:
            prediction.entry = self.gate.enter(
                exchange, size, prediction.seconds_left(), lambda: self._refuse_held(exchange, size)
            )

    def _refuse_held(self, exchange: Exchange, size: int) -> None:
        """Refuses a request whose body was held for too long."""
        seconds = self.gate.return_seconds(size)
        exchange.refuse_held(ReadingCongested(_whole(seconds)), seconds)

    def handle(self, exchange: Exchange) -> None:
        """Reads the body of a request, and submits the rows to the batcher."""
        prediction: HttpPrediction = exchange.context
        if prediction.entry is not None:
            self.gate.has_come(prediction.entry)
        body, wire = exchange.body, prediction.format
        try:
            if len(body) >= wire.in_steps_from:
                self._handle_large(prediction, body)
                return
            reference, rows, may_hold_booleans, form = wire.read(body, prediction.named, exchange)
            if form is not None:
                prediction.set_form(form)
        except Exception as error:
            prediction.fail(error)
            return
        self.submit(prediction, reference, rows, may_hold_booleans=may_hold_booleans)

    def submit(
        self,
        prediction: HttpPrediction,
        reference: str | None,
        rows: Rows,
        *,
        may_hold_booleans: bool,
        served: ServedVersion | None = None,
    ) -> None:
        """Submits the rows of a small request to the batcher. A model that is not in memory is loaded first.

        Args:
            prediction: request for predictions.
            reference: reference of the model; None for the default model.
            rows: rows of the request, before encoding.
            may_hold_booleans: False if no cell is a boolean.
            served: model version that was chosen before; None to choose one now. A split chooses once for a request.
        """
        admission = self.admission
        prediction.reference = reference
        try:
            if served is None:
                served = self._find(prediction, reference)
            if served is not None:
                admission.submit_cells(
                    prediction, served, rows, prediction.seconds, may_hold_booleans=may_hold_booleans
                )
                return

            def submit(served: ServedVersion) -> None:
                left = prediction.seconds_left()
                admission.submit_cells(prediction, served, rows, left, may_hold_booleans=may_hold_booleans)

            admission.load_first(prediction, reference, submit)
        except Exception as error:
            prediction.fail(error)

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Sends an error of the connection as the answer."""
        exchange.context.fail(error)

    def writer(self, wire: WireFormat, served: ServedVersion) -> AnswerWriter:
        """Returns the answer writer of a model version for a format."""
        wire = wire.answers or wire
        return self._writers[wire].get(served.key) or self._add_writer(wire, served)

    def _add_writer(self, wire: WireFormat, served: ServedVersion) -> AnswerWriter:
        """Makes the answer writer of a model version, and drops those of versions that are no longer served."""
        ready = {version.key for version in self._catalog.ready_versions()}
        for writers in self._writers.values():
            for key in writers.keys() - ready:
                del writers[key]
        writer = self._writers[wire][served.key] = wire.writer(served)
        return writer

    def _handle_large(self, prediction: HttpPrediction, body: Body) -> None:
        """Starts to read a large body in steps, after loading its model if necessary."""
        wire = prediction.format
        reference = wire.find_model(body, prediction.named)
        if isinstance(reference, Undetermined):  # the body is read once for the model, and then again for the rows
            self._start_reading(prediction, body, None, None)
            return
        served = self._find(prediction, reference)
        if served is None and (reference is not None or wire.needs_model):
            self._load_and_read(prediction, body, reference)
        else:
            self._start_reading(prediction, body, reference, served)

    def _find(self, prediction: HttpPrediction, reference: str | None) -> ServedVersion | None:
        """Returns the model version for a request, None if unknown or not in memory."""
        return self.admission.find_loaded(reference) or self.admission.find_split(reference, prediction.sticky)

    def _load_and_read(self, prediction: HttpPrediction, body: Body, reference: str | None) -> None:
        """Loads the model of a large body, and then starts to read the body in steps."""
        self.admission.load_first(
            prediction, reference, lambda served: self._start_reading(prediction, body, reference, served)
        )

    def _start_reading(
        self, prediction: HttpPrediction, body: Body, reference: str | None, served: ServedVersion | None
    ) -> None:
        """Queues the steps that read a large body."""
        steps = self._read(prediction, body, reference, served)
        try:
            self.admission.read_in_steps(prediction, served, steps, len(body))
        except ReadingCongested as congested:
            # A client that tries again before `Retry-After` would take time that the requests of others need. The pause
            # is the shortest `Retry-After`: a proxy may give this connection to another client.
            prediction.exchange.pause_seconds = _PAUSE_SECONDS
            seconds = self.gate.return_seconds(len(body))
            raise ReadingCongested(max(_whole(seconds), congested.retry_after)) from congested

    def _read(
        self, prediction: HttpPrediction, body: Body, reference: str | None, served: ServedVersion | None
    ) -> Iterator[int | None]:
        """Reads a large body and submits its rows; yields the number of bytes read, or None within a slice.

        Args:
            prediction: request for predictions.
            body: body of the request, inflated.
            reference: reference of the model, as far as known; the complete body decides.
            served: version of that reference; None if the version is not known or not in memory.
        """
        admission = self.admission
        try:
            encoder = None if served is None else served.encoder
            request = prediction.format.reader(body, reference, encoder, prediction.exchange)
            reading = LargeReading(
                request, encoder, most_rows=admission.max_rows, keeps_texts=admission.logs_predictions
            )
            for done in reading.steps():
                if prediction.is_over():
                    return
                yield done
            rows = reading.rows
            if reading.model != reference or served is None or rows is None:
                self._read_again(prediction, body, reading.model)
                return
            if request.form is not None:
                prediction.set_form(request.form)
            prediction.exchange.body = b""  # from here on, only the encoded rows are needed
            prediction.end_body()
            prediction.reference = reading.model
            admission.submit_encoded(prediction, served, rows, reading.unknown.counts, reading.unknown_texts)
        except Exception as error:
            prediction.fail(error)

    def _read_again(self, prediction: HttpPrediction, body: Body, reference: str | None) -> None:
        """Reads a body again after its model has become known."""
        served = self._find(prediction, reference)
        if served is not None:
            self._start_reading(prediction, body, reference, served)
        else:
            self._load_and_read(prediction, body, reference)


class HttpPrediction(Prediction):
    """A request for predictions over HTTP.

    Attributes:
        endpoint: endpoint of the route.
        exchange: exchange that takes the answer.
        format: wire format of the request and its answer.
        form: form of the answer, once the request was read.
        named: reference of the model in the head, or None.
        entry: entry of a large body at the gate; None for a small body, and after the body was read.
    """

    __slots__ = ("endpoint", "entry", "exchange", "form", "format", "named")

    def __init__(self, endpoint: PredictEndpoint, exchange: Exchange) -> None:
        Prediction.__init__(self, endpoint.admission, exchange.started)
        self.endpoint = endpoint
        self.exchange = exchange
        self.format = endpoint.default
        self.form: AnswerForm | None = None
        self.named: str | None = None
        self.entry: Entry | None = None

    @property
    def disconnected(self) -> bool:
        """True if the client has hung up."""
        return self.exchange.disconnected

    @property
    def request_id(self) -> str:
        """Identifier of the request in answers and in the log."""
        return self.exchange.request_id.decode("latin-1")

    @property
    def sticky(self) -> bytes | None:
        """Value of the sticky header, by which a split chooses the version; None without one."""
        return self.exchange.fields.get(STICKY_HEADER)

    @property
    def client(self) -> str | None:
        """Address of the client, as reported by trusted proxies."""
        return self.endpoint.clients.of(self.exchange.peer, self.exchange.headers)

    @property
    def traceparent(self) -> bytes | None:
        """Value of the client's header `traceparent`, or None."""
        return self.exchange.fields.get(TRACEPARENT_HEADER)

    @property
    def tracestate(self) -> bytes | None:
        """Value of the client's header `tracestate`, or None."""
        return self.exchange.fields.get(TRACESTATE_HEADER)

    def span_facts(self, status: int) -> SpanFacts:
        """Returns the name and the attributes of the request's span."""
        return http_span_facts(self.endpoint.path, self.exchange, status)

    def set_form(self, form: AnswerForm) -> None:
        """Sets the form of the answer; a form with a timeout changes the deadline of the request.

        Raises:
            InvalidRequest: the form has intervals, and answers in this format have no place for them.
        """
        if form.level is not None and not (self.format.answers or self.format).gives_intervals:
            raise InvalidRequest("The answers of this protocol have no place for intervals: ask POST /predict.")
        self.form = form
        self.members = form.members
        self.level = form.level
        if form.seconds is not None:
            self.set_deadline(form.seconds)

    def check_form(self, served: ServedVersion) -> None:
        """Checks that a model version has what the answer is to hold."""
        self.format.check_form(served, self.form)

    def end_body(self) -> None:
        """Tells the gate that the body is no longer needed."""
        if self.entry is not None:
            entry, self.entry = self.entry, None
            self.endpoint.gate.leave(entry)

    def answered(self, answer: Answer, start: int) -> None:
        """Writes the answer, at once or in steps, and sends the answer."""
        served = self.served
        assert served is not None  # noqa: S101 -- rows were submitted for it
        try:
            writer = self.endpoint.writer(self.format, served)
            if answer.numbers > STEP_NUMBERS or answer.rows > MOST_AT_ONCE:
                if self.rows * answer.width > STEP_NUMBERS:
                    matrices = answer.cut(start, self.rows)
                    self.admission.write_in_steps(self._write(writer, matrices), sum(m.size for m in matrices))
                    return
                if self.rows < answer.rows:
                    self._write_with_batch(writer, answer, start)
                    return
            payload = writer.write(answer, start, self.rows, self.form)
        except Exception as error:
            self.failed(error)
            return
        self.send(payload)

    def _write(self, writer: AnswerWriter, matrices: Sequence[NDArray[np.float32]]) -> Iterator[int]:
        """Writes a large answer in steps, and then sends the answer."""
        try:
            payload = yield from writer.write_in_steps(matrices, self.form)
        except Exception as error:
            self.failed(error)
        else:
            self.send(payload)

    def _write_with_batch(self, writer: AnswerWriter, answer: Answer, start: int) -> None:
        """Adds the answer to those of the same batch that are written and sent in steps."""
        requests = answer.memos.get(writer)
        if requests is None:
            requests = answer.memos[writer] = []  # the other requests of the batch are added before the first step runs
            self.admission.write_in_steps(writer.write_batch_in_steps(answer.matrix, requests), answer.numbers)
        requests.append((self, start))

    def send(self, payload: Payload) -> None:
        """Sends a written answer."""
        content_type = self.format.content_type
        headers: Headers = ()
        if isinstance(payload, WrittenAnswer):
            content_type, headers, payload = payload.head.content_type, payload.head.headers, payload.body
        served = self.served
        if self.unknown and served is not None:
            served.metrics.observe_unknown(sum(self.unknown.values()))
            headers = [*headers, *unknown_headers(self.unknown)]
        self._respond(HTTPStatus.OK, content_type, payload, headers, self.rows)

    def failed(self, error: Exception) -> None:
        """Sends an error as the answer, and logs errors of the server."""
        try:
            written = self.format.write_error(error, self.request_id)
        except Exception as fault:  # the request gets an answer all the same
            written = written_problem(fault, self.request_id)
            error = fault
        if not isinstance(error, Problem):
            self.admission.log_failure(self, error, written.status, written.code, written.detail)
        self._respond(written.status, written.content_type, written.body, written.headers, 0)

    def _respond(self, status: int, content_type: bytes, body: Content, headers: Headers, rows: int) -> None:
        """Sends the answer, counts the request, and writes the access log."""
        exchange = self.exchange
        seconds = time.perf_counter() - self.started
        if exchange.disconnected:
            status = CLIENT_CLOSED_REQUEST
        if self.entry is not None:
            self.end_body()
        try:
            self.admission.count(self, int(status), seconds, rows)
            if self.trace is not None:
                headers = [*headers, *self.trace.headers()]
            if self.endpoint.cors is not None:
                headers = [*headers, *self.endpoint.cors.headers(exchange.headers)]
            exchange.context = None  # breaks the reference cycle, so that the garbage collector has nothing to do
            exchange.respond(status, content_type, body, headers)
            if self.admission.logs_requests:
                trace = self.trace_fields()
                self.admission.log_end(self.request_id, self.client, self.served, int(status), seconds, rows, trace)
        except Exception:  # caught, because the caller has to answer other requests too
            failures.error("answer not sent", request_id=self.request_id, exc_info=True)


def _whole(seconds: float) -> int:
    """Returns seconds as a whole number for `Retry-After`, rounded upwards."""
    return math.ceil(seconds - 1e-6)
