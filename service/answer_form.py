"""The form of an answer: what a request decides about its answer beside the rows. Each protocol has a subclass."""

from __future__ import annotations


class AnswerForm:
    """The form of the answer to one request, for the answer writer.

    Attributes:
        seconds: time that the body of the request allows, in seconds; None for the time of its head.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
