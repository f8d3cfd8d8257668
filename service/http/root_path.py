"""A path of a proxy before ours: the proxy may take it away before it passes a request on, or leave it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class WithRootPath:
    """An ASGI application that is reached under a root path as well as without it.

    Args:
        app: application below, which knows nothing of the root path.
        root_path: path without a slash at its end, such as `/axon`; empty where there is none.
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
