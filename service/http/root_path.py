"""The root path under which a proxy serves the API; the proxy may strip the path from requests or not."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class WithRootPath:
    """An ASGI application that accepts paths with and without a root path.

    Args:
        app: inner application, which gets paths without the root path.
        root_path: path without a final slash, such as `/axon`; empty for no root path.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        root, path = self._root_path, scope["path"]
        if root and (path == root or path.startswith(f"{root}/")):
            scope = {**scope, "path": path[len(root) :] or "/"}
        await self._app(scope, receive, send)
