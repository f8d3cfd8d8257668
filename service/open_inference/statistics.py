"""Statistics of models in the form of Triton's statistics extension, from the metrics of all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from service.metrics import (
    BATCH_ROWS,
    INFERENCE_SECONDS,
    QUEUE_WAIT_SECONDS,
    REQUEST_SECONDS,
    REQUESTS,
    ROWS,
    ApiMetrics,
)
from service.series_file import Family, Labels, Values
from service.time_slices import in_slices

_NANOSECONDS = 1e9
_NONE = {"count": 0, "ns": 0}


class Statistics:
    """A reader of the statistics of models.

    Args:
        metrics: metrics of the API process.
    """

    def __init__(self, metrics: ApiMetrics) -> None:
        self._metrics = metrics
        families = REQUESTS, ROWS, REQUEST_SECONDS, QUEUE_WAIT_SECONDS, INFERENCE_SECONDS, BATCH_ROWS
        self._readers = {family.name: metrics.reader(family) for family in families}

    async def read(self, versions: Iterable[Labels]) -> list[dict[str, Any]]:
        """Returns the statistics of model versions.

        Args:
            versions: name and version of each.
        """
        self._metrics.flush()
        sums = {name: await self._sums(name) for name in self._readers}
        outcomes: dict[Labels, list[int]] = {}
        async for (name, version, status), (count,) in in_slices(sums[REQUESTS.name].items()):
            outcomes.setdefault((name, version), [0, 0])[int(status) != HTTPStatus.OK] += int(count)
        return [_statistics(labels, outcomes.get(labels, (0, 0)), sums) async for labels in in_slices(versions)]

    async def _sums(self, name: str) -> dict[Labels, Values]:
        """Returns the sums of one metric over all processes, by labels."""
        sums: dict[Labels, Values] = {}
        async for sums in in_slices(self._readers[name].read()):  # noqa: B007 -- the last value is complete
            pass
        return sums


def _statistics(labels: Labels, outcomes: Sequence[int], sums: dict[str, dict[Labels, Values]]) -> dict[str, Any]:
    """Returns the statistics of one version.

    A batch is computed once for all of its requests. So `compute_infer` counts batches, while the others count
    requests. The time of failed requests is in `success`, because it is not measured apart.

    Args:
        labels: name and version.
        outcomes: numbers of requests that succeeded and that failed.
        sums: sums by labels, by name of the metric.
    """
    succeeded, failed = outcomes
    rows = int(sums[ROWS.name].get(labels, (0,))[0])
    inference = _duration(INFERENCE_SECONDS, labels, sums)
    within = {"count": inference["count"], "ns": 0}  # perf_analyzer ends if the three counts differ
    return {
        "name": labels[0],
        "version": labels[1],
        "last_inference": 0,
        "inference_count": rows,
        "execution_count": inference["count"],
        "inference_stats": {
            "success": {"count": succeeded, "ns": _duration(REQUEST_SECONDS, labels, sums)["ns"]},
            "fail": {"count": failed, "ns": 0},
            "queue": _duration(QUEUE_WAIT_SECONDS, labels, sums),
            "compute_input": within,
            "compute_infer": inference,
            "compute_output": within,
            "cache_hit": _NONE,
            "cache_miss": _NONE,
        },
        "batch_stats": [],
        "memory_usage": [],
    }


def _duration(family: Family, labels: Labels, sums: dict[str, dict[Labels, Values]]) -> dict[str, int]:
    """Returns count and sum of a histogram of seconds, the sum in nanoseconds."""
    values = sums[family.name].get(labels)
    if values is None:
        return dict(_NONE)
    *counts, seconds = values
    return {"count": int(sum(counts)), "ns": int(seconds * _NANOSECONDS)}
