"""HEAD requests: the answer to GET without the body, as load balancers and monitors need; frameworks omit HEAD."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class WithHead:
    """An ASGI application that handles HEAD as GET. The server sends no body in answer to a HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        await self._app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, send)
