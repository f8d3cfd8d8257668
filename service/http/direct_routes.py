"""Direct routes: the requests that the HTTP protocol hands to an endpoint itself, by method and path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

import httptools

from service.http.exchange import NO_PARAMETERS, DirectEndpoint

_PARAMETER = re.compile(r"\{(\w+)\}")


class DirectRoutes:
    """A table of direct routes.

    Attributes:
        exact: endpoints by method and request target; a target with a query or an escape is none of these.
    """

    def __init__(self) -> None:
        self.exact: dict[tuple[bytes, bytes], DirectEndpoint] = {}
        self._patterns: list[tuple[bytes, re.Pattern[str], DirectEndpoint]] = []

    def add(self, method: str, path: str, endpoint: DirectEndpoint) -> None:
        """Adds a route, in place of an earlier one with the same path.

        Args:
            method: method of the requests.
            path: path of the requests; `{name}` stands for one segment or a part of one, which becomes a parameter.
            endpoint: endpoint that answers.
        """
        if _PARAMETER.search(path) is None:
            self.exact[method.encode(), path.encode()] = endpoint
            return
        parts = _PARAMETER.split(path)  # texts and names in turn
        pattern = "".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        self._patterns.append((method.encode(), re.compile(pattern), endpoint))

    def find(self, method: bytes, target: bytes) -> tuple[DirectEndpoint, bytes, Mapping[str, str]] | None:
        """Finds the endpoint of a request.

        Args:
            method: method of the request.
            target: request target: a path, perhaps with a query, a host or escapes in it.

        Returns:
            The endpoint, the query and the parameters of the path; None if no direct route fits.
        """
        url = httptools.parse_url(target)
        query = url.query or b""
        path = url.path.decode("latin-1")
        endpoint = self.exact.get((method, unquote(path, "latin-1").encode("latin-1")))
        if endpoint is not None:
            return endpoint, query, NO_PARAMETERS
        for wanted, pattern, candidate in self._patterns:
            if wanted == method and (found := pattern.fullmatch(path)) is not None:
                return candidate, query, {name: unquote(value) for name, value in found.groupdict().items()}
        return None
