"""`GET /models/{id}/drift`: how far what is served has moved from what the model was trained on."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from models.distributions.evaluation import Evaluation
from service.access import Access, Scope
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.drift.document import (
    NO_DISTRIBUTIONS,
    NO_LAST,
    NO_ROWS,
    OFF,
    drift_document,
    drift_text,
    unavailable,
    windows_of,
)
from service.drift.monitor import DriftMonitor
from service.drift.version_drift import VersionDrift
from service.http.drift_schemas import DriftResponse
from service.http.json_pieces import write_in_steps
from service.http.openapi import problems
from service.http.routes.guard import Guard
from service.http.routes.models import NOT_FOUND, prefers_text
from service.step_queue import StepQueue
from service.time_slices import TimeSlices

_VARIABLE_BYTES = 1_000  # estimated bytes of an answer for each column
_T = TypeVar("_T")


def drift_router(catalog: Catalog, drift: DriftMonitor, steps: StepQueue, access: Access | None = None) -> APIRouter:
    """Returns the route of drift.

    Args:
        catalog: model versions that are served.
        drift: monitor of the process.
        steps: queue for writing long answers in steps.
        access: API keys; None lets everybody in.
    """
    guard = Guard(access, Scope.READ)
    router = APIRouter(prefix="/models", tags=["models"], dependencies=guard.dependencies, responses=guard.responses)

    @router.get(
        "/{id}/drift",
        summary="Drift from the training data",
        response_model=DriftResponse,
        responses=NOT_FOUND | problems({422: "There is no such `window` or `format`."}),
    )
    async def show_drift(
        request: Request,
        id: str,  # noqa: A002 -- the path's own word
        window: Annotated[
            Literal["current", "last"] | None,
            Query(description="Window to describe; the last complete one, if there is one, unless said otherwise."),
        ] = None,
        format: Annotated[Literal["json", "text"] | None, Query(include_in_schema=False)] = None,  # noqa: A002
    ) -> Response:
        served = await catalog.find(id)
        form = format or ("text" if prefers_text(",".join(request.headers.getlist("accept"))) else "json")
        state = drift.of(served)
        evaluations = {} if state is None else await _evaluations(drift, state)
        described = window or ("last" if "last" in evaluations else "current")
        if state is None or described not in evaluations:
            document = _without_evaluation(served, drift, described) | windows_of(evaluations)
            if form == "text":
                return PlainTextResponse(f"{served}: {document['verdict'].replace('_', ' ')}\n{document['reason']}\n")
            return _json(await write_in_steps(steps, document, _VARIABLE_BYTES))
        if form == "text":
            lines = drift_text(served, evaluations[described], described)
            return PlainTextResponse("".join(f"{line}\n" for line in lines))
        document = drift_document(served, state.distributions.rows, described, evaluations)
        return _json(await write_in_steps(steps, document, _VARIABLE_BYTES * len(state.distributions.columns)))

    return router


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _without_evaluation(served: ServedVersion, drift: DriftMonitor, window: str) -> dict[str, Any]:
    """Returns the document of a version whose window has no rows, or that has no distributions."""
    if not drift.is_on:
        return unavailable(served, "unavailable", OFF)
    if served.distributions is None:
        return unavailable(served, "unavailable", NO_DISTRIBUTIONS)
    return unavailable(served, "too_few_rows", NO_ROWS if window == "current" else NO_LAST)


async def _evaluations(drift: DriftMonitor, state: VersionDrift) -> dict[str, Evaluation]:
    """Returns the evaluations of the windows that have rows, by `current` and `last`."""
    evaluations: dict[str, Evaluation] = {}
    if not await drift.prepare(state):
        return evaluations
    for window in await _in_slices(drift.windows(state)):
        which = "last" if drift.is_complete(state, window) else "current"
        evaluations[which] = await _in_slices(drift.evaluation(state, window))
    return evaluations


async def _in_slices(steps: Generator[None, None, _T]) -> _T:
    """Returns the result of some work, with pauses for other work."""
    slices = TimeSlices()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        await slices.pause()
