"""The errors of the client.

    AxonError
    └── ClientError              a call without an answer
        ├── NotReachable         no connection, or the connection broke, or nothing came in time
        ├── DeadlinePassed       the deadline of the call passed, or that of the server
        ├── RequestRefused       the server does not accept the request
        │   ├── RowsRefused      rows are not valid; also a `RowError`, as from `axon.load(…).predict`
        │   ├── ModelUnknown     there is no such model, version or alias
        │   ├── TooLarge         a request has too many bytes or rows, even with one row
        │   ├── Unauthenticated  the API key is missing or unknown
        │   └── Forbidden        the API key lacks a scope
        ├── Overloaded           the server has too much to do
        └── ServerFailed         the server, or a proxy before the server, failed

A message ends with the identifier of the request, which is in the server's log too.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import AxonError, Fault, RowError


class ClientError(AxonError):
    """A call without an answer.

    Attributes:
        detail: sentence for people.
        status: HTTP status; None if no answer came.
        code: stable code of the server's error, such as `queue-full`; empty if the server named none.
        request_id: identifier of the request in the server's log; None before a request was made.
        retry_after: time after which the server asks to try again, in seconds; None if the server named none.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        Exception.__init__(self, detail if request_id is None else f"{detail} (request {request_id})")


class NotReachable(ClientError):
    """No connection was made, or the connection broke, or nothing came in time."""


class DeadlinePassed(ClientError):
    """The deadline of the call, or of the server, passed before the answer."""


class RequestRefused(ClientError):
    """The server does not accept the request."""


class RowsRefused(RequestRefused, RowError):
    """Rows are not valid for the model.

    Args:
        faults: errors in the rows; each row is counted from 0 in the whole input, not in a part of the input.
        status: HTTP status; None if the client found the faults.
        code: stable code of the server's error.
        request_id: identifier of the request in the server's log.

    Attributes:
        faults: errors in the rows, in order.
    """

    def __init__(
        self, faults: Sequence[Fault], *, status: int | None = None, code: str = "", request_id: str | None = None
    ) -> None:
        self.faults = tuple(faults)
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        first = str(self.faults[0])
        RequestRefused.__init__(
            self, f"{first[:1].upper()}{first[1:]}{more}", status=status, code=code, request_id=request_id
        )

    def moved(self, rows: int) -> RowsRefused:
        """Returns the error with row numbers that are larger by `rows`."""
        faults = [Fault(fault.row + rows, fault.column, fault.message) for fault in self.faults]
        return RowsRefused(faults, status=self.status, code=self.code, request_id=self.request_id)


class ModelUnknown(RequestRefused, LookupError):
    """The server has no such model, version or alias."""


class TooLarge(RequestRefused):
    """A request has too many bytes or rows."""


class Unauthenticated(RequestRefused):
    """The API key is missing or unknown."""


class Forbidden(RequestRefused):
    """The API key lacks a scope."""


class Overloaded(ClientError):
    """The server has too much to do; `retry_after` says when to try again."""


class ServerFailed(ClientError):
    """The server, or a proxy before the server, failed."""
