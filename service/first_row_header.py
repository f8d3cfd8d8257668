"""The header with the number of a request's first row in the client's call, for the log of predictions.

A client may cut one call into several requests with one request id. The header keeps their rows apart in the log.
"""

from __future__ import annotations

from service.errors import InvalidRequest

FIRST_ROW_HEADER = b"x-axon-first-row"

_ROW_NUMBERS = 1 << 31  # the log has numbers of 32 bits, with a sign
_MOST_DIGITS = 10


def first_row_in(given: bytes, most_rows: int) -> int:
    """Returns the row number in the header.

    Args:
        given: value of the header.
        most_rows: number of rows that a request may have.

    Raises:
        InvalidRequest: the value is not a number in digits, or leaves no numbers for the rows of the request.
    """
    most = _ROW_NUMBERS - most_rows
    if given.isdigit() and len(given) <= _MOST_DIGITS and int(given) <= most:
        return int(given)
    shown = given[:40].decode("latin-1")
    raise InvalidRequest(f"X-Axon-First-Row must be a whole number from 0 to {most}, got {shown!r}.")
