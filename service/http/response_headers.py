"""The security headers of every answer, which limit the use that a browser makes of an answer.

`POST /predict` sends only `X-Content-Type-Options`. The other headers are for answers that a browser fetches by itself,
and a browser sends a POST only for a page.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# An error repeats text of the request; a browser must not guess that it is HTML or a script.
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")

# If a browser opens an answer as a page, the page runs no script, fetches nothing, and appears in no other site's frame
# (so X-Frame-Options is not needed). The documentation page has its own policy.
_CONTENT_POLICY: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

SECURITY_HEADERS: tuple[Header, ...] = (
    NOSNIFF,
    _CONTENT_POLICY,
    # If a user follows a link in an answer, the linked site does not learn the names of models.
    (b"referrer-policy", b"no-referrer"),
    # A cache must not give an answer to clients without a key; caches know Authorization, but not X-API-Key.
    (b"cache-control", b"no-store"),
)


class WithSecurityHeaders:
    """An ASGI application that adds the missing `SECURITY_HEADERS` to the answers of another application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in SECURITY_HEADERS if h[0] not in given)]
            await send(message)

        await self._app(scope, receive, send_with_headers)
