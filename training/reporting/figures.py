"""Formats figures as text for people: numbers, shares, dates and the contents of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from models.columns.schema import Schema

METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1_macro": "F1, macro",
    "log_loss": "log loss",
    "brier": "Brier score",
    "expected_calibration_error": "expected calibration error",
    "roc_auc": "ROC AUC",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "poisson_deviance": "Poisson deviance",
    "gamma_deviance": "gamma deviance",
    "bernoulli_deviance": "Bernoulli deviance",
}

_SHOWN_CATEGORIES = 6
_DIGITS = 7  # significant digits of a number from data
_LONGEST = 60  # maximum number of characters of a value
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def metric_name(name: str) -> str:
    """Returns the name of a metric in words, without a change of the name of a target after ` of `."""
    metric, of, target = name.partition(" of ")
    return METRIC_NAMES.get(metric, metric.replace("_", " ")) + of + target


def figure(value: object) -> str:
    """Formats a cell: an integer with thousands separators, another number with four significant digits, text as is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        decimals = 4 if abs(value) < 1 else max(3 - math.floor(math.log10(abs(value))), 0)
        return f"{value:,.{decimals}f}"
    return f"{value:.3e}"


def plainly(value: object) -> str:
    """Formats a value from data on one line, with a limited length."""
    text = f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def apart(value: float, step: float) -> str:
    """Formats a value with enough digits to show a difference of `step`, and with at least seven."""
    digits = _DIGITS
    if value and step:
        digits = min(max(math.ceil(math.log10(abs(value)) - math.log10(abs(step))) + 3, digits), 17)
    return f"{value:.{digits}g}"


def columns_table(schema: Schema) -> list[tuple[str, str, str, str]]:
    """Returns for each column: name, kind, contents in training, and treatment of missing and unknown cells."""
    return [
        (column["name"], _kind(column), _seen(column), _elsewhere(column)) for column in schema.to_dict()["columns"]
    ]


def _kind(column: Mapping[str, Any]) -> str:
    form = column.get("form")
    return column["kind"] if form is None else f"{column['kind']}, {form}"


def _seen(column: Mapping[str, Any]) -> str:
    if "categories" in column:
        categories = column["categories"]
        shown = ", ".join(plainly(category) for category in categories[:_SHOWN_CATEGORIES])
        more = f", … ({len(categories):,} in all)" if len(categories) > _SHOWN_CATEGORIES else ""
        return f"{shown}{more}"
    low, high = column["minimum"], column["maximum"]
    if low is None:
        return "unknown"
    if column["kind"] != "date":
        return f"{apart(low, high - low)} to {apart(high, high - low)}"
    return f"{_at(low)} to {_at(high)}"


def _at(value: float) -> str:
    moment = _EPOCH + timedelta(days=value)
    return f"{moment:%Y-%m-%d}" if value.is_integer() else f"{moment:%Y-%m-%d %H:%M}"


def _elsewhere(column: Mapping[str, Any]) -> str:
    """Describes the treatment of missing values and of categories that are unknown from training."""
    missing = "missing refused" if column["missing"] == "refuse" else "may be missing"
    if "unknown" not in column:
        return missing
    return f"{missing}, others {'refused' if column['unknown'] == 'refuse' else 'taken as unknown'}"
