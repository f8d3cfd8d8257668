"""The steps of a call, without input and output: a generator yields each step, and a client does the step.

`Client` and `AsyncClient` run the same generators, so all rules are written once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.errors import AxonError

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        method: HTTP method.
        path: path and query, relative to the server's address.
        headers: headers of this request alone.
        body: body of the request.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: headers, with names in lower case.
        body: body after decompression.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    Attributes:
        reason: reason in words.
        timed_out: True if nothing came in time.
        may_retry: True if another attempt is safe and may succeed.
    """

    reason: str
    timed_out: bool = False
    may_retry: bool = False


@dataclass(frozen=True)
class Send:
    """A step: send a request. The step's value is a `Reply` or a `Failure`.

    Attributes:
        request: request with all headers of the call.
        until: deadline on the clock of `time.monotonic`, in seconds; None for none.
    """

    request: Request
    until: float | None


@dataclass(frozen=True)
class Pause:
    """A step: wait. The step's value is None.

    Attributes:
        seconds: length of the pause, in seconds.
    """

    seconds: float


@dataclass(frozen=True)
class Together:
    """A step: run several generators, side by side where the client can. The step's value is the list of results.

    Attributes:
        parts: generators, which are made when there is room for another one.
        most: largest number of generators that run at a time.
        on_result: function that takes each result, in order.
    """

    parts: Iterable[Steps[Any]]
    most: int
    on_result: Callable[[Any], None]


Steps = Generator[Send | Pause | Together, Any, T]


class Upcoming:
    """The generators of a `Together` that have not begun, one at a time.

    A part may be refused while it is made, before earlier parts are answered. The error waits, because an earlier part
    may have an error, too, which is the one to report.

    Args:
        parts: generators, which are made one by one.
    """

    def __init__(self, parts: Iterable[Steps[Any]]) -> None:
        self._parts = iter(parts)
        self._error: AxonError | None = None

    def take(self) -> Steps[Any] | None:
        """Returns the next generator; None if there is none, or if one could not be made."""
        if self._error is not None:
            return None
        try:
            return next(self._parts, None)
        except AxonError as error:
            self._error = error
            return None

    def check(self) -> None:
        """Raises the error of a generator that could not be made, if there was one."""
        if self._error is not None:
            raise self._error
