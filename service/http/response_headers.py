"""The headers that every answer carries, so that a browser does no more with it than it was meant for.

`POST /predict` answers with `X-Content-Type-Options` alone: the others are for what a browser fetches by itself, and
it fetches nothing by POST without a page that asks for it.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# An error repeats words of the request; no browser shall guess that they are HTML or a script.
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")

# Where an answer is opened as a page all the same, it runs nothing, fetches nothing, and stands in no other site's
# frame (so X-Frame-Options has nothing to add). The documentation page has a policy of its own.
_CONTENT_POLICY: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

SECURITY_HEADERS: tuple[Header, ...] = (
    NOSNIFF,
    _CONTENT_POLICY,
    # Names of models are nobody's business whose link is followed from here.
    (b"referrer-policy", b"no-referrer"),
    # What a key has opened must not wait in a cache for those without one; a cache knows Authorization, not X-API-Key.
    (b"cache-control", b"no-store"),
)


class WithSecurityHeaders:
    """An ASGI application whose answers carry `SECURITY_HEADERS`, where they do not set these themselves."""

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
