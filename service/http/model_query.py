"""The model's id in a request's query, for bodies that cannot name it themselves."""

from __future__ import annotations

from urllib.parse import parse_qsl

from service.errors import invalid_request

_MAX_SHOWN = 40


def model_in_query(query: bytes, *, is_csv: bool) -> str | None:
    """Reads `model=ID`, the only parameter that there is.

    Args:
        query: request target's query.
        is_csv: True if the body is CSV; JSON names the model itself, and other parameters, such as a proxy's, are
            passed over.

    Returns:
        The model's id; None where the query is empty.

    Raises:
        Problem: 422 for another parameter or for `model` twice beside CSV, and for `model` beside JSON.
    """
    model: str | None = None
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"):
        if not is_csv:
            if name == "model":
                raise invalid_request(
                    "The query names a model, and the body is JSON, which names the model itself; a CSV body has "
                    "Content-Type: text/csv."
                )
            continue
        if name != "model" or model is not None:
            raise invalid_request(f"The query may name the model once (?model=ID), not {name[:_MAX_SHOWN]!r}.")
        model = value
    return model
