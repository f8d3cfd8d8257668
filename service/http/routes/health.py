"""Health probes: `/health/live` reports a running process, `/health/ready` a process that answers predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response

from service.http.schemas import Health

_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "Not ready; `reason` says why."}}


def health_router(not_ready: Callable[[], str | None]) -> APIRouter:
    """Returns the routes of the health probes.

    Args:
        not_ready: function that returns the reason why predictions would not be answered now, None if the process is
            ready.
    """
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", summary="Is the process up?", response_model=Health)
    async def live() -> Health:
        return Health(status="live")

    @router.get("/ready", summary="Will predictions be answered?", response_model=Health, responses=_UNAVAILABLE)
    async def ready(response: Response) -> Health:
        reason = not_ready()
        if reason is None:
            return Health(status="ready")
        response.status_code = 503
        return Health(status="not ready", reason=reason)

    return router
