"""`GET /docs`, the page to read and try the API on, and `GET /openapi.json`, the document that it shows."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from service.http.routes.guard import Guard


def docs_router(title: str, document: Callable[[], dict[str, Any]], guard: Guard) -> APIRouter:
    """The routes over what makes the OpenAPI document."""
    router = APIRouter(include_in_schema=False, dependencies=guard.dependencies)
    # The address is relative, so that the page works behind a proxy that puts a prefix before ours; no icon is
    # fetched from anybody.
    page = get_swagger_ui_html(openapi_url="openapi.json", title=title, swagger_favicon_url="data:,")
    html = bytes(page.body).decode()
    headers = {"Content-Security-Policy": content_policy(html)}

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    @router.get("/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(document())

    return router


def content_policy(html: str) -> str:
    """The policy under which the page works and nothing else does: its own scripts, its style sheet, calls to us.

    The script within the page is allowed by its hash. Swagger UI sets styles on elements as it goes, so styles are not
    held to that; its icons are in the style sheet, as data.
    """
    scripts = re.findall(r'<script src="([^"]+)"', html)
    scripts += [
        f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"
        for script in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    ]
    styles = re.findall(r'<link [^>]*rel="stylesheet" href="([^"]+)"', html)
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(scripts)}",
            f"style-src {' '.join(styles)} 'unsafe-inline'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
