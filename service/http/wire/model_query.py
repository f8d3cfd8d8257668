"""The query of `/predict`, which names the model of a CSV body."""

from __future__ import annotations

from urllib.parse import parse_qsl

from service.errors import InvalidRequest

_MAX_SHOWN = 40


def model_in_query(query: bytes) -> str | None:
    """Returns the reference in `model=ID`, the only parameter of a CSV request; None if the query is empty.

    Raises:
        InvalidRequest: there is a parameter other than `model`, or `model` occurs twice.
    """
    model: str | None = None
    for name, value in _parameters(query):
        if name != "model" or model is not None:
            raise InvalidRequest(f"The query may name the model once (?model=ID), not {name[:_MAX_SHOWN]!r}.")
        model = value
    return model


def refuse_model_in_query(query: bytes) -> None:
    """Refuses `model` in the query of a JSON request; other parameters, such as a proxy's, are ignored.

    Raises:
        InvalidRequest: there is a parameter `model`.
    """
    if any(name == "model" for name, _ in _parameters(query)):
        raise InvalidRequest(
            "The query names a model, and the body is JSON, which names the model itself; a CSV body has "
            "Content-Type: text/csv."
        )


def _parameters(query: bytes) -> list[tuple[str, str]]:
    """Returns the names and values in a query."""
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
