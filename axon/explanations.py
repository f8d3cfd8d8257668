"""Explanations for programs: the contributions of the columns to the answers, as objects, text or a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import DataError
from models.explaining.document import explanations_text


@dataclass(frozen=True)
class Explanations:
    """The explanations of some rows, in the order of the rows.

    Attributes:
        model: name of the model, or `name@version` of a model in this process.
        version: version that answered; None for a model in this process.
        scale: unit of the contributions: `probability`, `logit` or `value`.
        background: origin of the rows that were compared with: `typical`, `rows`, `centre` or `request`.
        rows: explanation of each row, as in the answer of `POST /models/{id}/explain`: kind, prediction, output, value,
            base, and reasons with column, cell, contribution and perhaps standard_error.
    """

    model: str
    version: int | None
    scale: str
    background: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def predictions(self) -> list[Any]:
        """The predicted label or value of each row, or the list of the values of several targets."""
        return [row["prediction"] for row in self.rows]

    def contributions(self, row: int = 0) -> dict[str, float]:
        """Returns the contributions by column, the largest first.

        Args:
            row: position of the row.
        """
        return {reason["column"]: reason["contribution"] for reason in self.rows[row]["reasons"]}

    def to_pandas(self) -> Any:
        """Returns a data frame: a row for each row, the contribution of each column of the model, base and value.

        Raises:
            DataError: the model has a column called `base` or `value`.
        """
        import pandas as pd

        frame = pd.DataFrame([self.contributions(row) for row in range(len(self.rows))])
        if taken := [name for name in ("base", "value") if name in frame.columns]:
            raise DataError(
                f"the model has a column {taken[0]!r}, and so has this frame for the whole answer: take the "
                "contributions from contributions(row), and base and value from rows."
            )
        return frame.assign(base=[row["base"] for row in self.rows], value=[row["value"] for row in self.rows])

    def __str__(self) -> str:
        """Returns the explanations as lines for a terminal."""
        document = {
            "model": self.model,
            "version": self.version,
            "scale": self.scale,
            "background": self.background,
            "explanations": self.rows,
        }
        return "\n".join(explanations_text(document))
