"""The form of an answer: what a request decides about its answer beside the rows. Each protocol has a subclass."""

from __future__ import annotations

from typing import Any

from models.columns.cells import shown
from models.conformal import check_level
from models.errors import ConfigError
from service.errors import InvalidRequest


class AnswerForm:
    """The form of the answer to one request, for the answer writer.

    Args:
        seconds: time that the body of the request allows, in seconds; None for the time of its head.
        members: number of members of an ensemble that answer, the first ones; None for all.
        level: level of the intervals or sets; None for an answer without.

    Attributes:
        seconds: time that the body of the request allows, in seconds; None for the time of its head.
        members: number of members of an ensemble that answer, the first ones; None for all.
        level: level of the intervals or sets; None for an answer without.
        is_plain: True if the form has none of these, so that the request may be answered together with others.
    """

    __slots__ = ("is_plain", "level", "members", "seconds")

    def __init__(self, seconds: float | None = None, members: int | None = None, level: float | None = None) -> None:
        self.seconds = seconds
        self.members = members
        self.level = level
        self.is_plain = seconds is None and members is None and level is None


def form_with(members: int | None, level: float | None) -> AnswerForm | None:
    """Returns the form with two options, None for the usual form.

    Args:
        members: number of members of an ensemble that answer; None for all.
        level: level of the intervals or sets; None for an answer without.
    """
    return None if members is None and level is None else AnswerForm(members=members, level=level)


def level_of(given: Any) -> float | None:
    """Returns the value of the option `intervals`, None for an answer without intervals.

    Raises:
        InvalidRequest: the value is not a number between 0 and 1.
    """
    try:
        return None if given is None else check_level(given)
    except ConfigError as error:
        raise InvalidRequest(str(error)) from error


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
