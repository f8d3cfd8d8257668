"""The settings of a client, which begin the calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import httpx

from axon.client.call import Call, new_request_id
from axon.client.prediction import Limits
from axon.client.trace import trace_headers
from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """The settings of a client.

    Attributes:
        url: address of the server, with the path under which a proxy serves it.
        api_key: API key; None for a server without keys.
        timeout: longest time without a byte, in seconds.
        retries: number of further attempts of a request.
        deadline: deadline of a call, in seconds; None for none.
        headers: further headers of all requests.
        limits: limits of requests.
        connections: largest number of connections.

    Raises:
        ConfigError: a setting is out of range.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    retries: int = 3
    deadline: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    connections: int = 100

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError) as error:
            raise ConfigError(f"url {self.url!r} is not an address: {error}.") from None
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
            raise ConfigError(f"url must be like http://localhost:8000, got {self.url!r}.")
        for name in ("timeout", "deadline"):
            seconds = getattr(self, name)
            if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
                raise ConfigError(f"{name} must be above 0 seconds, got {seconds!r}.")
        if self.retries < 0:
            raise ConfigError(f"retries must be 0 or more, got {self.retries!r}.")
        for what in ("rows", "body_bytes", "in_flight"):
            if getattr(self.limits, what) < 1:
                raise ConfigError(f"{what} must be 1 or more, got {getattr(self.limits, what)!r}.")
        if self.connections < 1:
            raise ConfigError(f"connections must be 1 or more, got {self.connections!r}.")

    @property
    def base_url(self) -> str:
        """The address with a slash at the end, to which relative paths are added."""
        return self.url.rstrip("/") + "/"

    @property
    def is_plain(self) -> bool:
        """True if the connection is not encrypted."""
        return httpx.URL(self.url).scheme == "http"

    def common_headers(self) -> dict[str, str]:
        """Returns the headers of all requests.

        Answers come without compression unless a header asks for it: it takes the server longer than the network takes.
        """
        headers = {"User-Agent": "axon-client", "Accept-Encoding": "identity", **self.headers}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    def call(
        self, deadline: float | None = None, request_id: str | None = None, traceparent: str | None = None
    ) -> Call:
        """Begins a call.

        Args:
            deadline: deadline of this call, in seconds; None for the client's.
            request_id: identifier of the call; None for a new one.
            traceparent: W3C trace header; None for OpenTelemetry's current span, if there is one.
        """
        return Call(
            self.url,
            self.deadline if deadline is None else deadline,
            self.retries,
            trace_headers(traceparent),
            request_id or new_request_id(),
        )

    def probe(self) -> Call:
        """Begins a call of a health probe, which is not retried: the state of this moment is the answer."""
        return replace(self.call(), retries=0)
