"""Fixtures of the training tests: one writes a file in one line, the other reads a CSV text as a training table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.training_table import TrainingTable
from training.data.understanding import read_training_table


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes text or bytes to a file and returns the path."""

    def write_file(content: str | bytes, name: str = "flowers.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def read_text(write: Callable[..., Path]) -> Callable[..., TrainingTable]:
    """Writes lines of CSV to a file and reads the file as a training table."""

    def read_file(text: str, *, target: str = "y", task: Any = None, **choices: Any) -> TrainingTable:
        return read_training_table(
            read_csv(write(text, "data.csv")), name="t", target=target, task=task, choices=ColumnChoices(**choices)
        )

    return read_file
