"""The error for a body that is not an Arrow stream."""

from __future__ import annotations

from service.errors import InvalidRequest


def not_a_stream(reason: Exception) -> InvalidRequest:
    """Returns the error for a client, from a reason that is a part of a sentence."""
    return InvalidRequest(f"The body is not a valid Arrow stream: {reason}.")
