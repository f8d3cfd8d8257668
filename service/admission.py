"""Admission: the path of a request from a door to the batcher, the same for all protocols and wire formats.

A door reads and writes bytes. In between, the same rules hold for each request: the check of the key, the deadline, the
limit of rows, loading the model first if it is not in memory, and a count and a log line at the end.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from models.columns.encoding import Rows
from models.columns.unknown_texts import UnknownText, unknown_texts
from service.access import Access, Scope
from service.batching.batcher import MAX_RETRY_AFTER, MOST_OF_DEADLINE, Batcher
from service.batching.catalog import Catalog
from service.batching.encoded_rows import EncodedRows
from service.batching.served_version import ServedVersion
from service.batching.ticket import NamedRow, Ticket
from service.batching.ticket_group import TicketGroup
from service.errors import BodiesCongested, ClientGone, DeadlineExceeded, ReadingCongested, TooLarge
from service.logs import LimitedLog, get_logger
from service.metrics import ApiMetrics
from service.request_trace import RequestTrace
from service.settings import Settings
from service.span_facts import SpanFacts
from service.step_queue import StepQueue, Steps
from service.stream.frames import Buffer
from service.trace_context import trace_fields

_NOTHING_UNKNOWN: Mapping[str, int] = MappingProxyType({})

_MOST_KEPT_ROWS = 256  # rows of one request that are kept for a shadow

log = get_logger(__name__)
failures = LimitedLog(log)  # limits errors that a client can cause again and again


class Prediction(Ticket):
    """A request for predictions, from its head to its answer. Each door has a subclass for its protocol.

    Attributes:
        admission: admission of the API process.
        started: time of the arrival of the head, on `time.perf_counter`'s clock, in seconds.
        seconds: time from `started` to the deadline, in seconds.
        members: number of members of an ensemble that answer; None for all, also if the request names their number.
        level: level of the intervals or sets of the answer; None for an answer without.
        first_row: number of the request's first row in the client's call, for the log of predictions.
        unknown: number of cells with unknown categories, by column.
        reference: reference of the model in the request, as far as read; None for the default model.
        unknown_texts: texts of cells with unknown categories, for the log of predictions.
        given_rows: rows before they were encoded, for a shadow that encodes them itself; else None.
        trace: trace of the request; None without traces, and before the tracer has looked at the request.
    """

    __slots__ = (
        "admission",
        "first_row",
        "given_rows",
        "level",
        "members",
        "reference",
        "seconds",
        "started",
        "trace",
        "unknown",
        "unknown_texts",
    )

    is_logged = True

    def __init__(self, admission: Admission, started: float) -> None:
        Ticket.__init__(self)
        self.admission = admission
        self.started = started
        self.seconds = admission.default_seconds
        self.members: int | None = None
        self.level: float | None = None
        self.first_row = 0
        self.reference: str | None = None
        self.unknown = _NOTHING_UNKNOWN
        self.unknown_texts: Sequence[UnknownText] = ()
        self.given_rows: Rows | None = None
        self.trace: RequestTrace | None = None

    @property
    def request_id(self) -> str:
        """Identifier of the request in answers and in the log."""
        raise NotImplementedError

    @property
    def sticky(self) -> bytes | None:
        """Value of the sticky header, by which a split chooses the version; None without one."""
        raise NotImplementedError

    @property
    def client(self) -> str | None:
        """Address of the client, for the log; None if the address is not known."""
        raise NotImplementedError

    @property
    def traceparent(self) -> bytes | None:
        """Value of the client's header `traceparent`, or None."""
        return None

    @property
    def tracestate(self) -> bytes | None:
        """Value of the client's header `tracestate`, or None."""
        return None

    def span_facts(self, status: int) -> SpanFacts:
        """Returns the name and the attributes of the request's span.

        Args:
            status: HTTP status of the answer.
        """
        return SpanFacts("prediction", {}, None)

    def trace_fields(self) -> dict[str, str]:
        """Returns the fields of a log line that name the request's span, or the client's if there are no traces."""
        trace = self.trace
        return trace.fields() if trace is not None and trace.is_sampled else trace_fields(self.traceparent)

    def set_deadline(self, seconds: float) -> None:
        """Sets the time that a client asks for, in seconds; the server's longest time is the limit."""
        self.seconds = min(seconds, self.admission.max_seconds)

    def check_form(self, served: ServedVersion) -> None:
        """Checks that a model version has what the answer is to hold, before the rows are submitted.

        Raises:
            InvalidRequest: the version has no such answer.
        """
        raise NotImplementedError

    def seconds_left(self) -> float:
        """Returns the time until the deadline, in seconds.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        left = self.started + self.seconds - time.perf_counter()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the rows were read.")
        return left

    def cells(self, start: int, stop: int) -> Sequence[Rows] | None:
        """Returns the rows of the whole request before the encoding; None without such rows."""
        return None if self.given_rows is None or stop - start != self.rows else (self.given_rows,)

    def named_row(self, row: int) -> NamedRow:
        """Returns the request of a row, for the log of predictions."""
        return NamedRow(self.request_id, self.first_row + row, self.reference, self.members)

    def is_over(self) -> bool:
        """Returns True if the request has ended; a request whose client has gone is ended first, with an error."""
        if self.disconnected:
            self.fail(ClientGone("the client hung up before its rows were read."))
        return self.done


class RowGroup(TicketGroup):
    """A group of requests with one row each. Each door has a subclass for its protocol.

    Args:
        version: model version that answers.
        seconds: time until the deadline, in seconds.

    Attributes:
        version: model version that answers.
        seconds: time until the deadline, in seconds.
    """

    __slots__ = ("_rows", "seconds", "version")

    is_logged = True

    def __init__(self, version: ServedVersion, seconds: float) -> None:
        super().__init__()
        self.version = version
        self.seconds = seconds
        self._rows: list[Buffer] = []

    def encoded(self) -> bytes:
        """Returns the encoded rows of all requests."""
        return b"".join(self._rows)


class Admission:
    """Admits requests to the batcher of an API process.

    Args:
        catalog: model versions that are served.
        batcher: batcher of the process.
        steps: queue of work in steps.
        metrics: metrics of the process.
        access: API keys; None lets everybody in.
        settings: settings of the server.

    Attributes:
        logs_predictions: True if the log of predictions is on, for which a door notes the reference of each request.
        logs_requests: True if the access log is on, so that a door calls `log_end` for each request.
        needs_key: True if requests need an API key, which a door has `check_key` check first.
        find_loaded: function that returns the model version of a reference, None if it is unknown, not in memory, or
            split among versions.
        find_split: function that returns the model version for a request to a reference that is split, by the value of
            the sticky header; None if it is not split, or the version not in memory.
        default_seconds: time for a request that names no deadline, in seconds.
        max_seconds: longest time that a request can ask for, in seconds.
        max_rows: number of rows that a request may have.
    """

    def __init__(
        self,
        catalog: Catalog,
        batcher: Batcher,
        steps: StepQueue,
        metrics: ApiMetrics,
        access: Access | None,
        settings: Settings,
    ) -> None:
        self._catalog = catalog
        self._batcher = batcher
        self._steps = steps
        self._unrouted = metrics.unrouted
        self.logs_requests = settings.access_log
        self.logs_predictions = settings.prediction_log is not None
        self._loading: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._access = access
        self.needs_key = access is not None
        self.find_loaded = catalog.get  # no method of its own: a call more for each request
        self.find_split = catalog.get_split
        self.default_seconds = settings.timeout_seconds
        self.max_seconds = settings.max_timeout_seconds
        self.max_rows = settings.max_request_rows

    def check_key(self, authorization: bytes | None, api_key: bytes | None) -> None:
        """Accepts a request whose API key is for predictions.

        Args:
            authorization: value of the `Authorization` header, or None.
            api_key: value of the `X-API-Key` header, or None.

        Raises:
            AccessDenied: the key is missing, unknown, repeated, or not for predictions.
        """
        if self._access is not None:
            self._access.check(authorization, api_key, Scope.PREDICT)

    def load_first(self, prediction: Prediction, reference: str | None, then: Callable[[ServedVersion], None]) -> None:
        """Loads the model version of a reference within the deadline, and then continues with the request.

        A request that has ended meanwhile, since its client cancelled it or has gone, is not continued.

        Args:
            prediction: request, which fails if the version cannot be loaded in time.
            reference: `name`, `name@version` or `name@alias`; None for the default model.
            then: function that continues with the loaded version; an exception of the function ends the request.
        """

        async def load() -> None:
            try:
                async with asyncio.timeout(prediction.seconds_left()):
                    served = await self._catalog.find_to_answer(reference, prediction.sticky)
                if not prediction.is_over():
                    then(served)
            except TimeoutError:
                prediction.fail(DeadlineExceeded("the deadline passed before the model was loaded."))
            except Exception as error:
                prediction.fail(error)

        task = self._loop.create_task(load())
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    def submit_cells(
        self, prediction: Prediction, served: ServedVersion, rows: Rows, seconds: float, *, may_hold_booleans: bool
    ) -> None:
        """Encodes the rows of a small request, and submits the rows to the batcher.

        Args:
            prediction: request for predictions.
            served: model version.
            rows: rows of the request, before encoding.
            seconds: time until the deadline, in seconds.
            may_hold_booleans: False if no cell is a boolean.

        Raises:
            TooLarge: there are too many rows.
            RowError: the model does not take some rows.
            InvalidRequest: the model has fewer members than are asked for, no such intervals, or no such answer.
            QueueFull: too many rows wait already.
        """
        prediction.served = served
        prediction.check_form(served)
        if prediction.level is not None:
            served.check_level(prediction.level, prediction.members)
        if prediction.members is not None:
            served = _with_members(prediction, prediction.members, served)
        encoder = served.encoder
        if isinstance(rows, memoryview):
            rows = encoder.matrix_of(rows)
        count = len(rows)
        if count > self.max_rows:
            raise too_many_rows(self.max_rows)
        data = encoder.encode_any(rows, may_hold_booleans=may_hold_booleans)
        if encoder.unknown.counts:
            prediction.unknown = encoder.unknown.take()
            if self.logs_predictions:
                cells = encoder.cells_by_column(rows)
                prediction.unknown_texts = unknown_texts(served.schema, cells, prediction.unknown)
        if served.shadow is not None and served.shadow.needs_cells and count <= _MOST_KEPT_ROWS:
            prediction.given_rows = rows
        self._batcher.submit(prediction, served, data, count, seconds)

    def submit_group(self, group: RowGroup) -> None:
        """Submits a group of requests with one row each, whose forms are checked; `dispatch` has to follow.

        Raises:
            QueueFull: too many rows of the model wait already.
        """
        self._batcher.submit(group, group.version, group.encoded(), group.requests, group.seconds, gathered=True)

    def submit_row(self, prediction: Prediction, served: ServedVersion, row: Buffer) -> None:
        """Submits a request with one encoded row, whose form is checked.

        Raises:
            QueueFull: too many rows of the model wait already.
        """
        prediction.served = served
        self._batcher.submit(prediction, served, row, 1, prediction.seconds)

    @property
    def serves_one_client(self) -> bool:
        """True if requests come one at a time, so that there is nothing to gather."""
        return self._batcher.serves_one_client

    def dispatch(self, served: ServedVersion) -> None:
        """Sends the rows of a model version to a worker as soon as one is free."""
        self._batcher.dispatch(served.key)

    def submit_encoded(
        self,
        prediction: Prediction,
        served: ServedVersion,
        rows: EncodedRows,
        unknown: Mapping[str, int],
        texts: Sequence[UnknownText] = (),
    ) -> None:
        """Submits rows that were read and encoded in steps.

        Args:
            prediction: request for predictions.
            served: model version.
            rows: encoded rows.
            unknown: number of cells with unknown categories, by column.
            texts: texts of these cells, for the log of predictions.

        Raises:
            DeadlineExceeded: the deadline has passed.
            InvalidRequest: the model has fewer members than are asked for, no such intervals, or no such answer.
            QueueFull: too many rows wait already.
        """
        prediction.unknown = unknown
        prediction.check_form(served)
        if prediction.level is not None:
            served.check_level(prediction.level, prediction.members)
        prediction.unknown_texts = texts
        if prediction.members is not None:
            served = _with_members(prediction, prediction.members, served)
        self._batcher.submit(prediction, served, rows, rows.rows, prediction.seconds_left())

    def read_in_steps(self, prediction: Prediction, served: ServedVersion | None, steps: Steps, size: int) -> None:
        """Queues the reading of a large request; refuses a request that could not be answered in time.

        Args:
            prediction: request for predictions.
            served: model version; None if the body was not read that far.
            steps: generator that reads the body.
            size: number of bytes of the body.

        Raises:
            QueueFull: too many rows of the model wait already.
            ReadingCongested: too many requests wait to be read.
            DeadlineExceeded: the deadline has passed.
        """
        left = prediction.seconds_left()
        if served is not None:
            prediction.served = served
            self._batcher.admit(served, 1, left)
        wait = self._steps.wait_seconds()
        if wait > MOST_OF_DEADLINE * left:
            raise ReadingCongested(retry_after=min(max(1, math.ceil(wait / 2)), MAX_RETRY_AFTER))
        self._steps.add(
            steps,
            size,
            deadline=self._loop.time() + left,
            expired=lambda: prediction.fail(DeadlineExceeded("the deadline passed before the request was read.")),
        )

    def write_in_steps(self, steps: Steps, numbers: int) -> None:
        """Queues the writing of a large answer of `numbers` numbers, ahead of the reading of requests."""
        self._steps.add(steps, 8 * numbers, urgent=True)

    def count(self, prediction: Prediction, status: int, seconds: float, rows: int) -> None:
        """Counts the end of a request.

        Args:
            prediction: request for predictions.
            status: HTTP status of the answer.
            seconds: time from the request's start to its end, in seconds.
            rows: number of answered rows.
        """
        served = prediction.served
        (self._unrouted if served is None else served.metrics).observe_request(status, seconds, rows)

    def log_end(
        self,
        request_id: str,
        client: str | None,
        served: ServedVersion | None,
        status: int,
        seconds: float,
        rows: int,
        trace: Mapping[str, str],
    ) -> None:
        """Writes a line of the access log; called only if `logs_requests`.

        Args:
            request_id: identifier of the request.
            client: address of the client; None if the address is not known.
            served: model version; None for a request that reached none.
            status: HTTP status of the answer.
            seconds: time from the request's start to its end, in seconds.
            rows: number of answered rows.
            trace: fields that name the request's trace; empty without one.
        """
        log.info(
            "predicted",
            request_id=request_id,
            client=client,
            model=None if served is None else str(served),
            status=status,
            rows=rows,
            milliseconds=round(seconds * 1000, 3),
            **trace,
        )

    def log_failure(self, prediction: Prediction, error: Exception, status: int, code: str, detail: str) -> None:
        """Logs an error of the server. Errors of clients are not logged, since a client could fill the disk.

        Args:
            prediction: request for predictions.
            error: error that ended the request.
            status: HTTP status of the answer.
            code: stable code of the error; `internal` for an unforeseen error.
            detail: sentence for the client.
        """
        if status < 500 or isinstance(error, BodiesCongested):  # a client causes these at will
            return
        model = None if prediction.served is None else str(prediction.served)
        fields = {"request_id": prediction.request_id, "model": model, "status": status}
        fields |= prediction.trace_fields()
        if code == "internal":
            failures.error("request failed", kind=type(error).__name__, **fields, exc_info=error)
        else:
            failures.warning("request failed", kind=code, **fields, reason=detail)


def _with_members(prediction: Prediction, members: int, served: ServedVersion) -> ServedVersion:
    """Returns the model version that answers with the members that a request asks for.

    Raises:
        InvalidRequest: the version has fewer members.
    """
    version = served.first_members(members)
    if version is served:  # all members answer, for which the log of predictions has no number
        prediction.members = None
    return version


def too_many_rows(most: int) -> TooLarge:
    """Returns the error for a request with more than `most` rows."""
    return TooLarge(f"more than {most:,} rows in one request.")
