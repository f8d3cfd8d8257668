"""`POST /predict`: JSON rows in, JSON answers out. This is the hot path, so its work is ordered by cost.

What a well-formed request needs is done on bytes and plain Python types: orjson reads the body, `RowEncoder` packs
the rows, and the answers of a whole batch are written to JSON once and cut into its requests' shares. Anything
unusual about a request sends it through the Pydantic model, which either accepts it or says what is wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from service.batcher import Answer, Batcher
from service.catalog import Catalog, ServedVersion
from service.errors import MEDIA_TYPE, ClientGone, DeadlineExceeded, Problem, invalid_request, problem_of, too_large
from service.logs import get_logger
from service.metrics import ApiMetrics
from service.schemas import PredictRequest
from service.settings import Settings

REQUEST_ID_HEADER = b"x-request-id"
TIMEOUT_HEADER = b"x-request-timeout-seconds"

_LENGTH_HEADER = b"content-length"
_MAX_REQUEST_ID = 128
_MAX_VALIDATION_ERRORS = 20

log = get_logger(__name__)


class PredictEndpoint:
    """The endpoint as an ASGI application."""

    def __init__(self, catalog: Catalog, batcher: Batcher, metrics: ApiMetrics, settings: Settings) -> None:
        self._catalog = catalog
        self._batcher = batcher
        self._unrouted = metrics.unrouted
        self._max_body_bytes = settings.max_body_bytes
        self._max_request_rows = settings.max_request_rows
        self._timeout = settings.timeout_seconds
        self._max_timeout = settings.max_timeout_seconds
        self._access_log = settings.access_log
        self._writers: WeakKeyDictionary[ServedVersion, AnswerWriter] = WeakKeyDictionary()
        self._closing = False

    def close_connections(self) -> None:
        """From now on, each answer asks its client to connect anew: the server is about to stop."""
        self._closing = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens."""
        started = time.perf_counter()
        request_id, timeout, length = None, None, 0
        for name, value in scope["headers"]:
            if name == _LENGTH_HEADER:
                length = int(value) if value.isdigit() else 0
            elif name == REQUEST_ID_HEADER:
                request_id = value
            elif name == TIMEOUT_HEADER:
                timeout = value
        request_id = accepted_request_id(request_id)
        served, rows = None, 0
        status, content_type = HTTPStatus.OK, b"application/json"
        extra: Iterable[tuple[bytes, bytes]] = ()
        try:
            seconds = self._timeout if timeout is None else self._parse_timeout(timeout)
            body = await self._read_body(receive, length)
            model, instances = _parse(body)
            served = self._catalog.get(model)
            if served is None:
                served = await self._make_ready(model, seconds)
                seconds -= time.perf_counter() - started
            rows = len(instances)
            if rows > self._max_request_rows:
                raise too_large(f"{rows:,} rows in one request; the limit is {self._max_request_rows:,}.")
            data = served.encoder.encode(instances, may_hold_booleans=b"true" in body or b"false" in body)
            ticket = self._batcher.submit(served, data, rows, seconds, _gone(receive))
            answer, start = await self._batcher.answer(ticket)
            writer = self._writers.get(served)
            if writer is None:
                writer = self._writers[served] = AnswerWriter(served)
            payload = writer.write(answer, start, rows)
        except Exception as error:
            rows = 0
            problem = problem_of(error)
            status, content_type = problem.status, MEDIA_TYPE.encode()
            payload = problem.body(request_id.decode("latin-1"))
            extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
            self._log_failure(error, problem, request_id, served)
        headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(payload)),
            (REQUEST_ID_HEADER, request_id),
            *extra,
        ]
        if self._closing:
            headers.append((b"connection", b"close"))
        (served.metrics if served is not None else self._unrouted).observe_request(
            int(status), time.perf_counter() - started, rows
        )
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": payload})
        if self._access_log:
            log.info(
                "predicted",
                request_id=request_id.decode("latin-1"),
                model=str(served) if served is not None else None,
                status=int(status),
                rows=rows,
                milliseconds=round((time.perf_counter() - started) * 1000, 3),
            )

    async def _make_ready(self, model: str | None, seconds: float) -> ServedVersion:
        """A version that is loaded when it is first asked for; that too is within the deadline."""
        try:
            async with asyncio.timeout(seconds):
                return await self._catalog.find(model)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the model was loaded.") from None

    async def _read_body(self, receive: Receive, length: int) -> bytes:
        if length > self._max_body_bytes:
            raise too_large(f"a body of {length:,} bytes; the limit is {self._max_body_bytes:,}.")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client hung up before its request was complete.")
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False) and len(body) <= self._max_body_bytes:
            return body
        chunks, size = [body], len(body)
        while True:
            if size > self._max_body_bytes:  # it came in chunks, without a length
                raise too_large(f"a body of more than {self._max_body_bytes:,} bytes.")
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("the client hung up before its request was complete.")
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])

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

    def _log_failure(self, error: Exception, problem: Problem, request_id: bytes, served: ServedVersion | None) -> None:
        if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        fields = {
            "request_id": request_id.decode("latin-1"),
            "model": str(served) if served is not None else None,
            "status": int(problem.status),
        }
        if problem.code == "internal":
            log.error("request failed", **fields, exc_info=error)
        else:
            log.warning("request failed", **fields, reason=problem.detail)


class AnswerWriter:
    """Writes one model version's answers as JSON."""

    def __init__(self, served: ServedVersion) -> None:
        self._head = b'{"model":%b,"version":%d,"predictions":[' % (orjson.dumps(served.name), served.version)
        self._labels = None if served.labels is None else [orjson.dumps(label) for label in served.labels]
        if self._labels is not None:
            # One row's answer is `before[class] + probabilities + after[class]`.
            self._before = [self._head + b'%d],"probabilities":[[' % i for i in range(len(self._labels))]
            self._after = [b']],"labels":[%b]}' % label for label in self._labels]

    def write(self, answer: Answer, start: int, rows: int) -> bytes:
        """The body for `rows` rows of the answer, from `start` on."""
        if answer.memo is None:
            answer.memo = self._prepare(answer.matrix)
        texts, classes = answer.memo
        if self._labels is None:
            return self._head + b",".join(texts[start : start + rows]) + b"]}"
        if rows == 1:
            class_ = classes[start]
            return b"".join((self._before[class_], texts[start], self._after[class_]))
        chosen = classes[start : start + rows]
        return b"".join(
            (
                self._head,
                b",".join([b"%d" % class_ for class_ in chosen]),
                b'],"probabilities":[[',
                b"],[".join(texts[start : start + rows]),
                b']],"labels":[',
                b",".join([self._labels[class_] for class_ in chosen]),
                b"]}",
            )
        )

    def _prepare(self, matrix: NDArray[np.float32]) -> tuple[list[bytes], list[int]]:
        """Each row's numbers as JSON text, written for the whole batch at once, and each row's class."""
        if self._labels is None:
            text = orjson.dumps(np.ascontiguousarray(matrix[:, 0]), option=orjson.OPT_SERIALIZE_NUMPY)
            return text[1:-1].split(b","), []
        text = orjson.dumps(np.ascontiguousarray(matrix), option=orjson.OPT_SERIALIZE_NUMPY)
        return text[2:-2].split(b"],["), matrix.argmax(axis=1).tolist()


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
        shell = {**document, "instances": _shell(document.get("instances"))} if type(document) is dict else document
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


def _shell(instances: Any) -> Any:
    return [[]] if isinstance(instances, list) and instances else instances


def _gone(receive: Receive) -> Callable[[], bool]:
    """Tells whether the client has hung up, without the task a request that waiting on `receive` would take.

    uvicorn's cycle object, whose method `receive` is, knows; under another ASGI server the answer is always no.
    """
    cycle: Any = getattr(receive, "__self__", None)
    return (lambda: cycle.disconnected) if hasattr(cycle, "disconnected") else _never


def _never() -> bool:
    return False


_id_prefix = secrets.token_hex(6)
_id_count = itertools.count(1)


def renew_request_ids() -> None:
    """A prefix of this process's own, after a fork."""
    global _id_prefix
    _id_prefix = secrets.token_hex(6)


def accepted_request_id(given: bytes | None) -> bytes:
    """The client's request id where it is one (printable ASCII of at most 128 characters), else a new one."""
    if given and len(given) <= _MAX_REQUEST_ID and given.isascii() and given.decode().isprintable():
        return given
    return b"%s-%x" % (_id_prefix.encode(), next(_id_count))
