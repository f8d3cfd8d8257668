"""The header with the deadline of a request."""

from __future__ import annotations

import math

from service.errors import InvalidRequest

TIMEOUT_HEADER = b"x-request-timeout-seconds"


def seconds_in(timeout: bytes) -> float:
    """Returns the number of seconds in the timeout header.

    Raises:
        InvalidRequest: the value is not a number above 0.
    """
    try:
        seconds = float(timeout)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        shown = timeout[:40].decode("latin-1")
        raise InvalidRequest(f"X-Request-Timeout-Seconds must be a number above 0, got {shown!r}.")
    return seconds
