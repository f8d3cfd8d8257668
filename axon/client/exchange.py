"""An exchange with httpx: time-outs that follow the deadline, and failures in words. Both clients share this."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import httpx

from axon.client.steps import Failure, Send

_LEAST_SECONDS = 0.001  # a time-out of 0 means "do not wait" to a socket

# Nothing came of these, or the connection broke: another attempt is safe, because a prediction changes nothing.
_RETRIED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Timeouts(Mapping[str, float]):
    """Time-outs for httpx, which reads the time left at each phase of a request: no phase outlasts the deadline.

    Args:
        seconds: longest time without a byte, in seconds.
        until: deadline on the clock of `time.monotonic`, in seconds; None for none.
    """

    def __init__(self, seconds: float, until: float | None) -> None:
        self._seconds = seconds
        self._until = until

    def __getitem__(self, phase: str) -> float:
        if self._until is None:
            return self._seconds
        return max(min(self._seconds, self._until - time.monotonic()), _LEAST_SECONDS)

    def __iter__(self) -> Iterator[str]:
        return iter(("connect", "read", "write", "pool"))

    def __len__(self) -> int:
        return 4

    @property
    def are_over(self) -> bool:
        """True if the deadline has passed."""
        return self._until is not None and time.monotonic() >= self._until


def prepared(client: httpx.Client | httpx.AsyncClient, send: Send, timeouts: Timeouts) -> httpx.Request:
    """Returns the request of a step for httpx.

    Args:
        client: client of httpx, which has the address and the common headers.
        send: step of a call.
        timeouts: time-outs of the request.
    """
    given = send.request
    return client.build_request(
        given.method,
        given.path,
        content=given.body or None,
        headers=dict(given.headers),
        extensions={"timeout": timeouts},
    )


def failure_of(error: httpx.RequestError, timeouts: Timeouts) -> Failure:
    """Returns a failure in words."""
    if isinstance(error, httpx.PoolTimeout):
        return Failure("all connections of the client were in use", timed_out=True)
    if isinstance(error, httpx.ConnectTimeout):
        return Failure("the connection was not accepted in time", timed_out=True, may_retry=True)
    if isinstance(error, httpx.TimeoutException):
        return Failure("nothing came in time", timed_out=True)
    reason = str(error).rstrip(".") or type(error).__name__
    return Failure(reason, timed_out=timeouts.are_over, may_retry=isinstance(error, _RETRIED))


LATE = Failure("the answer did not come in time", timed_out=True)
