"""The facts of a request's span that only the door of the request knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

AttributeValue = str | int | bool


class SpanFacts(NamedTuple):
    """The name and the attributes of a request's span, by the semantic conventions of the door's protocol.

    Attributes:
        name: name of the span, such as `POST /predict`.
        attributes: attributes by name.
        error: kind of a fault of the server; None for other answers.
    """

    name: str
    attributes: Mapping[str, AttributeValue]
    error: str | None
