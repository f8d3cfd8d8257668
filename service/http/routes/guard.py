"""The guard of a route: the check of a scope, its errors, and the two ways to send a key."""

from __future__ import annotations

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency
from fastapi.security import APIKeyHeader, HTTPBearer

from service.access import Access, Scope
from service.http.openapi import Responses, problems

# Only for the OpenAPI document: the check reads the headers itself, as for requests that bypass FastAPI.
_SCHEMES = [
    Depends(HTTPBearer(scheme_name="bearer", description="An API key as a bearer token.", auto_error=False)),
    Depends(APIKeyHeader(name="X-API-Key", scheme_name="api_key", description="An API key.", auto_error=False)),
]


class Guard:
    """The check of a scope for a route or a router.

    A request that passes has the name of its key in `request.state.key`.

    Args:
        access: API keys; None lets everybody in.
        scope: scope that the requests need.

    Attributes:
        dependencies: dependencies for FastAPI; empty if everything is open.
        responses: errors of the check for the OpenAPI document; empty if everything is open.
    """

    def __init__(self, access: Access | None, scope: Scope) -> None:
        self.dependencies: list[Dependency] = []
        self.responses: Responses = {}
        if access is None:
            return

        async def check(request: Request) -> None:
            request.state.key = access.check(_raw(request, "authorization"), _raw(request, "x-api-key"), scope)

        self.dependencies = [*_SCHEMES, Depends(check)]
        self.responses = problems(
            {401: "No API key, or one that is not known.", 403: f"The API key lacks the scope `{scope}`."}
        )


def _raw(request: Request, name: str) -> bytes | None:
    """Returns the raw value of a header, None for an absent one; repeated values are joined by a line feed."""
    values = request.headers.getlist(name)
    return "\n".join(values).encode("latin-1") if values else None
