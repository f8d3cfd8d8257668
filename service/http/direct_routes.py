"""Direct routes: endpoints by method and path to which the HTTP protocol hands requests without ASGI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote

import httptools

from service.http.exchange import NO_PARAMETERS, DirectEndpoint, Exchange

_PARAMETER = re.compile(r"\{(\w+)\}")
_ESCAPED_COLON = re.compile("%3a", re.IGNORECASE)


class PlainPlace(Protocol):
    """The place of a plain request on its connection.

    Attributes:
        is_pending: True from the arrival of a plain request to its answer.
        part: bytes of a plain request that has not come in full; empty without one.
    """

    is_pending: bool
    part: bytes

    def as_usual(self) -> object:
        """Turns the pending request into a usual one, an `Exchange` that its connection adopts."""


class Lane(Protocol):
    """A shorter way for plain requests, which passes the parser by."""

    def place(self, connection: Any, /) -> PlainPlace:
        """Returns the place for the plain requests of a new connection."""

    def take(self, plain: Any, data: bytes, /) -> bool:
        """Takes a request, or the first part of one; returns False if the parser has to read the bytes."""

    def take_rest(self, plain: Any, data: bytes, /) -> bool:
        """Takes a request whose first part was taken before; returns False if the parser has to read the bytes."""

    def learn(self, data: bytes, exchange: Exchange, /) -> None:
        """Learns from a request that the parser has read, and that came in one piece to an idle connection."""


class DirectRoutes:
    """A table of direct routes.

    Attributes:
        lane: lane for plain requests; None without one.
        exact: endpoints by method and request target, for targets without a query or an escape.
    """

    def __init__(self) -> None:
        self.lane: Lane | None = None
        self.exact: dict[tuple[bytes, bytes], DirectEndpoint] = {}
        self._patterns: dict[tuple[bytes, re.Pattern[str]], DirectEndpoint] = {}

    def add(self, method: str, path: str, endpoint: DirectEndpoint) -> None:
        """Adds a route; an earlier route with the same path is replaced.

        Args:
            method: method of the requests.
            path: path of the requests; `{name}` matches a segment or a part of one, and becomes a parameter.
            endpoint: endpoint that answers the requests.
        """
        if _PARAMETER.search(path) is None:
            self.exact[method.encode(), path.encode()] = endpoint
            return
        parts = _PARAMETER.split(path)  # fixed texts and names alternate
        pattern = "".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        self._patterns[method.encode(), re.compile(pattern)] = endpoint  # equal texts compile to one pattern

    def find(self, method: bytes, target: bytes) -> tuple[DirectEndpoint, bytes, Mapping[str, str]] | None:
        """Finds the endpoint of a request.

        Args:
            method: method of the request.
            target: request target: a path, perhaps with a host, a query or escapes.

        Returns:
            The endpoint, the query and the parameters of the path; None if no direct route fits.
        """
        url = httptools.parse_url(target)
        query = url.query or b""
        path = url.path.decode("latin-1")
        endpoint = self.exact.get((method, unquote(path, "latin-1").encode("latin-1")))
        if endpoint is not None:
            return endpoint, query, NO_PARAMETERS
        path = _ESCAPED_COLON.sub(":", path)  # some clients escape the colon of `/models/{model}:predict`
        for (wanted, pattern), candidate in self._patterns.items():
            if wanted == method and (found := pattern.fullmatch(path)) is not None:
                return candidate, query, {name: unquote(value) for name, value in found.groupdict().items()}
        return None
