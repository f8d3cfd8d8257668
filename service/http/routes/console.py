"""`GET /`, the console for browsers, and the files of the console under `/console/`.

Programs that ask for `/` are sent to the documentation. The files hold nothing about the server or its models, so they
need no API key.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from service.console.files import ConsoleFile, read_files, read_page
from service.http.accept import media_ranges
from service.http.compression import accepted_coding

# The browser loads and asks this server alone; no script or style stands in the page or in an attribute.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob:",  # pictures that the page fetched with a key
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
_PAGE_TYPES = ("text/html", "application/xhtml+xml")


def console_router(root_path: str, *, is_on: bool, needs_key: bool) -> APIRouter:
    """Returns the route of the start page, and those of the console's files.

    Args:
        root_path: path prefix that a proxy adds, without a slash at the end; empty without a prefix.
        is_on: False to leave the console out, and to send everybody to the documentation.
        needs_key: True if the server has API keys.
    """
    router = APIRouter(include_in_schema=False)
    page = read_page(root_path, needs_key=needs_key) if is_on else None
    # Without a root path the addresses are relative, so that they lead on behind any prefix that a proxy strips.
    docs = f"{root_path}/docs" if root_path else "docs"

    @router.get("/")
    async def index(request: Request) -> Response:
        if page is not None and _is_browser(request):
            return _answer(request, page, vary="Accept")
        return RedirectResponse(docs, headers={} if page is None else {"Vary": "Accept"})

    if page is None:
        return router
    files = read_files()

    @router.get("/console")
    async def without_slash() -> Response:
        return RedirectResponse(f"{root_path}/" if root_path else "./")

    @router.get("/console/{path:path}")
    async def file(request: Request, path: str) -> Response:
        if not path:
            return RedirectResponse(f"{root_path}/" if root_path else "../")
        found = files.get(path)
        if found is None:
            raise HTTPException(404)
        return _answer(request, found)

    return router


def _is_browser(request: Request) -> bool:
    """Returns True if a request asks for a page; `*/*`, which curl and most libraries send, asks for none."""
    return any(wanted in _PAGE_TYPES for wanted, _ in media_ranges("\n".join(request.headers.getlist("accept"))))


def _answer(request: Request, file: ConsoleFile, vary: str | None = None) -> Response:
    """Returns a file, compressed if the browser wants that, or 304 if the browser has the file already."""
    # One tag for each coding, since a strong tag stands for exact bytes.
    is_compressed = accepted_coding(",".join(request.headers.getlist("accept-encoding")).encode("latin-1")) == b"gzip"
    tag = f'"{file.tag}-gzip"' if is_compressed else f'"{file.tag}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",  # a browser asks each time, so that it never mixes files of two versions
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if vary is not None:
        headers["Vary"] = vary
    known = ",".join(request.headers.getlist("if-none-match")).split(",")
    if tag in {one.strip().removeprefix("W/") for one in known}:
        return Response(status_code=304, headers=headers)
    if is_compressed:
        return Response(file.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)
