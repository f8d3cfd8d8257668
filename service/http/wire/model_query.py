"""The query of `/predict`, which names the model of a CSV or Arrow body, and how many members answer."""

from __future__ import annotations

from urllib.parse import parse_qsl

from service.answer_form import AnswerForm, members_of
from service.errors import InvalidRequest

_MAX_SHOWN = 40
_MOST_DIGITS = 9


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
    return model_in_query(query, others=("members",))


def table_form_in_query(query: bytes) -> AnswerForm | None:
    """Returns the form of the answer that `members=N` asks for; None for the usual form.

    Raises:
        InvalidRequest: the value is not a whole number from 1 on.
    """
    given = dict(_parameters(query)).get("members") if query else None
    if given is None:
        return None
    is_number = given.isascii() and given.isdigit() and len(given) <= _MOST_DIGITS
    return AnswerForm(members=members_of(int(given) if is_number else given))


def refuse_options_in_query(query: bytes) -> None:
    """Refuses options in the query of a JSON request; other parameters, such as a proxy's, are ignored.

    Raises:
        InvalidRequest: there is a parameter `model` or `members`.
    """
    names = {name for name, _ in _parameters(query)}
    if "model" in names:
        raise InvalidRequest(
            "The query names a model, and the body is JSON, which names the model itself; a CSV body has "
            "Content-Type: text/csv."
        )
    if "members" in names:
        raise InvalidRequest(
            'The query names members, and the body is JSON, which names them itself ("members": 2); a CSV body has '
            "Content-Type: text/csv."
        )


def _parameters(query: bytes) -> list[tuple[str, str]]:
    """Returns the names and values in a query."""
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
