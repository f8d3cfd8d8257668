"""The method `ModelInfer`: calls become predictions, and their answers become messages. This is the hot path."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import Rows
from service.admission import Admission, Prediction, failures
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.batching.version_choice import STICKY_HEADER
from service.client_address import ClientAddresses
from service.errors import ClientGone
from service.first_row_header import FIRST_ROW_HEADER, first_row_in
from service.grpc.compression import inflate_in_steps
from service.grpc.frames import OK_TRAILERS, field
from service.grpc.infer_answers import STEP_NUMBERS, InferWriter
from service.grpc.infer_requests import InferReader, peek_reference
from service.grpc.span_facts import grpc_span_facts
from service.grpc.statuses import Code, status_of
from service.grpc.stream import Stream
from service.large_reading import LargeReading
from service.open_inference.form import InferForm, check_outputs
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.span_facts import SpanFacts
from service.stream.frames import Buffer
from service.trace_context import TRACEPARENT_HEADER, TRACESTATE_HEADER
from service.unknown_headers import unknown_headers

_IN_STEPS_FROM = 1 << 14  # bytes of a message; a smaller one is read in a fraction of a millisecond
_OK = 200
_CANCELLED = 499

Reading = Generator[int | None, None, None]


class InferMethod:
    """The method `ModelInfer`.

    Args:
        admission: admission of the API process.
        catalog: model versions that are served; the method keeps a writer for each.
        clients: reader of client addresses behind proxies.
        most_bytes: largest number of bytes of a message.

    Attributes:
        admission: admission of the API process.
        clients: reader of client addresses behind proxies.
    """

    takes_many = False

    def __init__(self, admission: Admission, catalog: Catalog, clients: ClientAddresses, most_bytes: int) -> None:
        self.admission = admission
        self.clients = clients
        self._catalog = catalog
        self._most_bytes = most_bytes
        self._reader = InferReader()
        self._writers: dict[str, InferWriter] = {}

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        """Reads the message of a call, and submits its rows to the batcher."""
        prediction = stream.call = GrpcPrediction(self, stream)
        try:
            if stream.head.seconds is not None:
                prediction.set_deadline(stream.head.seconds)
            first_row = stream.head.fields.get(FIRST_ROW_HEADER)
            if first_row is not None:
                prediction.first_row = first_row_in(first_row, self.admission.max_rows)
            if is_compressed or len(message) >= _IN_STEPS_FROM:
                self._handle_large(prediction, message, is_compressed=is_compressed)
                return
            reference, rows, may_hold_booleans, form = self._reader.read(
                message if type(message) is bytes else bytes(message)
            )
            stream.release()
            prediction.set_form(form)
            prediction.reference = reference
            admission = self.admission
            served = admission.find_loaded(reference) or admission.find_split(reference, prediction.sticky)
            if served is None:
                self._load_first(prediction, reference, rows, may_hold_booleans=may_hold_booleans)
                return
            admission.submit_cells(prediction, served, rows, prediction.seconds, may_hold_booleans=may_hold_booleans)
        except Exception as error:
            prediction.fail(error)

    def end(self, stream: Stream) -> None:
        """Does nothing: a call has one message."""

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Ends a call that could not be handled."""
        prediction = stream.call
        if not isinstance(prediction, GrpcPrediction):
            prediction = stream.call = GrpcPrediction(self, stream)
        prediction.fail(error)

    def writer(self, served: ServedVersion) -> InferWriter:
        """Returns the answer writer of a model version."""
        return self._writers.get(served.key) or self._add_writer(served)

    def _add_writer(self, served: ServedVersion) -> InferWriter:
        """Makes the answer writer of a model version, and drops those of versions that are no longer served."""
        ready = {version.key for version in self._catalog.ready_versions()}
        for key in self._writers.keys() - ready:
            del self._writers[key]
        writer = self._writers[served.key] = InferWriter(served)
        return writer

    def _load_first(
        self, prediction: GrpcPrediction, reference: str | None, rows: Rows, *, may_hold_booleans: bool
    ) -> None:
        """Loads the model of a small request, and then submits the rows."""

        def submit(served: ServedVersion) -> None:
            left = prediction.seconds_left()
            self.admission.submit_cells(prediction, served, rows, left, may_hold_booleans=may_hold_booleans)

        self.admission.load_first(prediction, reference, submit)

    def _handle_large(self, prediction: GrpcPrediction, message: Buffer, *, is_compressed: bool) -> None:
        """Starts to read a large message in steps."""
        served = None if is_compressed else self.admission.find_loaded(peek_reference(message))
        steps = self._read(prediction, message, is_compressed=is_compressed)
        self.admission.read_in_steps(prediction, served, steps, len(message))

    def _read(self, prediction: GrpcPrediction, message: Buffer, *, is_compressed: bool) -> Reading:
        """Reads a large message, and submits its rows."""
        try:
            if is_compressed:
                encoding = prediction.stream.head.fields.get(b"grpc-encoding")
                message = yield from inflate_in_steps(message, encoding, self._most_bytes)
            reference, rows, _, form = yield from self._reader.read_in_steps(message)
            if prediction.is_over():
                return
            prediction.set_form(form)
            prediction.reference = reference
            served = self.admission.find_loaded(reference) or self.admission.find_split(reference, prediction.sticky)
            if served is None:
                size = len(message)
                self.admission.load_first(
                    prediction,
                    reference,
                    lambda served: self.admission.read_in_steps(
                        prediction, served, self._encode(prediction, served, rows), size
                    ),
                )
                return
            prediction.served = served
            yield from self._encode(prediction, served, rows)
        except Exception as error:
            prediction.fail(error)

    def _encode(self, prediction: GrpcPrediction, served: ServedVersion, rows: Rows) -> Reading:
        """Encodes and submits the rows of a large message in steps."""
        try:
            reading = LargeReading(
                _ReadRows(rows),
                served.encoder,
                most_rows=self.admission.max_rows,
                keeps_texts=self.admission.logs_predictions,
            )
            for done in reading.steps():
                if prediction.is_over():
                    return
                yield done
            encoded = reading.rows
            assert encoded is not None  # noqa: S101 -- there is an encoder
            prediction.stream.release()
            self.admission.submit_encoded(prediction, served, encoded, reading.unknown.counts, reading.unknown_texts)
        except Exception as error:
            prediction.fail(error)


class _ReadRows:
    """Rows that were read before, for `LargeReading`."""

    model: str | None = None
    at = 0
    form = None

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def slices(self) -> Iterator[Rows | None]:
        """Yields all rows."""
        yield self._rows


class GrpcPrediction(Prediction):
    """A request for predictions over gRPC.

    Args:
        method: method of the call.
        stream: stream of the call.

    Attributes:
        method: method of the call.
        stream: stream of the call.
        form: form of the answer.
    """

    __slots__ = ("_code", "_request_id", "form", "method", "stream")

    def __init__(self, method: InferMethod, stream: Stream) -> None:
        Prediction.__init__(self, method.admission, stream.started)
        self.method = method
        self.stream = stream
        self.form: InferForm | None = None
        self._request_id: bytes | None = None
        self._code = Code.OK

    @property
    def disconnected(self) -> bool:
        """True if the client has hung up or cancelled the call."""
        return self.stream.is_closed

    @property
    def request_id(self) -> str:
        """Identifier of the request in answers and in the log."""
        return self._id().decode("latin-1")

    def _id(self) -> bytes:
        if self._request_id is None:
            self._request_id = accepted_request_id(self.stream.head.fields.get(REQUEST_ID_HEADER))
        return self._request_id

    @property
    def sticky(self) -> bytes | None:
        """Value of the sticky header, by which a split chooses the version; None without one."""
        return self.stream.head.fields.get(STICKY_HEADER)

    @property
    def client(self) -> str | None:
        """Address of the client, as reported by trusted proxies."""
        return self.method.clients.of(self.stream.connection.peer, self.stream.head.fields.items())

    @property
    def traceparent(self) -> bytes | None:
        """Value of the client's metadata `traceparent`, or None."""
        return self.stream.head.fields.get(TRACEPARENT_HEADER)

    @property
    def tracestate(self) -> bytes | None:
        """Value of the client's metadata `tracestate`, or None."""
        return self.stream.head.fields.get(TRACESTATE_HEADER)

    def span_facts(self, status: int) -> SpanFacts:
        """Returns the name and the attributes of the call's span."""
        return grpc_span_facts(self.stream.head.path, self._code)

    def set_form(self, form: InferForm) -> None:
        """Sets the form of the answer, which may shorten the time of the call."""
        self.form = form
        self.members = form.members
        if form.seconds is not None and (self.stream.head.seconds is None or form.seconds < self.seconds):
            self.set_deadline(form.seconds)

    def check_form(self, served: ServedVersion) -> None:
        """Checks that a model version has the outputs that the call asks for."""
        assert self.form is not None  # noqa: S101 -- the message was read
        check_outputs(self.form.layout, served.labels)

    def cancelled(self) -> None:
        """Ends the request, since the client has cancelled the call or is gone."""
        self.fail(ClientGone("the client has cancelled the call."))

    def answered(self, answer: Answer, start: int) -> None:
        """Writes and sends the answer, at once or in steps."""
        served, form = self.served, self.form
        assert served is not None  # noqa: S101 -- rows were submitted for it
        assert form is not None  # noqa: S101
        try:
            writer = self.method.writer(served)
            if self.rows * answer.width > STEP_NUMBERS:
                matrices = answer.cut(start, self.rows)
                self.admission.write_in_steps(self._write(writer, matrices, form), sum(m.size for m in matrices))
                return
            message = writer.write(answer, start, self.rows, form)
        except Exception as error:
            self.failed(error)
            return
        self._send(message)

    def _write(self, writer: InferWriter, matrices: Sequence[NDArray[np.float32]], form: InferForm) -> Iterator[int]:
        """Writes a large answer in steps, and then sends the answer."""
        try:
            message = yield from writer.write_in_steps(matrices, form)
        except Exception as error:
            self.failed(error)
        else:
            self._send(message)

    def _send(self, message: bytes) -> None:
        """Sends a written answer."""
        trailers = OK_TRAILERS + field(REQUEST_ID_HEADER, self._id())
        served = self.served
        if self.unknown and served is not None:
            served.metrics.observe_unknown(sum(self.unknown.values()))
            for name, value in unknown_headers(self.unknown):
                trailers += field(name.lower(), value)
        stream = self.stream
        is_gone = stream.is_closed
        if is_gone:
            self._code = Code.CANCELLED
        self._end(_CANCELLED if is_gone else _OK, self.rows)
        if self.trace is not None:
            trailers += self._trace_trailers()
        try:
            stream.answer(message, trailers)
        except Exception:  # caught, because the caller has to answer other requests too
            failures.error("answer not sent", request_id=self.request_id, exc_info=True)

    def failed(self, error: Exception) -> None:
        """Sends an error as the answer, and logs errors of the server."""
        status = status_of(error)
        self.admission.log_failure(self, error, status.http, status.kind, status.detail)
        is_gone = self.stream.is_closed
        self._code = Code.CANCELLED if is_gone else status.code
        self._end(_CANCELLED if is_gone else status.http, 0)
        try:
            self.stream.finish(status.trailers() + field(REQUEST_ID_HEADER, self._id()) + self._trace_trailers())
        except Exception:
            failures.error("answer not sent", request_id=self.request_id, exc_info=True)

    def _trace_trailers(self) -> bytes:
        """Returns the trailer that names the call's trace; empty if the call is not sampled."""
        return b"" if self.trace is None else b"".join(field(name, value) for name, value in self.trace.headers())

    def _end(self, status: int, rows: int) -> None:
        """Counts the request, and writes the access log."""
        seconds = time.perf_counter() - self.started
        self.admission.count(self, status, seconds, rows)
        self.stream.call = None  # breaks the reference cycle, so that the garbage collector has nothing to do
        if self.admission.logs_requests:
            trace = self.trace_fields()
            self.admission.log_end(self.request_id, self.client, self.served, status, seconds, rows, trace)
