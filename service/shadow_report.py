"""The state and the counts of shadows in `GET /models`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from models.store_entry import StoreEntry
from service.batching.shadow import Shadow
from service.metrics import ApiMetrics
from service.series_file import Labels, Values
from service.shadow_metrics import SHADOW_ROWS, Outcome
from service.time_slices import in_slices

Counts = Mapping[Labels, Values]


class ShadowReport:
    """A reader of what the shadows of all processes have counted.

    Args:
        metrics: metrics of the API process.
    """

    def __init__(self, metrics: ApiMetrics) -> None:
        self._reader = metrics.reader(SHADOW_ROWS)

    async def read(self, entries: Iterable[StoreEntry]) -> Counts:
        """Returns the counts of all processes, by labels; nothing is read if no entry has a shadow."""
        sums: dict[Labels, Values] = {}
        if any(entry.shadows for entry in entries):
            async for sums in in_slices(self._reader.read()):  # noqa: B007 -- the last value is complete
                pass
        return sums


def shadow_documents(entry: StoreEntry, shadows: Mapping[str, Shadow], counts: Counts) -> dict[str, Any]:
    """Returns the shadows of a model as JSON types, by alias.

    Args:
        entry: entry of the store.
        shadows: shadows of this process, by alias.
        counts: counts of all processes.
    """
    return {
        alias: setting.to_json() | _state(shadows.get(alias)) | {"rows": _rows(entry.name, setting.version, counts)}
        for alias, setting in entry.shadows.items()
    }


def _state(shadow: Shadow | None) -> dict[str, Any]:
    """Returns the state of a shadow in this process, and the reason of a state that is not `ready`."""
    state, reason = ("not loaded", "The alias is not served; see `problems`.") if shadow is None else shadow.state
    return {"state": state, "reason": reason}


def _rows(name: str, shadow: int, counts: Counts) -> dict[str, int]:
    """Returns the number of rows by outcome, of all main versions beside a shadow."""
    rows = dict.fromkeys(Outcome, 0)
    for (model, _, version, outcome), (number,) in counts.items():
        if (model, version) == (name, str(shadow)):
            rows[Outcome(outcome)] += int(number)
    return {outcome.value: number for outcome, number in rows.items()}
