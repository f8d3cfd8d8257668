"""HEAD: what GET would answer, without the body. Balancers and monitors ask so, and frameworks leave it out."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class WithHead:
    """An ASGI application that takes HEAD for GET. The server below it sends no body to a HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._app({**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, send)
