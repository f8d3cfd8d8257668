"""The form of an answer: what a request decides about its answer beside the rows. Each protocol has a subclass."""

from __future__ import annotations

from typing import Any

from models.columns.cells import shown
from service.errors import InvalidRequest


class AnswerForm:
    """The form of the answer to one request, for the answer writer.

    Args:
        seconds: time that the body of the request allows, in seconds; None for the time of its head.
        members: number of members of an ensemble that answer, the first ones; None for all.

    Attributes:
        seconds: time that the body of the request allows, in seconds; None for the time of its head.
        members: number of members of an ensemble that answer, the first ones; None for all.
        is_plain: True if the form has neither, so that the request may be answered together with others.
    """

    __slots__ = ("is_plain", "members", "seconds")

    def __init__(self, seconds: float | None = None, members: int | None = None) -> None:
        self.seconds = seconds
        self.members = members
        self.is_plain = seconds is None and members is None


def members_of(given: Any) -> int | None:
    """Returns the value of the option `members`, None for all members.

    Raises:
        InvalidRequest: the value is not a whole number from 1 on.
    """
    if given is None:
        return None
    if type(given) is not int or given < 1:
        raise InvalidRequest(f"members has to be a whole number from 1 on, not {shown(given)}.")
    return given
