"""Raw tables for tests: columns and CSV text, and the training tables read from both."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from training.data.column_choices import ColumnChoices
from training.data.table import Table
from training.data.training_table import TrainingTable
from training.data.understanding import read_training_table


def read(columns: dict[str, Any], *, target: str = "y", task: Any = None, **choices: Any) -> TrainingTable:
    """Reads typed columns as a training table."""
    table = Table.from_arrow(pa.table(columns), source="the table")
    return read_training_table(table, name="t", target=target, task=task, choices=ColumnChoices(**choices))


def kinds(table: TrainingTable) -> dict[str, str]:
    """Returns the kind of each feature."""
    return {name: table.kind(name) for name in table.features}


def cells(table: TrainingTable, name: str) -> list[str | None]:
    """Returns a column's cells as a list, None for missing."""
    return [table.example(row)[name] for row in range(table.rows)]


def csv_of(column: Iterable[Any], target: Sequence[str] = ("a", "b")) -> str:
    """Returns a CSV text of the column x, a column z and a target y."""
    return "x,z,y\n" + "".join(f"{cell},{i},{target[i % len(target)]}\n" for i, cell in enumerate(column))
