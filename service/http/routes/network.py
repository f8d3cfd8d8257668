"""`GET /models/{id}/network` and `GET /models/{id}/training`: the inside of a model version, and its training."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.access import Scope
from service.api_process import ApiProcess
from service.http.document_thread import DocumentThread
from service.http.network_document import network_document
from service.http.network_schemas import NetworkResponse, TrainingResponse
from service.http.routes.guard import Guard
from service.http.routes.models import NOT_FOUND
from service.http.training_document import training_document


def network_router(process: ApiProcess) -> APIRouter:
    """Returns the routes of networks and their training.

    Args:
        process: started API process.
    """
    catalog, thread = process.catalog, DocumentThread()
    guard = Guard(process.access, Scope.READ)
    router = APIRouter(prefix="/models", tags=["models"], dependencies=guard.dependencies, responses=guard.responses)

    @router.get(
        "/{id}/network",
        summary="Layers, statistics of the weights, and the weights of a small network",
        response_model=NetworkResponse,
        responses=NOT_FOUND,
    )
    async def show_network(id: str) -> Response:  # noqa: A002 -- the path's own word
        served = await catalog.find(id)
        paths = process.checkpoint_paths(served)
        return _json(await thread.kept(served.key, f"{served}", lambda: network_document(served, paths)))

    @router.get(
        "/{id}/training",
        summary="Distributions of the columns, learning curve, metrics and model card",
        response_model=TrainingResponse,
        responses=NOT_FOUND,
    )
    async def show_training(id: str) -> Response:  # noqa: A002
        served = await catalog.find(id)
        return _json(await thread.make(f"{served}", lambda: training_document(served)))

    return router


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
