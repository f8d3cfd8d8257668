"""Periods of time: hours, days, weeks and months in UTC."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

By = Literal["hour", "day", "week", "month", "all"]
BYS: tuple[By, ...] = get_args(By)

_UNITS = {"hour": "h", "day": "D", "month": "M"}
_A_WEEK, _MONDAY = 7 * 86_400, 4 * 86_400  # in seconds; 1970-01-05 was a Monday


def starts_of(times: NDArray[np.float64], by: By) -> NDArray[np.int64]:
    """Returns the start of the period of each time, `(rows,)`, in seconds since 1970; 0 for `all`.

    Args:
        times: `(rows,)` seconds since 1970.
        by: length of the periods.
    """
    seconds = np.floor(times).astype(np.int64)
    if by == "all":
        return np.zeros(len(times), dtype=np.int64)
    if by == "week":
        return (seconds - _MONDAY) // _A_WEEK * _A_WEEK + _MONDAY
    moments: NDArray[Any] = seconds.astype("datetime64[s]")
    return moments.astype(f"datetime64[{_UNITS[by]}]").astype("datetime64[s]").astype(np.int64)


def period_text(start: int, by: By) -> str:
    """Writes a period for people."""
    if by == "all":
        return "all"
    text = str(np.datetime64(start, "s"))
    return {"hour": text[:13].replace("T", " ") + ":00", "month": text[:7]}.get(by, text[:10])
