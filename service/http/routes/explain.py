"""`POST /models/{id}/explain`: how much each column of a row contributes to the model's answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from numpy.typing import NDArray
from pydantic import ValidationError

from models.columns.encoding import MAX_FAULTS, RowEncoder
from models.errors import ConfigError, Fault, RowError
from models.explaining.background import MOST_BACKGROUND_ROWS, Background
from models.explaining.document import Explanation, cells_of, explanation_document, explanations_text
from models.explaining.explained_output import checked_label
from service.access import Scope
from service.api_process import ApiProcess
from service.batching.served_version import ServedVersion
from service.batching.version_choice import STICKY_HEADER
from service.errors import ClientGone, DeadlineExceeded, InvalidRequest, TooLarge
from service.explaining import Explainer, Question
from service.http.explain_schemas import ExplainRequest, ExplainResponse
from service.http.json_pieces import write_in_steps
from service.http.openapi import problems
from service.http.problems import problem_of
from service.http.routes.guard import Guard
from service.http.routes.models import prefers_text
from service.http.timeout_header import TIMEOUT_HEADER, seconds_in
from service.http.wire.small_json import parse_small
from service.logs import get_logger
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.time_slices import TimeSlices
from service.unknown_headers import unknown_headers

MOST_BODY_BYTES = 256 * 1024  # parsed in one step of about a millisecond
_REASON_BYTES = 70  # estimated bytes of an answer for each column

_MAX_ERRORS = 20

log = get_logger(__name__)


_PROBLEMS = problems(
    {
        404: "No such model, version or alias.",
        413: "Too many bytes, rows or combinations of columns.",
        422: "A row or the body is wrong; `errors` says where.",
        429: "The model's queue is full, or too many explanations wait.",
        500: "The model failed on these rows.",
        503: "The model cannot be loaded.",
        504: "The deadline passed.",
    }
)
_EXAMPLE = {
    "iris": {"summary": "Why this row gets its label", "value": {"instances": [[5.1, 3.5, 1.4, 0.2]]}},
}
_PARAMETERS = [
    {
        "name": "X-Request-Timeout-Seconds",
        "in": "header",
        "description": "The deadline; the server has a longest one.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Axon-Sticky",
        "in": "header",
        "description": "Chooses the version of a split alias that answers `/predict` with this value.",
        "schema": {"type": "string"},
    },
]


def explain_router(process: ApiProcess) -> APIRouter:
    """Returns the route of explanations.

    Args:
        process: API process.
    """
    guard = Guard(process.access, Scope.PREDICT)
    router = APIRouter(tags=["predict"], dependencies=guard.dependencies, responses=guard.responses)
    explainer = Explainer(process.batcher, max_queue_rows=process.settings.max_queue_rows)
    schema = ExplainRequest.model_json_schema()

    @router.post(
        "/models/{id}/explain",
        summary="Explain rows by their columns",
        response_model=ExplainResponse,
        responses=_PROBLEMS,
        openapi_extra={
            "parameters": _PARAMETERS,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "examples": _EXAMPLE}},
            },
        },
    )
    async def explain(request: Request, id: str) -> Response:  # noqa: A002 -- the path's own word
        return await _Call(process, explainer, request, id).answer()

    return router


class _Call:
    """One request for explanations.

    Args:
        process: API process.
        explainer: explainer of the process.
        request: HTTP request for explanations.
        reference: reference of the model.
    """

    def __init__(self, process: ApiProcess, explainer: Explainer, request: Request, reference: str) -> None:
        self._process = process
        self._explainer = explainer
        self._request = request
        self._reference = reference
        self._served: ServedVersion | None = None
        self._rows = 0
        self._began = time.perf_counter()
        given = "\n".join(request.headers.getlist(REQUEST_ID_HEADER.decode()))
        self._request_id = accepted_request_id(given.encode("latin-1")).decode()

    async def answer(self) -> Response:
        """Returns the answer; counts and logs the request."""
        status = 200
        try:
            return await self._within_deadline()
        except Exception as error:
            status = int(problem_of(error).status)
            raise
        finally:
            self._end(status)

    async def _within_deadline(self) -> Response:
        """Explains the rows until the deadline passes or the client hangs up."""
        admission = self._process.admission
        timeout = self._request.headers.get(TIMEOUT_HEADER.decode())
        seconds = admission.default_seconds if timeout is None else seconds_in(timeout.encode("latin-1"))
        seconds = min(seconds, admission.max_seconds)
        body = await self._request.body()
        work = asyncio.ensure_future(self._explained(body, asyncio.get_running_loop().time() + seconds))
        gone = asyncio.ensure_future(self._until_gone())
        try:
            done, _ = await asyncio.wait((work, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                return work.result()
            if gone in done:
                raise ClientGone("the client hung up before its rows were explained.")
            raise DeadlineExceeded("the deadline passed before the rows were explained.")
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _until_gone(self) -> None:
        """Returns once the client has hung up."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _explained(self, body: bytes, deadline: float) -> Response:
        """Reads the body, and explains its rows."""
        served = self._served = await self._find()
        asked, instances, background = _read(body, self._request.headers.get("content-encoding"))
        most = self._process.admission.max_rows
        if len(instances) > most:
            raise TooLarge(f"more than {most:,} rows in one request.")
        try:
            checked_label(served.schema, served.config.has_probabilities, asked.output, asked.scale)
        except ConfigError as error:
            raise InvalidRequest(str(error)) from None
        encoder = served.encoder
        rows, unknown = await _encoded(encoder, instances)
        if background is None:
            compared = self._explainer.background_of(served)
        else:
            compared = Background("request", await _encoded_background(encoder, background))
        question = Question(
            served=served,
            rows=rows,
            background=compared,
            output=asked.output,
            logit=asked.scale == "logit",
            kind=asked.kind,
            samples=asked.samples,
            deadline=deadline,
        )
        try:
            explanations = await self._explainer.explain(question)
        except ConfigError as error:
            raise InvalidRequest(str(error)) from None
        self._rows = len(rows)
        return await self._written(served, instances, compared, explanations, unknown)

    async def _find(self) -> ServedVersion:
        """Returns the version that answers this client's predictions, or the lead version without a sticky value."""
        catalog = self._process.catalog
        sticky = self._request.headers.get(STICKY_HEADER.decode(), "").encode("latin-1")
        return await (catalog.find_of_client(self._reference, sticky) if sticky else catalog.find(self._reference))

    async def _written(
        self,
        served: ServedVersion,
        instances: Sequence[Any],
        background: Background,
        explanations: Sequence[Explanation],
        unknown: Mapping[str, int],
    ) -> Response:
        """Writes the answer."""
        names = served.encoder.find_name
        given = zip(instances, explanations, strict=True)
        document = {
            "model": served.name,
            "version": served.version,
            "scale": explanations[0].output.scale,
            "background": background.source,
            "explanations": (
                explanation_document(served.schema, cells_of(served.schema, row, names), explanation, iter)
                for row, explanation in given
            ),
        }
        headers = {REQUEST_ID_HEADER.decode(): self._request_id}
        if unknown:
            headers |= {name.decode(): value.decode() for name, value in unknown_headers(unknown)}
        if prefers_text(",".join(self._request.headers.getlist("accept"))):
            return PlainTextResponse("".join(f"{line}\n" for line in explanations_text(document)), headers=headers)
        size = _REASON_BYTES * len(served.schema.columns) * len(explanations)
        body = await write_in_steps(self._process.steps, document, size)
        return Response(body, media_type="application/json", headers=headers)

    def _end(self, status: int) -> None:
        """Counts the request, and writes the access log."""
        served = self._served
        labels = ("", "") if served is None else (served.name, str(served.version))
        self._process.metrics.explanations.count(labels, status, self._rows)
        if self._process.admission.logs_requests:
            log.info(
                "explained",
                request_id=self._request_id,
                model=None if served is None else str(served),
                status=status,
                rows=self._rows,
                milliseconds=round((time.perf_counter() - self._began) * 1000, 3),
            )


def _read(body: bytes, coding: str | None) -> tuple[ExplainRequest, list[Any], list[Any] | None]:
    """Reads a body: the request without its rows, which the encoder checks, the rows, and the background rows.

    Raises:
        TooLarge: the body is too large to be parsed in one step.
        InvalidRequest: the body is not such a request.
    """
    if len(body) > MOST_BODY_BYTES:
        raise TooLarge(f"a body of {len(body):,} bytes; explanations take up to {MOST_BODY_BYTES:,}: send fewer rows.")
    if coding is not None and coding.lower() != "identity":
        raise InvalidRequest(f"the body has Content-Encoding {coding[:40]!r}: explanations take a body without one.")
    document = parse_small(body)
    shell = document
    if type(document) is dict:
        shell = dict(itertools.islice(document.items(), _MAX_ERRORS))
        shell |= {name: document[name] for name in ExplainRequest.model_fields if name in document}
        for name in ("instances", "background"):
            rows = document.get(name)
            if isinstance(rows, list) and rows:
                shell[name] = [[]] * min(len(rows), MOST_BACKGROUND_ROWS + 1)
    try:
        asked = ExplainRequest.model_validate(shell)
    except ValidationError as error:
        faults = [
            {"location": ".".join(map(str, fault["loc"])), "message": fault["msg"]}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        first = f"{faults[0]['location']}: {faults[0]['message']}" if faults[0]["location"] else faults[0]["message"]
        raise InvalidRequest(f"The body is not a request for explanations: {first}.", faults[:_MAX_ERRORS]) from None
    return asked, document["instances"], document.get("background")


async def _encoded(encoder: RowEncoder, rows: Sequence[Any]) -> tuple[NDArray[np.float32], dict[str, int]]:
    """Encodes rows one by one, in slices of time.

    Returns:
        `(rows, width)` float32, and the number of cells with unknown categories by column.

    Raises:
        RowError: some cells are not valid.
    """
    encoded, faults = np.empty((len(rows), encoder.width), dtype=np.float32), list[Fault]()
    unknown: dict[str, int] = {}
    slices = TimeSlices()
    for number, row in enumerate(rows):
        await slices.pause()
        try:
            encoded[number] = encoder.encode_matrix([row])[0]
        except RowError as error:
            faults += [Fault(number, fault.column, fault.message) for fault in error.faults]
            if len(faults) >= MAX_FAULTS:
                break
        for column, cells in encoder.unknown.take().items():
            unknown[column] = unknown.get(column, 0) + cells
    if faults:
        raise RowError(faults[:MAX_FAULTS])
    return encoded, unknown


async def _encoded_background(encoder: RowEncoder, rows: Sequence[Any]) -> NDArray[np.float32]:
    """Encodes the background rows of a request, `(background rows, width)`.

    Raises:
        InvalidRequest: some cells are not valid.
    """
    try:
        return (await _encoded(encoder, rows))[0]
    except RowError as error:
        faults = [
            {
                "location": f"background.{fault.row}" + ("" if fault.column is None else f".{fault.column}"),
                "message": fault.message,
            }
            for fault in error.faults
        ]
        raise InvalidRequest(f"background: {error}.", faults) from None
