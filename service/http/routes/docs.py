"""`GET /docs`, the page to read and try the API on, and `GET /openapi.json`, the document that it shows.

Swagger UI's script and style sheet are our own answers too: a cluster without a way to the internet has the page.
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
    """The routes over what makes the OpenAPI document."""
    router = APIRouter(include_in_schema=False, dependencies=guard.dependencies)
    # Addresses are relative, so that the page works behind a proxy that puts a prefix before ours; no icon is fetched
    # from anybody.
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
    """One of Swagger UI's files. It is read when it is asked for: few are, and it is larger than all else of ours."""
    return Response((files("fastapi_offline") / "static" / name).read_bytes(), media_type=media_type)


def content_policy(html: str) -> str:
    """The policy under which the page works and nothing else does: our scripts, our style sheet, calls to us.

    The script within the page is allowed by its hash. Swagger UI sets styles on elements as it goes, so styles are not
    held to that; its icons are in the style sheet, as data.
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
