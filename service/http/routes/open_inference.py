"""The routes of the Open Inference Protocol beside `infer`: health, metadata, statistics and the model repository."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from models.errors import ModelNotFound
from service.access import Scope
from service.api_process import ApiProcess
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.errors import InvalidRequest
from service.http.json_pieces import write_in_steps
from service.http.problems import Problem
from service.http.routes.guard import Guard
from service.http.wire.open_inference_format import infer_problem
from service.open_inference.description import model_config, model_metadata, server_metadata
from service.open_inference.readiness import readiness
from service.open_inference.statistics import Statistics

_COLUMN_BYTES, _ENTRY_BYTES = 60, 60  # estimated bytes of an answer, for its order among other work in steps

_MODEL_PATHS = ("/models/{model}", "/models/{model}/versions/{version}")


async def _read_parameters(request: Request) -> dict[str, Any]:
    """Returns the body of a request of the model repository, whose clients name no content type.

    Raises:
        Problem: the body is not a JSON object.
    """
    body = await request.body()
    try:
        document = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise _invalid(f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise _invalid("The body has to be a JSON object.")
    return document


Parameters = Annotated[dict[str, Any], Depends(_read_parameters)]


def open_inference_router(process: ApiProcess, most_rows: int) -> APIRouter:
    """Returns the routes.

    Args:
        process: API process.
        most_rows: number of rows that a request may have.
    """
    catalog, steps = process.catalog, process.steps
    read, manage = Guard(process.access, Scope.READ), Guard(process.access, Scope.MANAGE)
    statistics = Statistics(process.metrics)
    # The protocol has a specification of its own, so that the OpenAPI document leaves these routes out.
    router = APIRouter(include_in_schema=False)
    guarded = APIRouter(prefix="/v2", dependencies=read.dependencies)
    managing = APIRouter(prefix="/v2/repository/models", dependencies=manage.dependencies)

    @router.get("/v2/health/live", summary="Is the server up?")
    async def v2_live() -> Response:
        return _json({"live": True})

    @router.get("/v2/health/ready", summary="Will predictions be answered?")
    async def v2_ready() -> Response:
        is_ready = process.not_ready() is None
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    @guarded.get("/", include_in_schema=False)
    @guarded.get("", summary="The server and its extensions")
    async def v2_server() -> Response:
        return _json(server_metadata())

    @guarded.get("/models", summary="Names of the served models")
    async def v2_models() -> Response:
        return _json({"models": [model.served.name for model in catalog.models()]})

    async def metadata(model: str, version: str | None = None) -> Response:
        served = await find(catalog, model, version)
        document = model_metadata(served, catalog.entry(served.name).versions)
        return await _written(document, _COLUMN_BYTES * len(served.schema.columns))

    async def ready(model: str, version: str | None = None) -> Response:
        found = readiness(catalog, reference(model, version))
        return _json({"name": model, "ready": found is True}, 404 if found is None else 200 if found else 503)

    async def config(model: str, version: str | None = None) -> Response:
        served = await find(catalog, model, version)
        return await _written(model_config(served, most_rows), _COLUMN_BYTES * len(served.schema.columns))

    async def stats(model: str, version: str | None = None) -> Response:
        served = await find(catalog, model, version)
        return _json({"model_stats": await statistics.read([(served.name, str(served.version))])})

    @guarded.get("/models/stats", summary="Statistics of all ready versions")
    async def v2_all_stats() -> Response:
        versions = [(served.name, str(served.version)) for served in catalog.ready_versions()]
        return await _written({"model_stats": await statistics.read(versions)}, 10 * _ENTRY_BYTES * len(versions))

    for end, summary, answer in (
        ("", "Inputs and outputs of a model", metadata),
        ("/ready", "Is the model ready?", ready),
        ("/config", "The model's configuration in Triton's form", config),
        ("/stats", "Statistics of a model", stats),
    ):
        for path in _MODEL_PATHS:
            guarded.add_api_route(f"{path}{end}", answer, name=f"{path}{end}", summary=summary, methods=["GET"])

    async def infer() -> Response:
        raise ModelNotFound("there is no such path: a name of a model has no line end.")

    for path in _MODEL_PATHS:  # answered without ASGI; registered for the answers to other methods
        guarded.add_api_route(f"{path}/infer", infer, name=f"{path}/infer", methods=["POST"])

    async def _written(document: dict[str, Any], size: int) -> Response:
        return Response(await write_in_steps(steps, document, size), media_type="application/json")

    @guarded.post("/repository/index", summary="All versions that are served, and whether they are ready")
    async def v2_index(body: Parameters) -> Response:
        only_ready = _is_true(body, "ready")
        entries = catalog.entries()
        document = [
            {"name": entry.name, "version": str(version), "state": "READY" if is_ready else "UNAVAILABLE", "reason": ""}
            for entry in entries
            for version in entry.versions
            if (is_ready := catalog.is_ready(entry.name, version)) or not only_ready
        ]
        return Response(
            await write_in_steps(steps, document, _ENTRY_BYTES * len(document)), media_type="application/json"
        )

    @managing.post("/{model}/load", summary="Take in the store, and load a model")
    async def v2_load(model: str, body: Parameters) -> Response:
        _refuse_files(body)
        await process.loading.load(model)
        return _json({})

    @managing.post("/{model}/unload", summary="Serve a model no more, until it is loaded")
    async def v2_unload(model: str, body: Parameters) -> Response:
        await process.loading.unload(model)
        return _json({})

    router.include_router(guarded)
    router.include_router(managing)
    return router


def reference(model: str, version: str | None) -> str:
    """Returns the reference of a model and perhaps a version of a path."""
    return model if version is None else f"{model}@{version}"


async def find(catalog: Catalog, model: str, version: str | None) -> ServedVersion:
    """Finds the model version of a path, and loads the version if necessary.

    Raises:
        ModelNotFound: no such model, version or alias.
        ModelUnavailable: the version cannot be loaded.
    """
    return await catalog.find(reference(model, version))


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _invalid(message: str) -> Problem:
    """Returns the error of a request that is not valid, with the protocol's status."""
    return infer_problem(InvalidRequest(message))


def _is_true(body: dict[str, Any], name: str) -> bool:
    return body.get(name) is True


def _refuse_files(body: dict[str, Any]) -> None:
    """Refuses a model's configuration or files in a request: models come from the store alone.

    Raises:
        Problem: the request has such a parameter.
    """
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _invalid("parameters has to be an object.")
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise _invalid(f"The parameter {name[:60]!r} is not supported: models come from the store alone.")
