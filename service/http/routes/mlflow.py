"""The routes of MLflow's scoring protocol beside `/invocations`: probes and the version."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from importlib.metadata import version

from fastapi import APIRouter, Response

from service.access import Access, Scope
from service.http.problems import Problem
from service.http.routes.guard import Guard
from service.http.routes.predict import INVOCATIONS_PATH


def mlflow_router(not_ready: Callable[[], str | None], access: Access | None = None) -> APIRouter:
    """Returns the routes.

    Args:
        not_ready: function that returns the reason why predictions would not be answered now, None if the process is
            ready.
        access: API keys; None lets everybody in.
    """
    # The protocol has a specification of its own, so that the OpenAPI document leaves these routes out.
    router = APIRouter(include_in_schema=False)

    @router.get("/ping")
    @router.get("/health")
    async def ping() -> Response:
        reason = not_ready()
        if reason is not None:
            detail = f"{reason[:1].upper()}{reason[1:]}"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers={"Retry-After": "1"})
        return Response(b"\n", media_type="application/json")  # as MLflow's server answers

    @router.get("/version", dependencies=Guard(access, Scope.READ).dependencies)
    async def show_version() -> Response:
        return Response(version("axon"), media_type="text/plain")

    @router.post(INVOCATIONS_PATH)
    async def invocations() -> Response:
        # Answered without ASGI; registered for the answers to other HTTP methods.
        raise Problem(HTTPStatus.NOT_FOUND, "not-found", "Not Found")

    return router
