"""The figures of a checkpoint's header, which may hold any JSON: what is not a number is left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from models.finite_number import is_finite_number

_MOST_EXACT = 2**53


def numbers_of(section: object) -> dict[str, float]:
    """Returns the finite numbers of a section, by name.

    Args:
        section: value of any JSON type, such as the metrics of one part.
    """
    if not isinstance(section, Mapping):
        return {}
    # JSON's writer takes whole numbers of 64 bits.
    return {
        name: value if isinstance(value, float) or abs(value) <= _MOST_EXACT else float(value)
        for name, value in section.items()
        if is_finite_number(value)
    }


def test_metrics_of(header: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of the test part in a header, by name; empty if there are none."""
    metrics = header.get("metrics")
    return numbers_of(metrics.get("test") if isinstance(metrics, Mapping) else None)


def histories_of(section: object) -> dict[str, list[float]]:
    """Returns the lists of finite numbers of a section, by name.

    Args:
        section: value of any JSON type, such as the history of a run.
    """
    if not isinstance(section, Mapping):
        return {}
    return {
        name: values
        for name, values in section.items()
        if isinstance(values, list) and all(map(is_finite_number, values))
    }


def time_text(nanoseconds: int) -> str:
    """Returns a time in ISO 8601, in UTC to the second.

    Args:
        nanoseconds: time since 1970-01-01, in nanoseconds.
    """
    seconds = min(max(nanoseconds // 1_000_000_000, 0), 253_402_300_799)  # the end of the year 9999
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
