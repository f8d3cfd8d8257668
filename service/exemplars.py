"""Exemplars: for each bucket of the latency histogram, the newest sampled request, with its trace.

Each API process writes a file of its own, and each reads all files for a scrape. The number of exemplars is bounded by
the number of buckets, and by the number of model versions.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from service.series_file import Family, Labels

_MOST_SERIES = 1_000  # model versions with exemplars; the one that has waited longest for a request leaves first
_NOTHING: Mapping[int, Exemplar] = {}


class Exemplar(NamedTuple):
    """One observation of a bucket.

    Attributes:
        seconds: observed value, in seconds.
        at: time of the observation, in seconds since 1970.
        trace_id: identifier of the trace, as 32 hexadecimal digits.
        span_id: identifier of the span, as 16 hexadecimal digits.
    """

    seconds: float
    at: float
    trace_id: str
    span_id: str

    def text(self) -> bytes:
        """Returns the exemplar in the form of OpenMetrics, to follow a sample."""
        return f' # {{trace_id="{self.trace_id}",span_id="{self.span_id}"}} {self.seconds!r} {self.at:.3f}'.encode()


class ExemplarFile:
    """The exemplars of one API process.

    Args:
        folder: folder of the metric files.
        role: name of the process.
        family: family of the histogram.
    """

    def __init__(self, folder: Path, role: str, family: Family) -> None:
        self._path = folder / f"{family.name}.{role}.exemplars"
        self._bounds = family.bounds
        self._series: dict[Labels, dict[int, Exemplar]] = {}
        self._has_changed = False

    def observe(self, labels: Labels, seconds: float, trace_id: str, span_id: str, at: float) -> None:
        """Keeps an observation as the newest of its bucket.

        Args:
            labels: values of the histogram's labels.
            seconds: observed value, in seconds.
            trace_id: identifier of the trace, as 32 hexadecimal digits.
            span_id: identifier of the span, as 16 hexadecimal digits.
            at: time of the observation, in seconds since 1970.
        """
        buckets = self._series.get(labels)
        if buckets is None:
            if len(self._series) >= _MOST_SERIES:
                del self._series[next(iter(self._series))]
            buckets = self._series[labels] = {}
        buckets[bisect_left(self._bounds, seconds)] = Exemplar(seconds, at, trace_id, span_id)
        self._has_changed = True

    async def write(self) -> None:
        """Writes the file if something has changed, in a thread; a full disk costs exemplars and nothing else."""
        if not self._has_changed:
            return
        self._has_changed = False
        series = [
            [labels, [[bucket, *exemplar] for bucket, exemplar in buckets.items()]]
            for labels, buckets in self._series.items()
        ]
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._replace, series)

    def _replace(self, series: object) -> None:
        """Replaces the file as a whole, so that a reader finds the old content or the new."""
        new = self._path.with_suffix(".new")
        new.write_bytes(orjson.dumps(series))
        new.replace(self._path)


class Exemplars:
    """The exemplars of all API processes.

    Args:
        folder: folder of the metric files.
        family: family of the histogram.
    """

    def __init__(self, folder: Path, family: Family) -> None:
        self._series: dict[Labels, dict[int, Exemplar]] = {}
        self._inner_buckets = len(family.bounds)
        for path in sorted(folder.glob(f"{family.name}.*.exemplars")):
            with contextlib.suppress(OSError, TypeError, ValueError):
                for labels, buckets in orjson.loads(path.read_bytes()):
                    known = self._series.setdefault(tuple(labels), {})
                    for bucket, *values in buckets:
                        exemplar = Exemplar(*values)
                        if bucket not in known or known[bucket].at < exemplar.at:
                            known[bucket] = exemplar

    def added_to(self, text: bytes, labels: Labels) -> bytes:
        """Returns the lines of one series, with the exemplars behind the samples of their buckets.

        Args:
            text: lines of the series: one for each bucket, then others.
            labels: values of the labels of the series.
        """
        buckets = self._series.get(labels, _NOTHING)
        if not buckets:
            return text
        lines = text.split(b"\n")
        for bucket, exemplar in buckets.items():
            if 0 <= bucket <= self._inner_buckets and math.isfinite(exemplar.seconds):
                lines[bucket] += exemplar.text()
        return b"\n".join(lines)
