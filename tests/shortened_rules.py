"""A copy of the rules in which all times are shorter, so that a test sees an hour of monitoring in a minute.

The ranges in brackets (`[5m]`) and the fields `for`, `keep_firing_for` and `interval` are divided by a factor. Nothing
else of the rules is a time: they have no `offset` and no subquery, which `test_rules.py` checks. Names of recorded
series (`…:ratio_rate5m`) stay.
"""

from __future__ import annotations

import re

FACTOR = 60

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = r"(\d+)(ms|s|m|h|d)"
_RANGE = re.compile(rf"\[{_TIME}\]")
_FIELD = re.compile(rf"^(\s*(?:for|keep_firing_for|interval): ){_TIME}$", re.MULTILINE)


def milliseconds(time: str) -> int:
    """Returns the length of a time such as `5m`."""
    found = re.fullmatch(_TIME, time)
    assert found is not None, time
    return int(found[1]) * _MILLISECONDS[found[2]]


def shortened(text: str, factor: int = FACTOR) -> str:
    """Returns the text of a rule file with shorter times.

    Args:
        text: text of a rule file.
        factor: number by which each time is divided.
    """

    def shorter(number: str, unit: str) -> str:
        whole, rest = divmod(int(number) * _MILLISECONDS[unit], factor)
        assert rest == 0, f"{number}{unit} / {factor} is not a number of milliseconds"
        return f"{whole}ms"

    text = _RANGE.sub(lambda found: f"[{shorter(found[1], found[2])}]", text)
    return _FIELD.sub(lambda found: found[1] + shorter(found[2], found[3]), text)
