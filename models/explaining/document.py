"""The document of an explanation: the answer's form in JSON, and the same as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.columns.labels import Label
from models.columns.schema import Schema
from models.explaining.explained_output import ExplainedOutput
from models.explaining.shapley import Contributions, Kind

_BACKGROUNDS = {
    "typical": "a typical row of the training part",
    "rows": "rows of the training part",
    "centre": "the middle of the columns",
    "request": "the background rows of the request",
}


@dataclass(frozen=True)
class Explanation:
    """The explanation of one row.

    Attributes:
        prediction: predicted label or value; the values of several targets.
        kind: kind of the contributions.
        output: output that is explained.
        contributions: contributions of all columns.
    """

    prediction: Label | list[float]
    kind: Kind
    output: ExplainedOutput
    contributions: Contributions


def cells_of(schema: Schema, row: Any, find_name: Callable[[str], str | None]) -> Sequence[Any]:
    """Returns the cells of a row that was encoded, `(columns,)`, in order.

    Args:
        schema: schema of the model.
        row: list of cells in column order, or mapping by column name.
        find_name: function that returns the column that a key means.
    """
    if not isinstance(row, Mapping):
        return list(row)
    cells = {find_name(key): cell for key, cell in row.items()}
    return [cells[name] for name in schema.names]


def explanation_document(
    schema: Schema, cells: Sequence[Any], explanation: Explanation, reasons: Callable[[Iterator[Any]], Any] = list
) -> dict[str, Any]:
    """Returns the JSON object of one row's explanation.

    Args:
        schema: schema of the model.
        cells: `(columns,)` cells of the row, in order.
        explanation: explanation of the row.
        reasons: function that takes the reasons; the default makes a list.
    """
    found, output = explanation.contributions, explanation.output
    document: dict[str, Any] = {"kind": explanation.kind, "prediction": explanation.prediction}
    if output.label is not None:
        document["output"] = output.label
    document |= {"value": found.value + output.origin, "base": found.base + output.origin}
    document["reasons"] = reasons(_reasons(schema, cells, found))
    return document


def _reasons(schema: Schema, cells: Sequence[Any], found: Contributions) -> Iterator[dict[str, Any]]:
    """Yields the columns, the largest contribution first."""
    for at in np.argsort(-np.abs(found.columns), kind="stable").tolist():
        reason = {"column": schema.names[at], "cell": cells[at], "contribution": float(found.columns[at])}
        if found.errors is not None:
            reason["standard_error"] = float(found.errors[at])
        yield reason


def explanations_text(document: Mapping[str, Any], most: int = 20) -> Iterator[str]:
    """Yields the lines of a document with `model`, `version`, `scale`, `background` and `explanations`.

    Args:
        document: document in the form of `POST /models/{id}/explain`.
        most: largest number of columns of each row; a last line adds up the others.
    """
    compared = _BACKGROUNDS[document["background"]]
    version = "" if document["version"] is None else f"@{document['version']}"
    yield f"{document['model']}{version}, {document['scale']} compared with {compared}"
    for number, row in enumerate(document["explanations"]):
        what = f" of {row['output']}" if row.get("output", row["prediction"]) != row["prediction"] else ""
        yield ""
        value, base = (f"{row[name]:{'.10g' if document['scale'] == 'value' else '.4g'}}" for name in ("value", "base"))
        predicted = "" if isinstance(row["prediction"], list) else f"{row['prediction']}, "  # a value of each target
        yield f"row {number}: {predicted}{document['scale']}{what} {value}, base {base}"
        reasons = list(row["reasons"])
        shown = [(reason["column"], _short(reason["cell"]), reason) for reason in reasons[:most]]
        wide = max(len(name) for name, _, _ in shown), max(len(cell) for _, cell, _ in shown)
        for name, cell, reason in shown:
            error = f" ± {reason['standard_error']:.2g}" if reason.get("standard_error") is not None else ""
            yield f"  {name:<{wide[0]}}  {cell:>{wide[1]}}  {reason['contribution']:+.4g}{error}"
        if others := reasons[most:]:
            yield f"  {len(others):,} other columns  {sum(reason['contribution'] for reason in others):+.4g}"


def _short(cell: Any) -> str:
    text = "(none)" if cell is None else str(cell)
    return text if len(text) <= 24 else f"{text[:23]}…"
