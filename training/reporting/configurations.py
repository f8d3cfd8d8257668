"""The configurations of a portfolio in a report: settings, out-of-fold figure and weight."""

from __future__ import annotations

from typing import Any

from models.checkpoint import Checkpoint
from training.reporting.figures import figure, metric_name


def configurations_table(checkpoint: Checkpoint) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Returns the head and the rows of a table of all configurations; None for a model without portfolio."""
    records: list[dict[str, Any]] = checkpoint.training.get("configurations") or []
    if not records:
        return None
    names = list(records[0])
    head = tuple(_HEADS.get(name, metric_name(name)) for name in names)
    rows = [tuple(_cell(name, record[name]) for name in names) for record in records]
    return head, rows


_HEADS = {
    "name": "configuration",
    "learning_rate": "learning rate",
    "dropout": "dropout",
    "weight_decay": "weight decay",
    "label_smoothing": "label smoothing",
    "weight": "weight",
}


def _cell(name: str, value: Any) -> str:
    if name == "weight" and not value:
        return "not served"
    if value is None:
        return "not finite"
    return value if isinstance(value, str) else figure(value)
