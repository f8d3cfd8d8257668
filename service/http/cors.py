"""Cross-origin requests: the sites whose pages may read the API's answers in a browser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

Header = tuple[bytes, bytes]

_PREFLIGHT_SECONDS = 600
# No cookie gives access to anything here, so answers to requests without credentials may show all headers to a page.
_EXPOSED: Header = (b"access-control-expose-headers", b"*")
_VARIES: Header = (b"vary", b"Origin")


class Cors:
    """The sites whose pages may read answers.

    Args:
        origins: origins such as `https://app.example.org`, or only `*` for all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = list(origins)
        self._allowed = {origin.encode() for origin in origins}
        self._is_open = b"*" in self._allowed

    def around(self, app: ASGIApp) -> ASGIApp:
        """Returns the application with CORS headers on all answers, and with answers to preflight requests."""
        return CORSMiddleware(
            app,
            allow_origins=self._origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            expose_headers=["*"],
            max_age=_PREFLIGHT_SECONDS,
        )

    def headers(self, request_headers: Iterable[Header]) -> list[Header]:
        """Returns the CORS headers of an answer that does not come from the application.

        Args:
            request_headers: headers of the request, with names in lower case.
        """
        origin = next((value for name, value in request_headers if name == b"origin"), None)
        if origin is None:
            return [] if self._is_open else [_VARIES]
        if self._is_open:
            return [(b"access-control-allow-origin", b"*"), _EXPOSED]
        if origin not in self._allowed:
            return [_VARIES]
        return [(b"access-control-allow-origin", origin), _EXPOSED, _VARIES]
