"""`POST /predict`: JSON rows in, JSON answers out. This is the hot path, so its work is ordered by cost.

What a well-formed request needs is done on bytes and plain Python types: orjson reads a small body and `RowEncoder`
packs its rows. Anything unusual about a request sends it through the Pydantic model, which either accepts it or says
what is wrong. A large body is read in steps (`LargeReading`), between which everybody else has their turn.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from service.batching.batcher import MAX_RETRY_AFTER, MOST_OF_DEADLINE, Batcher
from service.batching.catalog import Catalog, ServedVersion
from service.batching.ticket import Answer
from service.errors import (
    CLIENT_CLOSED_REQUEST,
    MEDIA_TYPE,
    ClientGone,
    DeadlineExceeded,
    Problem,
    ReadingCongested,
    invalid_request,
    problem_of,
    too_large,
)
from service.http.access import Access, Scope
from service.http.answers import MOST_AT_ONCE, STEP_NUMBERS, AnswerWriter
from service.http.body_gate import LARGE_BYTES, BodyGate, Entry
from service.http.body_headers import is_csv, json_types
from service.http.bulk_json import NumberReader, model_first
from service.http.client_address import ClientAddresses
from service.http.cors import Cors
from service.http.csv_slices import CsvRequest
from service.http.exchange import Content, Exchange
from service.http.json_slices import Body, SlicedRequest, model_last, names_no_model
from service.http.large_reading import LargeReading, json_request, too_many_rows
from service.http.model_query import model_in_query
from service.http.request_body import parse_request
from service.http.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.http.step_queue import StepQueue
from service.http.unknown_headers import unknown_headers
from service.logs import LimitedLog, get_logger
from service.metrics import ApiMetrics
from service.settings import Settings

TIMEOUT_HEADER = b"x-request-timeout-seconds"

_JSON = b"application/json"
_PROBLEM = MEDIA_TYPE.encode()
_REST_SECONDS = 1.0  # the least that `Retry-After` says
_CONGESTED = ReadingCongested(retry_after=1)
_LARGE_BODY_DIGITS = len(str(LARGE_BYTES))
_LARGE_BODY_BYTES = 8192  # below it, a body is read in a fraction of a millisecond

log = get_logger(__name__)
failures = LimitedLog(log)  # what a client can cause again and again


class PredictEndpoint:
    """The endpoint behind the HTTP protocol's direct way: exchanges in, answers out."""

    def __init__(
        self,
        catalog: Catalog,
        batcher: Batcher,
        metrics: ApiMetrics,
        settings: Settings,
        access: Access | None,
        *,
        cors: Cors | None,
        clients: ClientAddresses,
        steps: StepQueue,
    ) -> None:
        self.cors = cors
        self._clients = clients
        self._access = access
        self._catalog = catalog
        self._batcher = batcher
        self._unrouted = metrics.unrouted
        self._max_body_bytes = settings.max_body_bytes
        self._max_request_rows = settings.max_request_rows
        self._timeout = settings.timeout_seconds
        self._max_timeout = settings.max_timeout_seconds
        self._access_log = settings.access_log
        self._writers: dict[str, AnswerWriter] = {}
        self._numbers = NumberReader()
        self._steps = steps
        self._gate = BodyGate(asyncio.get_running_loop())
        self._loading: set[asyncio.Task[None]] = set()
        self._closing = False

    def close_connections(self) -> None:
        """From now on, each answer asks its client to connect anew: the server is about to stop."""
        self._closing = True

    def begin(self, exchange: Exchange) -> None:
        """Judges a request by its head."""
        field = exchange.fields.get
        exchange.request_id = accepted_request_id(field(REQUEST_ID_HEADER))
        if self._closing:
            exchange.keep_alive = False
        prediction = exchange.context = Prediction(self, exchange, self._timeout)
        try:
            if self._access is not None:
                self._access.check(field(b"authorization"), field(b"x-api-key"), Scope.PREDICT)
            timeout = field(TIMEOUT_HEADER)
            if timeout is not None:
                prediction.seconds = self._parse_timeout(timeout)
            content_type = field(b"content-type")
            if content_type is not None and content_type not in json_types:
                prediction.is_csv = is_csv(content_type)
            if exchange.query:
                prediction.model = model_in_query(exchange.query, is_csv=prediction.is_csv)
        except Problem as problem:
            prediction.failed(problem)
            return
        length = field(b"content-length", b"")
        if len(length) >= _LARGE_BODY_DIGITS:
            self._begin_large(prediction, int(length))

    def _begin_large(self, prediction: Prediction, size: int) -> None:
        """Refuses a large body before it comes, holds it back, or lets it come."""
        exchange = prediction.exchange
        if size > self._max_body_bytes:
            exchange.refuse(too_large(f"a body of {size:,} bytes; the limit is {self._max_body_bytes:,}."))
        elif size >= LARGE_BYTES:
            prediction.entry = self._gate.enter(
                exchange, size, MOST_OF_DEADLINE * prediction.seconds, lambda: exchange.refuse(problem_of(_CONGESTED))
            )

    def end_large(self, entry: Entry) -> None:
        """A large body was read, or will not be."""
        self._gate.leave(entry)

    def handle(self, exchange: Exchange) -> None:
        """Reads a request's body and has its rows predicted."""
        prediction: Prediction = exchange.context
        if prediction.entry is not None:
            self._gate.has_come(prediction.entry)
        body = exchange.body
        try:
            if prediction.is_csv:
                self._handle_csv(prediction, body)
            elif len(body) >= _LARGE_BODY_BYTES:
                self._handle_large(prediction, body)
            else:
                self._handle_rows(prediction, body)
        except Exception as error:
            prediction.failed(error)

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        """Answers with a problem of the connection's."""
        exchange.context.failed(problem)

    def write_in_steps(
        self, prediction: Prediction, served: ServedVersion, matrices: Sequence[NDArray[np.float32]]
    ) -> None:
        """Writes a large answer between other work, and sends it."""
        bytes_of_numbers = 8 * sum(matrix.size for matrix in matrices)
        self._steps.add(self._write(prediction, served, matrices), bytes_of_numbers, urgent=True)

    def _write(
        self, prediction: Prediction, served: ServedVersion, matrices: Sequence[NDArray[np.float32]]
    ) -> Iterator[int]:
        try:
            payload = yield from self.writer(served).write_in_steps(matrices)
        except Exception as error:
            prediction.failed(error)
        else:
            prediction.send(served, payload)

    def write_with_batch(self, prediction: Prediction, served: ServedVersion, answer: Answer, start: int) -> None:
        """Writes and sends one of the answers of a long batch, with the others, between other work."""
        if answer.memo is None:
            answer.memo = []  # the batch's other requests follow before the first step
            steps = self.writer(served).write_batch_in_steps(answer.matrix, answer.memo)
            self._steps.add(steps, 8 * answer.numbers, urgent=True)
        answer.memo.append((prediction, start))

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """What writes a version's answers."""
        writer = self._writers.get(served.key)
        if writer is None:
            ready = {version.key for version in self._catalog.ready_versions()}
            self._writers = {key: kept for key, kept in self._writers.items() if key in ready}
            writer = self._writers[served.key] = AnswerWriter(served)
        return writer

    def count(self, served: ServedVersion | None, status: int, seconds: float, rows: int) -> None:
        """Counts one answer."""
        (served.metrics if served is not None else self._unrouted).observe_request(status, seconds, rows)

    def log_success(self, prediction: Prediction, status: int, seconds: float) -> None:
        """The access log's line, where there is one."""
        if self._access_log:
            exchange = prediction.exchange
            log.info(
                "predicted",
                request_id=exchange.request_id.decode("latin-1"),
                client=self._clients.of(exchange.peer, exchange.headers),
                model=str(prediction.served) if prediction.served is not None else None,
                status=status,
                rows=prediction.rows,
                milliseconds=round(seconds * 1000, 3),
            )

    def _handle_rows(self, prediction: Prediction, body: Body) -> None:
        """A small body, read at once."""
        model, instances = parse_request(body)

        def submit(served: ServedVersion, seconds: float) -> None:
            prediction.served = served
            self._check_rows(len(instances))
            encoder = served.encoder
            data = encoder.encode(instances, may_hold_booleans=b"true" in body or b"false" in body)
            if encoder.unknown.counts:
                prediction.unknown = encoder.unknown.take()
            prediction.rows = len(instances)
            self._batcher.submit(served, data, prediction.rows, seconds, prediction)

        served = self._catalog.get(model)
        if served is not None:
            submit(served, prediction.seconds)
        else:
            self._load_first(prediction, model, lambda served: submit(served, prediction.seconds_left()))

    def _handle_large(self, prediction: Prediction, body: Body) -> None:
        """A large body, read in steps, once its model is ready."""
        model = model_first(body) or model_last(body)
        if model is None and not names_no_model(body):  # told in an unusual way: it is read first, and then the rows
            self._start_reading(prediction, body, None, None)
            return
        served = self._catalog.get(model)
        if served is None and model is not None:
            self._load_first(prediction, model, lambda served: self._start_reading(prediction, body, model, served))
        else:
            self._start_reading(prediction, body, model, served)

    def _handle_csv(self, prediction: Prediction, body: Body) -> None:
        """A body of CSV, read in steps, once its model is ready."""
        model = prediction.model
        served = self._catalog.get(model)
        if served is None:
            self._load_first(prediction, model, lambda served: self._start_reading(prediction, body, model, served))
        else:
            self._start_reading(prediction, body, model, served)

    def _start_reading(
        self, prediction: Prediction, body: Body, model: str | None, served: ServedVersion | None
    ) -> None:
        left = prediction.seconds_left()
        if served is not None:
            prediction.served = served
            self._batcher.admit(served, 1, left)
        wait = self._steps.wait_seconds()
        if wait > MOST_OF_DEADLINE * left:
            # A client that asks again before `Retry-After` would cost what others' requests are to be read with.
            prediction.exchange.rest_seconds = _REST_SECONDS
            raise ReadingCongested(retry_after=min(max(1, math.ceil(wait / 2)), MAX_RETRY_AFTER))
        self._steps.add(
            self._read(prediction, body, model, served),
            len(body),
            deadline=asyncio.get_running_loop().time() + left,
            expired=lambda: prediction.failed(DeadlineExceeded("the deadline passed before the request was read.")),
        )

    def _read(
        self, prediction: Prediction, body: Body, model: str | None, served: ServedVersion | None
    ) -> Iterator[int | None]:
        """Reads a large body and has its rows predicted; yields how many bytes each step read.

        Args:
            prediction: the request.
            body: its JSON or CSV text.
            model: the model's id as far as it is known; the body says for certain.
            served: the version that it means; None where that is not known or not ready.
        """
        try:
            encoder = None if served is None else served.encoder
            request: SlicedRequest | CsvRequest
            if prediction.is_csv and encoder is not None:
                request = CsvRequest(body, model, encoder)
            else:
                request = json_request(body, encoder, self._numbers)
            reading = LargeReading(request, encoder, most_rows=self._max_request_rows)
            for done in reading.steps():
                if prediction.is_over():
                    return
                yield done
            rows = reading.rows
            if reading.model != model or served is None or rows is None:  # told in an unusual way, or not at all
                self._read_again(prediction, body, reading.model)
                return
            prediction.exchange.body = b""  # its rows are all that is needed from here on
            prediction.end_body()
            prediction.rows, prediction.unknown = rows.rows, reading.unknown.counts
            self._batcher.submit(served, rows, rows.rows, prediction.seconds_left(), prediction)
        except Exception as error:
            prediction.failed(error)

    def _read_again(self, prediction: Prediction, body: Body, model: str | None) -> None:
        """Reads a body once more, its model now known for certain."""
        served = self._catalog.get(model)
        if served is not None:
            self._start_reading(prediction, body, model, served)
        else:
            self._load_first(prediction, model, lambda served: self._start_reading(prediction, body, model, served))

    def _check_rows(self, rows: int) -> None:
        if rows > self._max_request_rows:
            raise too_many_rows(self._max_request_rows)

    def _load_first(self, prediction: Prediction, model: str | None, then: Callable[[ServedVersion], None]) -> None:
        """A version that is loaded when it is first asked for; that too is within the deadline."""

        async def load() -> None:
            try:
                async with asyncio.timeout(prediction.seconds):
                    served = await self._catalog.find(model)
                then(served)
            except TimeoutError:
                prediction.failed(DeadlineExceeded("the deadline passed before the model was loaded."))
            except Exception as error:
                prediction.failed(error)

        task = asyncio.get_running_loop().create_task(load())
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    def _parse_timeout(self, raw: bytes) -> float:
        try:
            seconds = float(raw)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise invalid_request(
                f"X-Request-Timeout-Seconds must be a number above 0, got {raw[:40].decode('latin-1')!r}."
            )
        return min(seconds, self._max_timeout)


class Prediction:
    """One request between its exchange and the batcher: what is known of it, and what becomes of its answer."""

    __slots__ = ("_endpoint", "entry", "exchange", "is_csv", "model", "rows", "seconds", "served", "unknown")

    def __init__(self, endpoint: PredictEndpoint, exchange: Exchange, seconds: float) -> None:
        self._endpoint = endpoint
        self.exchange = exchange
        self.seconds = seconds
        self.entry: Entry | None = None  # of a large body, until it was read
        self.is_csv = False
        self.model: str | None = None  # as the query of a CSV body names it
        self.served: ServedVersion | None = None
        self.rows = 0
        self.unknown: dict[str, int] = {}  # cells by column

    @property
    def disconnected(self) -> bool:
        """Whether the client has hung up."""
        return self.exchange.disconnected

    def seconds_left(self) -> float:
        """Gives the time until the deadline, in seconds.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        left = self.exchange.started + self.seconds - time.perf_counter()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the rows were read.")
        return left

    def end_body(self) -> None:
        """Tells that the body is not needed any more."""
        if self.entry is not None:
            entry, self.entry = self.entry, None
            self._endpoint.end_large(entry)

    def is_over(self) -> bool:
        """Returns True if no answer is wanted any more; a client that hung up is told so here."""
        if self.exchange.disconnected:
            self.failed(ClientGone("the client hung up before its rows were read."))
        return self.exchange.response_complete

    def answered(self, answer: Answer, start: int) -> None:
        """Writes the answer and sends it."""
        served = self.served
        assert served is not None  # noqa: S101 -- rows were submitted for it
        try:
            if answer.numbers > STEP_NUMBERS or answer.rows > MOST_AT_ONCE:
                if self.rows * answer.width > STEP_NUMBERS:
                    self._endpoint.write_in_steps(self, served, answer.cut(start, self.rows))
                    return
                if self.rows < answer.rows:
                    self._endpoint.write_with_batch(self, served, answer, start)
                    return
            payload = self._endpoint.writer(served).write(answer, start, self.rows)
        except Exception as error:
            self.failed(error)
            return
        self.send(served, payload)

    def send(self, served: ServedVersion, payload: Content) -> None:
        """Sends an answer that is written."""
        headers: Iterable[tuple[bytes, bytes]] = ()
        if self.unknown:
            served.metrics.observe_unknown(sum(self.unknown.values()))
            headers = unknown_headers(self.unknown)
        self._end(HTTPStatus.OK, _JSON, payload, headers)

    def failed(self, error: Exception) -> None:
        """Answers with what went wrong."""
        self.rows = 0
        problem = problem_of(error)
        request_id = self.exchange.request_id.decode("latin-1")
        self._log_failure(error, problem, request_id)
        self._end(problem.status, _PROBLEM, problem.body(request_id), problem.raw_headers())

    def _end(self, status: int, content_type: bytes, body: Content, headers: Iterable[tuple[bytes, bytes]]) -> None:
        exchange = self.exchange
        seconds = time.perf_counter() - exchange.started
        if exchange.disconnected:
            status = CLIENT_CLOSED_REQUEST
        if self.entry is not None:
            self.end_body()
        try:
            self._endpoint.count(self.served, int(status), seconds, self.rows)
            if self._endpoint.cors is not None:
                headers = [*headers, *self._endpoint.cors.headers(exchange.headers)]
            exchange.context = None  # the two know each other no longer: nothing is left to the cyclic collector
            exchange.respond(status, content_type, body, headers)
            self._endpoint.log_success(self, int(status), seconds)
        except Exception:  # whoever calls has other requests to tell
            failures.error("answer not sent", request_id=exchange.request_id.decode("latin-1"), exc_info=True)

    def _log_failure(self, error: Exception, problem: Problem, request_id: str) -> None:
        if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, Problem):
            return  # the client's doing, of which a line each would let it fill the disk
        model = str(self.served) if self.served is not None else None
        fields = {"request_id": request_id, "model": model, "status": int(problem.status)}
        if problem.code == "internal":
            failures.error("request failed", kind=type(error).__name__, **fields, exc_info=error)
        else:
            failures.warning("request failed", kind=problem.code, **fields, reason=problem.detail)
