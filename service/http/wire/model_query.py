"""The query of `/predict`, which names the model of a CSV or Arrow body, and the options of the answer."""

from __future__ import annotations

from urllib.parse import parse_qsl

from service.answer_form import AnswerForm, form_with, level_of, members_of
from service.errors import InvalidRequest

_MAX_SHOWN = 40
_MOST_DIGITS = 9
_OPTIONS = ("members", "intervals")


def model_in_query(query: bytes, *, others: tuple[str, ...] = ()) -> str | None:
    """Returns the reference in `model=ID`; None if the query is empty.

    Args:
        query: query of the request's target.
        others: names of other parameters that the query may have.

    Raises:
        InvalidRequest: there is another parameter, or a parameter occurs twice.
    """
    found: dict[str, str] = {}
    for name, value in _parameters(query):
        if name in found or (name != "model" and name not in others):
            raise InvalidRequest(f"The query may name the model once (?model=ID), not {name[:_MAX_SHOWN]!r}.")
        found[name] = value
    return found.get("model")


def table_model_in_query(query: bytes) -> str | None:
    """Returns the reference of the model in the query of a CSV or Arrow request, as `model_in_query` does."""
    return model_in_query(query, others=_OPTIONS)


def table_form_in_query(query: bytes) -> AnswerForm | None:
    """Returns the form of the answer that `members=N` and `intervals=LEVEL` ask for; None for the usual form.

    Raises:
        InvalidRequest: a value is not valid.
    """
    if not query:
        return None
    given = dict(_parameters(query))
    return form_with(_members_in(given.get("members")), _level_in(given.get("intervals")))


def _members_in(text: str | None) -> int | None:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return members_of(int(text or 0) if is_number else text)


def _level_in(text: str | None) -> float | None:
    try:
        return level_of(None if text is None else float(text))
    except ValueError:  # not a number, which the message shows as it is
        return level_of(text)


def refuse_options_in_query(query: bytes) -> None:
    """Refuses options in the query of a JSON request; other parameters, such as a proxy's, are ignored.

    Raises:
        InvalidRequest: there is a parameter `model`, `members` or `intervals`.
    """
    names = {name for name, _ in _parameters(query)}
    if "model" in names:
        raise InvalidRequest(
            "The query names a model, and the body is JSON, which names the model itself; a CSV body has "
            "Content-Type: text/csv."
        )
    for option, example in zip(_OPTIONS, ("2", "0.9"), strict=True):
        if option in names:
            raise InvalidRequest(
                f'The query names {option}, and the body is JSON, which names them itself ("{option}": {example}); a '
                "CSV body has Content-Type: text/csv."
            )


def _parameters(query: bytes) -> list[tuple[str, str]]:
    """Returns the names and values in a query."""
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
