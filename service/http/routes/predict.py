"""`POST /predict`: JSON rows in, JSON answers out. This is the hot path, so its work is ordered by cost.

What a well-formed request needs is done on bytes and plain Python types: orjson reads a small body and `RowEncoder`
packs its rows; a large body's numbers go into a buffer as they are (`BulkReader`). Anything unusual about a request
sends it through the Pydantic model, which either accepts it or says what is wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError

from service.batching.batcher import Answer, Batcher
from service.batching.catalog import Catalog, ServedVersion
from service.errors import MEDIA_TYPE, DeadlineExceeded, Problem, invalid_request, problem_of, too_large
from service.http.access import Access, Scope
from service.http.answers import AnswerWriter
from service.http.bulk_json import LARGE_BODY_BYTES, BulkReader, model_first
from service.http.exchange import Exchange
from service.http.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.http.schemas import PredictRequest
from service.logs import get_logger
from service.metrics import ApiMetrics
from service.settings import Settings

TIMEOUT_HEADER = b"x-request-timeout-seconds"

_LENGTH_HEADER = b"content-length"
_AUTHORIZATION_HEADER = b"authorization"
_API_KEY_HEADER = b"x-api-key"
_JSON = b"application/json"
_PROBLEM = MEDIA_TYPE.encode()
_MAX_VALIDATION_ERRORS = 20

log = get_logger(__name__)


class PredictEndpoint:
    """The endpoint behind the HTTP protocol's direct way: exchanges in, answers out."""

    def __init__(
        self, catalog: Catalog, batcher: Batcher, metrics: ApiMetrics, settings: Settings, access: Access | None
    ) -> None:
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
        self._bulk = BulkReader()
        self._loading: set[asyncio.Task[None]] = set()
        self._closing = False

    def close_connections(self) -> None:
        """From now on, each answer asks its client to connect anew: the server is about to stop."""
        self._closing = True

    def begin(self, exchange: Exchange) -> None:
        """Judges a request by its head."""
        request_id, timeout, length, authorization, api_key = None, None, 0, None, None
        for name, value in exchange.headers:
            if name == _LENGTH_HEADER:
                length = int(value) if value.isdigit() else 0
            elif name == REQUEST_ID_HEADER:
                request_id = value
            elif name == TIMEOUT_HEADER:
                timeout = value
            elif name == _AUTHORIZATION_HEADER:
                authorization = value
            elif name == _API_KEY_HEADER:
                api_key = value
        exchange.request_id = accepted_request_id(request_id)
        if self._closing:
            exchange.keep_alive = False
        prediction = exchange.context = Prediction(self, exchange, self._timeout)
        try:
            if self._access is not None:
                self._access.check(authorization, api_key, Scope.PREDICT)
            if timeout is not None:
                prediction.seconds = self._parse_timeout(timeout)
        except Problem as problem:
            prediction.failed(problem)
            return
        if length > self._max_body_bytes:
            exchange.refuse(too_large(f"a body of {length:,} bytes; the limit is {self._max_body_bytes:,}."))

    def handle(self, exchange: Exchange) -> None:
        """Reads a request's body and has its rows predicted."""
        prediction: Prediction = exchange.context
        body = exchange.body
        try:
            if len(body) >= LARGE_BODY_BYTES:
                self._handle_large(prediction, body)
            else:
                self._handle_rows(prediction, body)
        except Exception as error:
            prediction.failed(error)

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        """Answers with a problem of the connection's."""
        exchange.context.failed(problem)

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
            log.info(
                "predicted",
                request_id=prediction.exchange.request_id.decode("latin-1"),
                model=str(prediction.served) if prediction.served is not None else None,
                status=status,
                rows=prediction.rows,
                milliseconds=round(seconds * 1000, 3),
            )

    def _handle_large(self, prediction: Prediction, body: bytes) -> None:
        """A large body: where its model is told first, its queue is asked before the rows are read."""
        named = model_first(body)
        if named is not None and (served := self._catalog.get(named)) is not None:
            prediction.served = served
            self._batcher.admit(served, 1, prediction.seconds)
        found = self._bulk.read(body)
        if found is not None:
            model, numbers = found
            served = self._catalog.get(model)
            if served is not None:
                prediction.served = served
                self._check_rows(len(numbers))
                data = served.encoder.encode_numbers(numbers)
                if data is not None:
                    self._submit(prediction, served, data, len(numbers))
                    return
        self._handle_rows(prediction, body)

    def _handle_rows(self, prediction: Prediction, body: bytes) -> None:
        """Any body, its rows read into Python objects."""
        model, instances = _parse(body)
        served = self._catalog.get(model)
        if served is not None:
            self._submit_rows(prediction, served, instances, body)
        else:
            self._load_first(prediction, model, body, instances)

    def _submit_rows(self, prediction: Prediction, served: ServedVersion, instances: list[Any], body: bytes) -> None:
        prediction.served = served
        self._check_rows(len(instances))
        data = served.encoder.encode(instances, may_hold_booleans=b"true" in body or b"false" in body)
        self._submit(prediction, served, data, len(instances))

    def _submit(self, prediction: Prediction, served: ServedVersion, data: bytes, rows: int) -> None:
        prediction.rows = rows
        self._batcher.submit(served, data, rows, prediction.seconds, prediction)

    def _check_rows(self, rows: int) -> None:
        if rows > self._max_request_rows:
            raise too_large(f"{rows:,} rows in one request; the limit is {self._max_request_rows:,}.")

    def _load_first(self, prediction: Prediction, model: str | None, body: bytes, instances: list[Any]) -> None:
        """A version that is loaded when it is first asked for; that too is within the deadline."""

        async def load() -> None:
            try:
                async with asyncio.timeout(prediction.seconds):
                    served = await self._catalog.find(model)
                prediction.seconds -= time.perf_counter() - prediction.exchange.started
                if prediction.seconds <= 0:
                    raise TimeoutError
                self._submit_rows(prediction, served, instances, body)
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

    __slots__ = ("_endpoint", "exchange", "rows", "seconds", "served")

    def __init__(self, endpoint: PredictEndpoint, exchange: Exchange, seconds: float) -> None:
        self._endpoint = endpoint
        self.exchange = exchange
        self.seconds = seconds
        self.served: ServedVersion | None = None
        self.rows = 0

    @property
    def disconnected(self) -> bool:
        """Whether the client has hung up."""
        return self.exchange.disconnected

    def answered(self, answer: Answer, start: int) -> None:
        """Writes the answer and sends it."""
        served = self.served
        assert served is not None  # noqa: S101 -- rows were submitted for it
        try:
            payload = self._endpoint.writer(served).write(answer, start, self.rows)
        except Exception as error:
            self.failed(error)
            return
        self._end(HTTPStatus.OK, _JSON, payload, ())

    def failed(self, error: Exception) -> None:
        """Answers with what went wrong."""
        self.rows = 0
        problem = problem_of(error)
        request_id = self.exchange.request_id.decode("latin-1")
        self._log_failure(error, problem, request_id)
        self._end(problem.status, _PROBLEM, problem.body(request_id), problem.raw_headers())

    def _end(self, status: int, content_type: bytes, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        exchange = self.exchange
        seconds = time.perf_counter() - exchange.started
        try:
            self._endpoint.count(self.served, int(status), seconds, self.rows)
            exchange.context = None  # the two know each other no longer: nothing is left to the cyclic collector
            exchange.respond(status, content_type, body, headers)
            self._endpoint.log_success(self, int(status), seconds)
        except Exception:  # whoever calls has other requests to tell
            log.exception("answer not sent", request_id=exchange.request_id.decode("latin-1"))

    def _log_failure(self, error: Exception, problem: Problem, request_id: str) -> None:
        if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, Problem):
            return  # the client's doing, of which a line each would let it fill the disk
        model = str(self.served) if self.served is not None else None
        fields = {"request_id": request_id, "model": model, "status": int(problem.status)}
        if problem.code == "internal":
            log.error("request failed", **fields, exc_info=error)
        else:
            log.warning("request failed", **fields, reason=problem.detail)


def _parse(body: bytes) -> tuple[str | None, list[Any]]:
    """The model's id and the rows, whose cells are not looked at yet."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"The body is not JSON: {error}.") from error
    if type(document) is dict:
        instances, model = document.get("instances"), document.get("model")
        known = ("instances" in document) + ("model" in document)
        if known == len(document) and type(instances) is list and instances and (model is None or type(model) is str):
            return model, instances
    try:
        # The rows' cells are the encoder's to judge: here they would only be copied.
        # Nor need all of 100,000 unknown keys be told.
        shell = _shell(document) if type(document) is dict else document
        request = PredictRequest.model_validate(shell)
    except ValidationError as error:
        errors = [
            {"location": ".".join(map(str, fault["loc"])), "message": fault["msg"]}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        first = f"{errors[0]['location']}: {errors[0]['message']}" if errors[0]["location"] else errors[0]["message"]
        raise invalid_request(
            f"The body is not a prediction request: {first}.", errors[:_MAX_VALIDATION_ERRORS]
        ) from error
    return request.model, document["instances"]


def _shell(document: dict[str, Any]) -> dict[str, Any]:
    instances = document.get("instances")
    shell = dict(itertools.islice(document.items(), _MAX_VALIDATION_ERRORS))
    shell["instances"] = [[]] if isinstance(instances, list) and instances else instances
    if "model" in document:
        shell["model"] = document["model"]
    return shell
