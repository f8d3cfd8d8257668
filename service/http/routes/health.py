"""Probes: `/health/live` says that this process runs, `/health/ready` that predictions will be answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response

from service.http.schemas import Health

_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "Not ready; `reason` says why."}}


def health_router(not_ready: Callable[[], str | None]) -> APIRouter:
    """The routes; `not_ready` tells why predictions would not be answered now, None where they would."""
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
