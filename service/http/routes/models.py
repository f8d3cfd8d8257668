"""`GET /models`, `GET /models/{id}` and `GET /models/{id}/summary`: the served models and their details.

`POST /models/refresh` reads the store at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from models.alias_target import target_to_json
from models.columns.dates import iso
from models.columns.schema import CategoricalColumn, Column, DateColumn
from models.store_entry import StoreEntry
from service.access import Access, Scope
from service.batching.catalog import Catalog, ServedModel
from service.batching.served_version import ServedVersion
from service.batching.shadow import Shadow
from service.http.json_pieces import Members, write_in_steps
from service.http.openapi import Responses, problems
from service.http.routes.guard import Guard
from service.http.schemas import ModelDetail, ModelList, SummaryResponse
from service.logs import LimitedLog, get_logger
from service.model_figures import time_text
from service.shadow_report import Counts, ShadowReport, shadow_documents
from service.step_queue import StepQueue
from service.stream.held_list import HeldLists

NOT_FOUND = problems({404: "No such model, version or alias.", 503: "It is there, and cannot be loaded."})
_FIRST = {"id": "$response.body#/models/0/name"}
_LIST_LINKS: Responses = {
    200: {
        "links": {
            "model": {"operationId": "show_model", "parameters": _FIRST},
            "summary": {"operationId": "show_summary", "parameters": _FIRST},
        }
    }
}
_MODEL_LINKS: Responses = {
    200: {"links": {"example": {"operationId": "predict", "requestBody": "$response.body#/example"}}}
}
_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


_ENTRY_BYTES, _COLUMN_BYTES = 300, 150  # estimated bytes of an answer, for its order among other work in steps

refreshes = LimitedLog(get_logger(__name__))


def models_router(
    catalog: Catalog, steps: StepQueue, shadows: ShadowReport, held_lists: HeldLists, access: Access | None = None
) -> APIRouter:
    """Returns the routes of the models.

    Args:
        catalog: model versions that are served.
        steps: queue for writing long answers in steps; the answer for a wide model has megabytes.
        shadows: reader of the counts of shadows.
        held_lists: lists of what the workers hold in memory.
        access: API keys; None lets everybody in.
    """
    read, manage = Guard(access, Scope.READ), Guard(access, Scope.MANAGE)
    models = APIRouter(tags=["models"])
    router = APIRouter(prefix="/models", dependencies=read.dependencies, responses=read.responses)

    @router.get("", summary="Models that are served", response_model=ModelList, responses=_LIST_LINKS)
    async def list_models() -> Response:
        counts, held = await shadows.read(catalog.entries()), await asyncio.to_thread(held_lists.read)
        entries = (_entry(model, catalog.routes.shadows(model.entry.name), counts, held) for model in catalog.models())
        document = {"models": entries, "default": catalog.default_model, "problems": catalog.problems}
        return _json(await write_in_steps(steps, document, _ENTRY_BYTES * catalog.names))

    @models.post(
        "/models/refresh",
        summary="Take in the store now",
        response_model=ModelList,
        dependencies=manage.dependencies,
        responses=manage.responses | _LIST_LINKS,
    )
    async def refresh_models(request: Request) -> Response:
        await catalog.refresh(fresh=True)
        refreshes.info("the store was taken in", key=getattr(request.state, "key", None))
        return await list_models()

    @router.get("/{id}", summary="One model version", response_model=ModelDetail, responses=NOT_FOUND | _MODEL_LINKS)
    async def show_model(id: str) -> Response:  # noqa: A002 -- the path's own word
        served = await catalog.find(id)
        size = _COLUMN_BYTES * len(served.schema.columns)
        counts = await shadows.read([catalog.entry(served.name)])
        return _json(await write_in_steps(steps, _detail(served, catalog, counts), size))

    @router.get(
        "/{id}/summary",
        summary="Layers and parameter counts",
        response_model=SummaryResponse,
        responses=NOT_FOUND | problems({422: "There is no such `format`."}),
    )
    async def show_summary(
        request: Request,
        id: str,  # noqa: A002
        # Not in the OpenAPI document, where an operation has one type: generated clients read JSON here, text below.
        format: Annotated[Literal["json", "text", "mermaid"] | None, Query(include_in_schema=False)] = None,  # noqa: A002
    ) -> Response | SummaryResponse:
        served = await catalog.find(id)
        form = format or ("text" if prefers_text(",".join(request.headers.getlist("accept"))) else "json")
        if form == "text":
            return _text_table(served)
        if form == "mermaid":
            return _diagram(served)
        document = {k: v for k, v in served.summary.to_dict().items() if k != "title"}
        return SummaryResponse(model=served.name, version=served.version, **document)

    @router.get(
        "/{id}/summary/text",
        summary="Layers and parameter counts as an aligned table",
        response_class=PlainTextResponse,
        responses=NOT_FOUND | _TEXT,
    )
    async def show_summary_as_text(id: str) -> Response:  # noqa: A002
        return _text_table(await catalog.find(id))

    @router.get(
        "/{id}/summary/mermaid",
        summary="Layers as a Mermaid diagram",
        response_class=PlainTextResponse,
        responses=NOT_FOUND | _TEXT,
    )
    async def show_summary_as_mermaid(id: str) -> Response:  # noqa: A002
        return _diagram(await catalog.find(id))

    models.include_router(router)
    return models


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _text_table(served: ServedVersion) -> Response:
    return PlainTextResponse(f"{served}\n{served.summary.to_text()}\n")


def _diagram(served: ServedVersion) -> Response:
    return PlainTextResponse(f"{served.summary.to_mermaid()}\n")


def _entry(
    model: ServedModel, shadows: Mapping[str, Shadow], counts: Counts, held: Mapping[str, list[int]]
) -> dict[str, Any]:
    """Returns the members of a `ModelEntry`."""
    served = model.served
    return {
        "name": served.name,
        "version": served.version,
        "versions": model.entry.versions,
        "aliases": _aliases(model.entry),
        "shadows": shadow_documents(model.entry, shadows, counts),
        "in_memory": held.get(served.name, []),
        "task": served.task,
        "targets": served.listed_targets,
        "columns": served.columns,
        "total_params": served.total_params,
        "published": time_text(served.identity.modified_ns),
        "metrics": served.test_metrics,
    }


def _aliases(entry: StoreEntry) -> dict[str, Any]:
    """Returns the target of each alias: a version, or the weights of a split."""
    return {alias: target_to_json(target) for alias, target in entry.aliases.items()}


def _detail(served: ServedVersion, catalog: Catalog, counts: Counts) -> dict[str, Any]:
    """Returns the members of a `ModelDetail`. Members that grow with the columns are made during the writing."""
    entry = catalog.entry(served.name)
    header = served.header
    return {
        "name": served.name,
        "version": served.version,
        "versions": entry.versions,
        "aliases": _aliases(entry),
        "shadows": shadow_documents(entry, catalog.routes.shadows(served.name), counts),
        "task": served.config.task,
        "classes": served.labels,
        "targets": served.targets,
        "columns": served.schema.plain_columns(),
        "target": served.schema.plain_target(),
        "architecture": served.config.to_dict(),
        "total_params": served.summary.total_params,
        "trainable_params": served.summary.trainable_params,
        "training": header.get("training", {}),
        "metrics": header.get("metrics", {}),
        "data": {name: value for name, value in header.get("data", {}).items() if name != "background"},
        "intervals": None if served.conformal is None else served.conformal.support(),
        "batch_invariant": served.batch_invariant,
        "digest": served.digest,
        "published": time_text(served.identity.modified_ns),
        "example": example_request(served, _shortest_id(served, catalog)),
    }


def _shortest_id(served: ServedVersion, catalog: Catalog) -> str:
    """Returns the name of the model if the name means this version, else `name@version`."""
    named = catalog.get(served.name)
    return served.name if named is not None and named.version == served.version else str(served)


def example_request(served: ServedVersion, model: str) -> dict[str, Any]:
    """Returns an example `PredictRequest` for a version: a row of the training table, or of column statistics.

    Args:
        served: model version that the example is for.
        model: id of the version in the request.
    """
    kept = served.header.get("data", {}).get("examples")
    row: Mapping[str, Any] | Members
    if isinstance(kept, list) and kept and isinstance(kept[0], dict):
        row = kept[0]
    else:
        row = Members((column.name, _example_cell(column)) for column in served.schema.columns)
    return {"model": model, "instances": [row]}


def _example_cell(column: Column) -> str | float:
    if isinstance(column, CategoricalColumn):
        return column.categories[0]
    return iso(column.mean) if isinstance(column, DateColumn) else round(column.mean, 4)


def prefers_text(accept: str) -> bool:
    """Returns True if an Accept header prefers plain text to JSON."""
    for part in accept.split(","):
        media_type = part.partition(";")[0].strip().lower()
        if media_type in ("application/json", "application/*", "*/*"):
            return False
        if media_type in ("text/plain", "text/*"):
            return True
    return False
