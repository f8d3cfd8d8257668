"""`GET /docs`, a page to read and try the API, and `GET /openapi.json`, the OpenAPI document of that page.

The server itself also sends the script and the style sheet of Swagger UI, so the page works without internet access.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response

from service.http.routes.guard import Guard

_SCRIPT, _STYLE = "swagger-ui-bundle.js", "swagger-ui.css"


def docs_router(title: str, document: Callable[[], dict[str, Any]], guard: Guard) -> APIRouter:
    """Returns the routes of the documentation.

    Args:
        title: title of the page.
        document: function that returns the OpenAPI document.
        guard: check of the scope for reading.
    """
    router = APIRouter(include_in_schema=False, dependencies=guard.dependencies)
    # Addresses are relative, so that the page works behind a proxy that adds a prefix. The empty icon keeps browsers
    # from fetching one.
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=title,
        swagger_js_url=f"docs/{_SCRIPT}",
        swagger_css_url=f"docs/{_STYLE}",
        swagger_favicon_url="data:,",
    )
    html = bytes(page.body).decode()
    headers = {"Content-Security-Policy": content_policy(html)}

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    @router.get(f"/docs/{_SCRIPT}")
    async def script() -> Response:
        return _asset(_SCRIPT, "text/javascript")

    @router.get(f"/docs/{_STYLE}")
    async def style() -> Response:
        return _asset(_STYLE, "text/css")

    @router.get("/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(document())

    return router


def _asset(name: str, media_type: str) -> Response:
    """Returns a file of Swagger UI. The file is read for each request, since it is large and rarely needed."""
    return Response((files("fastapi_offline") / "static" / name).read_bytes(), media_type=media_type)


def content_policy(html: str) -> str:
    """Returns the strictest content security policy under which the page works: only files of and calls to this server.

    The script within the page is allowed by its hash. Styles are not restricted like this, since Swagger UI sets the
    styles of elements while it runs. Its icons are data in the style sheet.

    Args:
        html: text of the page.
    """
    scripts = [
        f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"
        for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    ]
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *scripts]),
            "style-src 'self' 'unsafe-inline'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
