"""`GET /studies`, `GET /studies/{id}` and `GET /studies/{id}/plot`: the results of studies, which lie in the store.

The routes read the files for each request: they are few, small and seldom asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from fastapi import APIRouter, Response

from models.errors import DataError, StoreError
from models.study_record import StudyRecord, read_plot, read_studies, read_study
from service.access import Access, Scope
from service.batching.store_reader import StoreReader
from service.http.openapi import problems
from service.http.problems import Problem
from service.http.routes.guard import Guard
from service.http.study_schemas import StudyDetail, StudyEntry, StudyList

_MOST_SECONDS = 10.0  # after which a client is told that the disk does not answer

# A plot is an image. A browser that opens the image as a page must run no script of it, and load nothing for it; the
# styles of an SVG are attributes.
_PLOT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
_PLOT_TYPES = {"svg": "image/svg+xml", "png": "image/png"}

_T = TypeVar("_T")


def studies_router(root: Path | None, access: Access | None = None) -> APIRouter:
    """Returns the routes of studies.

    Args:
        root: folder of the store; None for a store in a bucket, which has no studies.
        access: API keys; None lets everybody in.
    """
    guard = Guard(access, Scope.READ)
    router = APIRouter(prefix="/studies", tags=["studies"], dependencies=guard.dependencies, responses=guard.responses)
    reader = StoreReader()

    async def read(call: Callable[[], _T]) -> _T:
        """Returns the result of a call that reads the store."""
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                return await reader.run(call)
        except TimeoutError:
            raise _unavailable(f"the store did not answer within {_MOST_SECONDS:g} s.") from None
        except (DataError, StoreError) as error:
            raise _unavailable(str(error)) from None

    async def find(name: str) -> StudyRecord:
        """Returns the record of a study; raises a 404 if there is none."""
        record = None if root is None else await read(lambda: read_study(root, name))
        if record is None:
            raise Problem(HTTPStatus.NOT_FOUND, "not-found", f"There is no result of a study {name[:64]!r}.")
        return record

    @router.get("", summary="Studies that were run")
    async def list_studies() -> StudyList:
        if root is None:
            return StudyList(studies=[], problems={})
        records, faults = await read(lambda: read_studies(root))
        return StudyList(studies=[StudyEntry.model_validate(asdict(record)) for record in records], problems=faults)

    @router.get(
        "/{id}",
        summary="The result of one study",
        responses=problems({404: "No such study was run.", 503: "Its files cannot be read."}),
    )
    async def show_study(id: str) -> StudyDetail:  # noqa: A002 -- the path's own word, as in the routes of models
        return StudyDetail.model_validate(asdict(await find(id)))

    # Not in the OpenAPI document: generated clients read no images.
    @router.get("/{id}/plot", include_in_schema=False)
    async def show_plot(id: str) -> Response:  # noqa: A002
        record = await find(id)
        plot = None if root is None else await read(lambda: read_plot(root, record))
        if plot is None:
            raise Problem(HTTPStatus.NOT_FOUND, "not-found", f"The study {record.name!r} has no plot.")
        headers = {"Content-Security-Policy": _PLOT_POLICY, "Cross-Origin-Resource-Policy": "same-origin"}
        return Response(plot, headers=headers, media_type=_PLOT_TYPES[record.plot])

    return router


def _unavailable(reason: str) -> Problem:
    detail = f"The results of studies cannot be read: {reason}"
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers={"Retry-After": "1"})
