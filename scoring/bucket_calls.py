"""Calls of a bucket, made again after a failure: a service that fails for a minute must not end a job of hours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from models.errors import BucketError

Result = TypeVar("Result")

# The client repeats a request for ten seconds. A service that asks for fewer requests, or a line that breaks off in the
# middle of an answer, needs more than that.
_WAITS_SECONDS = (1.0, 4.0)


def again(call: Callable[[], Result]) -> Result:
    """Calls a bucket, and again after a while if the bucket does not answer.

    Raises:
        BucketError: the bucket did not answer several times.
    """
    for wait in _WAITS_SECONDS:
        try:
            return call()
        except BucketError:
            time.sleep(wait)
    return call()
