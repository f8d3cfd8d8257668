"""A call of a client's method: the requests of the call share a deadline, an identifier and trace headers."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from axon.client.errors import ClientError, DeadlinePassed, NotReachable
from axon.client.problems import error_of, is_from_axon
from axon.client.steps import Failure, Pause, Reply, Request, Send, Steps
from models.errors import ConfigError

REQUEST_ID_HEADER = "X-Request-ID"
TIMEOUT_HEADER = "X-Request-Timeout-Seconds"

_RETRIED = frozenset((429, 502, 503, 504))
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds; each pause is twice the pause before
_LONGEST_WAIT = 60.0  # seconds; a server that asks for more gets no other attempt
_CLOCK_STEP = 0.01  # seconds; a time-out may end this much before the deadline


def new_request_id() -> str:
    """Returns an identifier for a call."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        address: address of the server, for messages.
        seconds: deadline after the begin of the call, in seconds; None for none.
        retries: number of further attempts of a request.
        headers: headers of all requests of the call.
        request_id: identifier of all requests of the call.
        clock: clock in seconds.
        chance: function that returns a random number from 0 to 1.
        begun: begin of the call on the clock.
    """

    address: str
    seconds: float | None = None
    retries: int = 3
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=new_request_id)
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    begun: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"deadline must be above 0 seconds, got {self.seconds!r}.")
        object.__setattr__(self, "begun", self.clock())

    @property
    def until(self) -> float | None:
        """The deadline on the clock, in seconds; None for none."""
        return None if self.seconds is None else self.begun + self.seconds

    def answer(self, request: Request, *, accepts: frozenset[int] = frozenset()) -> Steps[Reply]:
        """Sends a request until there is an answer.

        Only a request that is safe to send again may be sent with this method. All requests of the client are:
        a prediction changes nothing on the server.

        Args:
            request: request without the headers of the call.
            accepts: further statuses of answers that are no errors.

        Raises:
            ClientError: there is no answer, after all attempts.
        """
        for attempt in range(self.retries + 1):
            outcome = yield Send(self._with_headers(request), self.until)
            if isinstance(outcome, Reply) and (200 <= outcome.status < 300 or outcome.status in accepts):
                return outcome
            error = self._error_of(outcome)
            pause = self._pause(attempt, error.retry_after)
            if attempt == self.retries or not _may_retry(outcome) or not self._has_time_for(pause):
                raise error
            yield Pause(pause)
        raise AssertionError("the last attempt returns or raises")

    def _with_headers(self, request: Request) -> Request:
        """Returns the request with the headers of the call and the time that is left.

        Raises:
            DeadlinePassed: no time is left.
        """
        headers = {**self.headers, **request.headers, REQUEST_ID_HEADER: self.request_id}
        if self.until is not None:
            left = self.until - self.clock()
            if left <= 0:
                raise self._late()
            headers[TIMEOUT_HEADER] = f"{max(left, 0.001):.3f}"
        return replace(request, headers=headers)

    def _error_of(self, outcome: Reply | Failure) -> ClientError:
        if isinstance(outcome, Reply):
            return error_of(outcome.status, outcome.headers, outcome.body, self.request_id)
        if outcome.timed_out and self.until is not None and self.clock() >= self.until - _CLOCK_STEP:
            return self._late()
        return NotReachable(f"{self.address} cannot be reached: {outcome.reason}.", request_id=self.request_id)

    def _late(self) -> DeadlinePassed:
        return DeadlinePassed(f"The deadline of {self.seconds:g} s passed.", request_id=self.request_id)

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        """Returns the length of the pause before the next attempt, in seconds.

        The random part keeps many clients from coming back at the same moment.
        """
        pause: float = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * (0.5 + 0.5 * self.chance())
        return pause if retry_after is None else max(retry_after * (1 + 0.1 * self.chance()), pause)

    def _has_time_for(self, pause: float) -> bool:
        return pause <= _LONGEST_WAIT if self.until is None else self.clock() + pause < self.until


def _may_retry(outcome: Reply | Failure) -> bool:
    """Returns True if another attempt may succeed.

    A deadline that passed inside Axon is final: another attempt would take as long.
    """
    if isinstance(outcome, Failure):
        return outcome.may_retry
    return outcome.status in _RETRIED and not (outcome.status == 504 and is_from_axon(outcome.body))
