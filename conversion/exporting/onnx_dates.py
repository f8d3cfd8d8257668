"""Parts of the calendar as ONNX operators: integer arithmetic on days since 1970, (rows, 1) int64 each.

ONNX divides integers towards zero, so that moments before 1970 need the remainder first, which has the divisor's sign.
"""

from __future__ import annotations

import numpy as np

from conversion.exporting.graph import Graph
from models.columns.dates import CIRCLES, Part

MICROSECONDS_A_DAY = 86_400_000_000
_MICROSECONDS_AN_HOUR = MICROSECONDS_A_DAY // 24
_THURSDAY = 3  # the weekday of 1970-01-01, counted from Monday

# The days of eras of 400 years that begin in March, as in Howard Hinnant's `civil_from_days`, so that a leap day is the
# last day of a year.
_DAYS_BEFORE_1970, _DAYS_AN_ERA = 719_468, 146_097


def add_circle_points(graph: Graph, part: Part, moments: str, missing: str) -> str:
    """Adds sine and cosine of a part of the calendar.

    Args:
        graph: graph to add to.
        part: part of the calendar.
        moments: microseconds since 1970, (rows, 1) int64.
        missing: flags of missing moments, (rows, 1) booleans.

    Returns:
        Points, (rows, 2) float32; 0 and 0 for a missing moment.
    """
    points = np.array([*CIRCLES[part], (0.0, 0.0)]).astype(np.float32)
    value = graph.op("Where", missing, graph.constant(np.int64(len(points) - 1)), _PARTS[part](graph, moments))
    return graph.op("Flatten", graph.op("Gather", graph.constant(points), value, axis=0), axis=1)


def _floor(graph: Graph, value: str, divisor: int) -> str:
    by = graph.constant(np.int64(divisor))
    return graph.op("Div", graph.op("Sub", value, graph.op("Mod", value, by)), by)


def _times(graph: Graph, value: str, factor: int) -> str:
    return graph.op("Mul", value, graph.constant(np.int64(factor)))


def _plus(graph: Graph, value: str, number: int) -> str:
    return graph.op("Add", value, graph.constant(np.int64(number)))


def _mod(graph: Graph, value: str, divisor: int) -> str:
    return graph.op("Mod", value, graph.constant(np.int64(divisor)))


def _days(graph: Graph, moments: str) -> str:
    return _floor(graph, moments, MICROSECONDS_A_DAY)


def _weekday(graph: Graph, moments: str) -> str:
    return _mod(graph, _plus(graph, _days(graph, moments), _THURSDAY), 7)


def _hour(graph: Graph, moments: str) -> str:
    return _floor(graph, _mod(graph, moments, MICROSECONDS_A_DAY), _MICROSECONDS_AN_HOUR)


def _day_of_year(graph: Graph, moments: str) -> str:
    """Counts the days since the first of March before the moment, from 0."""
    day = _mod(graph, _plus(graph, _days(graph, moments), _DAYS_BEFORE_1970), _DAYS_AN_ERA)  # of the era
    leaps = graph.op("Sub", _floor(graph, day, 36_524), _floor(graph, day, 1_460))
    leaps = graph.op("Sub", leaps, _floor(graph, day, 146_096))
    year = _floor(graph, graph.op("Add", day, leaps), 365)  # of the era
    before = graph.op("Add", _times(graph, year, 365), _floor(graph, year, 4))
    before = graph.op("Sub", before, _floor(graph, year, 100))
    return graph.op("Sub", day, before)


def _month_since_march(graph: Graph, moments: str) -> str:
    return _floor(graph, _plus(graph, _times(graph, _day_of_year(graph, moments), 5), 2), 153)


def _month(graph: Graph, moments: str) -> str:
    return _mod(graph, _plus(graph, _month_since_march(graph, moments), 2), 12)


def _day(graph: Graph, moments: str) -> str:
    begin = _floor(graph, _plus(graph, _times(graph, _month_since_march(graph, moments), 153), 2), 5)
    return graph.op("Sub", _day_of_year(graph, moments), begin)


# Functions from moments to the value of a part, counted from 0, as in `models.columns.dates.PART_OF`.
_PARTS = {"month": _month, "day": _day, "weekday": _weekday, "hour": _hour}
