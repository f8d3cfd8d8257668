"""Plain requests with one row each for one model version, which are answered together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, overload

from models.columns.encoding import Rows
from service.admission import Admission, RowGroup, failures
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer, NamedRow
from service.http.answer_heads import AnswerHeads
from service.http.compression import WORTH_BYTES
from service.http.connection_watch import Phase
from service.http.known_heads import NO_VALUES, PlainHead
from service.http.plain_request import PlainRequest
from service.http.predict_endpoint import MOST_AT_ONCE, HttpPrediction
from service.http.wire.wire_format import STEP_NUMBERS, WrittenAnswer
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.stream.frames import Buffer
from service.trace_context import TRACEPARENT_HEADER, trace_fields

_STEP_REQUESTS = 64  # answers that are written in one step, in a fraction of a millisecond
_LENGTH = b"\r\ncontent-length: "
_heads = AnswerHeads()


class PlainGroup(RowGroup):
    """A group of plain requests with the same facts in their heads.

    Args:
        admission: admission of the API process.
        head: facts of the heads.
        version: model version that answers.
        started: arrival of the first request, on `time.perf_counter`'s clock, in seconds.

    Attributes:
        started: arrival of the first request, on `time.perf_counter`'s clock, in seconds.
        members: requests by row; None in place of a request that was answered or has left.
        head: facts of the heads.
    """

    __slots__ = ("_admission", "_forms", "_names", "head", "members", "started")

    def __init__(self, admission: Admission, head: PlainHead, version: ServedVersion, started: float) -> None:
        super().__init__(version, head.seconds)
        self._admission = admission
        self.members: list[PlainRequest | None] = []
        self._forms: list[Any] = []
        self._names: list[NamedRow] | None = None  # by row, for the log of predictions
        self.head = head
        self.started = started

    def add(self, plain: PlainRequest, row: Buffer) -> None:
        """Adds a request with its encoded row, before the submission."""
        plain.body = b""
        self.members.append(plain)
        self._forms.append(plain.form)
        self._rows.append(row)
        self.requests += 1

    def name(self, plain: PlainRequest, reference: str | None) -> None:
        """Gives the newest request of the group an identifier before the answer, for the log of predictions.

        Args:
            plain: plain request that was added last.
            reference: reference of the model in the request; None for the default model.
        """
        names = self._names = [] if self._names is None else self._names
        request_id = accepted_request_id(plain.values.get(REQUEST_ID_HEADER))
        names.append(NamedRow(request_id.decode("latin-1"), 0, reference, None))

    def named_row(self, row: int) -> NamedRow | None:
        """Returns the request of a row; None if the request has left the group."""
        return None if self.members[row] is None or self._names is None else self._names[row]

    def _as_usual(self, plain: PlainRequest, row: int) -> HttpPrediction:
        """Returns the request of a row as a usual one, under the same name."""
        prediction = plain.leave()
        if self._names is not None:
            name = self._names[row]
            prediction.exchange.request_id, prediction.reference = name.request_id.encode("latin-1"), name.asked
        return prediction

    def apart(self) -> Iterator[tuple[HttpPrediction, Buffer]]:
        """Yields each request as a usual one, with its encoded row."""
        for at, (plain, row) in enumerate(zip(self.members, self._rows, strict=True)):
            assert plain is not None  # noqa: S101 -- the group was not submitted
            yield self._as_usual(plain, at), row

    def take_out(self, row: int) -> HttpPrediction | None:
        """Returns the request of a row as a usual one, which leaves the group; None after that."""
        plain, self.members[row] = self.members[row], None
        if plain is None:
            return None
        prediction = self._as_usual(plain, row)
        prediction.served, prediction.rows = self.version, 1
        return prediction

    def answer_requests(self, first: int, stop: int, answer: Answer, start: int) -> None:
        """Writes the answers to the rows from `first` up to `stop`, at once or in steps."""
        if answer.width > STEP_NUMBERS:
            self._answer_apart(first, stop, answer, start)
        elif answer.numbers > STEP_NUMBERS or answer.rows > MOST_AT_ONCE:
            self._admission.write_in_steps(self._steps(first, stop, answer, start), answer.numbers)
        else:
            self._answer(first, stop, answer, start)

    def _steps(self, first: int, stop: int, answer: Answer, start: int) -> Iterator[int]:
        """Writes the answers of a large batch in steps; yields about the number of bytes that a step has written."""
        rows = min(_STEP_REQUESTS, STEP_NUMBERS // answer.width)
        for at in range(first, stop, rows):
            end = min(at + rows, stop)
            [some] = answer.cut(start + at - first, end - at)
            self._answer(at, end, Answer(some), 0)
            yield 8 * some.size

    def _answer(self, first: int, stop: int, answer: Answer, start: int) -> None:
        """Writes the answers to the requests that are still plain, and counts these requests."""
        members = self.members
        shared = next((plain.connection for plain in members[first:stop] if plain is not None), None)
        if shared is None:
            return
        version, wire = self.version, self.head.format
        seconds = time.perf_counter() - self.started
        try:
            payloads = self.head.endpoint.writer(wire, version).write_each(answer, start, self._forms[first:stop])
        except Exception:  # each request reports the error
            self._answer_apart(first, stop, answer, start)
            return
        default, content_type = shared.server_state.default_headers, wire.content_type
        begin = _heads.begin(default, HTTPStatus.OK, content_type)
        end = b"%b\r\n" % self.head.answer_lines
        now, logs, names = shared.watch.now, self._admission.logs_requests, self._names
        sent = 0
        for row, payload in enumerate(payloads, first):
            plain = members[row]
            if plain is None:
                continue
            body, more, own_type = payload, b"", wire.content_type
            if type(payload) is WrittenAnswer:
                body, more, own_type = payload.body, payload.head.lines, payload.head.content_type
            if own_type != content_type:
                content_type = own_type
                begin = _heads.begin(default, HTTPStatus.OK, content_type)
            connection = plain.connection
            transport = connection.transport
            if (
                plain.prediction is not None
                or type(body) is not bytes
                or len(body) >= WORTH_BYTES
                or transport.is_closing()
            ):
                self._answer_apart(row, row + 1, answer, start + row - first)
                continue
            members[row] = None
            plain.is_pending = False
            values, plain.values = plain.values, NO_VALUES
            if names is None:
                request_id = accepted_request_id(values.get(REQUEST_ID_HEADER))
            else:
                request_id = names[row].request_id.encode("latin-1")
            sent += 1
            try:
                transport.write(b"".join((begin, request_id, _LENGTH, b"%d\r\n" % len(body), more, end, body)))
            except Exception:  # the other clients wait for their answers
                failures.error("answer not sent", request_id=request_id.decode("latin-1"), exc_info=True)
            connection.phase, connection.since = Phase.IDLE, now
            if logs:
                self._log(plain, request_id, values.get(TRACEPARENT_HEADER), seconds)
        shared.server_state.total_requests += sent
        if sent:
            version.metrics.observe_request(HTTPStatus.OK, seconds, rows=sent, requests=sent)

    def _log(self, plain: PlainRequest, request_id: bytes, traceparent: bytes | None, seconds: float) -> None:
        """Writes a line of the access log."""
        peer = plain.connection.client
        client = self.head.endpoint.clients.of(None if peer is None else peer[0], self.head.headers)
        trace = trace_fields(traceparent)
        self._admission.log_end(request_id.decode("latin-1"), client, self.version, HTTPStatus.OK, seconds, 1, trace)

    def _answer_apart(self, first: int, stop: int, answer: Answer, start: int) -> None:
        """Answers each request as a usual one."""
        for row in range(first, stop):
            prediction = self.take_out(row)
            if prediction is not None:
                prediction.finish(answer, start + row - first)


class PlainGroupWithBodies(PlainGroup):
    """A group that keeps the bodies of its requests, for a shadow with another encoding."""

    __slots__ = ("_bodies",)

    def __init__(self, admission: Admission, head: PlainHead, version: ServedVersion, started: float) -> None:
        super().__init__(admission, head, version, started)
        self._bodies: list[bytes] = []

    def add(self, plain: PlainRequest, row: Buffer) -> None:
        """Adds a request with its encoded row, before the submission."""
        self._bodies.append(plain.body)
        super().add(plain, row)

    def cells(self, start: int, stop: int) -> Sequence[Rows]:
        """Returns the rows from `start` up to `stop`, read on demand."""
        return BodyRows(self.head, self._bodies[start:stop])


class BodyRows(Sequence[Rows]):
    """The rows of bodies with one row each, read on demand.

    Args:
        head: facts of the requests' heads.
        bodies: bodies of the requests, each valid.
    """

    def __init__(self, head: PlainHead, bodies: list[bytes]) -> None:
        self._head = head
        self._bodies = bodies

    def __len__(self) -> int:
        return len(self._bodies)

    @overload
    def __getitem__(self, at: int) -> Rows: ...

    @overload
    def __getitem__(self, at: slice) -> BodyRows: ...

    def __getitem__(self, at: int | slice) -> Rows | BodyRows:
        if isinstance(at, slice):
            return BodyRows(self._head, self._bodies[at])
        head = self._head
        return head.format.read(self._bodies[at], head.named, head)[1]
