"""Exemplars: the newest of each bucket from all processes, in a text that OpenMetrics' own parser reads."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.exemplars import Exemplar, ExemplarFile, Exemplars
from service.exposition import FamilyText
from service.metrics import OPEN_METRICS_END, REQUEST_SECONDS, SECONDS_BUCKETS
from service.series_file import SeriesFile

LABELS = ("iris", "1")


def exemplars_of(text: str) -> dict[tuple[str, str], Any]:
    """Returns the exemplars of the latency histogram by model and `le`."""
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "axon_request_seconds"]
    return {(s.labels["model"], s.labels["le"]): s.exemplar for s in family.samples if s.exemplar is not None}


def text_of(folder: Path, *, is_open_metrics: bool = True) -> str:
    exemplars = Exemplars(folder, REQUEST_SECONDS) if is_open_metrics else None
    pieces = FamilyText(folder, REQUEST_SECONDS).pieces(exemplars, is_open_metrics=is_open_metrics)
    return (b"".join(pieces) + (OPEN_METRICS_END if is_open_metrics else b"")).decode()


def count(folder: Path, role: str, *seconds: float) -> None:
    """Counts requests in the histogram of one process."""
    file = SeriesFile(folder, role, REQUEST_SECONDS)
    for value in seconds:
        counts = [0.0] * (len(SECONDS_BUCKETS) + 1)
        counts[bisect_left(SECONDS_BUCKETS, value)] = 1
        file.add(LABELS, (*counts, value))
    file.close()


def test_the_newest_exemplar_of_each_bucket_is_shown(tmp_path: Path) -> None:
    values = {
        "api-0": [(0.0015, 10.0, 1), (0.0016, 12.0, 2), (40.0, 11.0, 3)],
        "api-1": [(0.0017, 11.0, 4), (50e-6, 9.0, 5)],
    }
    for role, observations in values.items():
        file = ExemplarFile(tmp_path, role, REQUEST_SECONDS)
        for seconds, at, trace in observations:
            file.observe(LABELS, seconds, f"{trace:032x}", f"{trace:016x}", at)
        asyncio.run(file.write())
        count(tmp_path, role, *(seconds for seconds, _, _ in observations))
    shown = exemplars_of(text_of(tmp_path))
    found = {le: (one.labels["trace_id"], one.value, float(one.timestamp)) for (_, le), one in shown.items()}
    assert found == {
        "5e-05": (f"{5:032x}", 50e-6, 9.0),
        "0.002": (f"{2:032x}", 0.0016, 12.0),
        "+Inf": (f"{3:032x}", 40.0, 11.0),
    }
    assert {one.labels["span_id"] for one in shown.values()} == {f"{trace:016x}" for trace in (2, 3, 5)}


def test_the_classic_text_is_the_same_with_and_without_exemplars(tmp_path: Path) -> None:
    count(tmp_path, "api-0", 0.001)
    before = text_of(tmp_path, is_open_metrics=False)
    file = ExemplarFile(tmp_path, "api-0", REQUEST_SECONDS)
    file.observe(LABELS, 0.001, "a" * 32, "b" * 16, 1.0)
    asyncio.run(file.write())
    assert text_of(tmp_path, is_open_metrics=False) == before
    assert text_of(tmp_path) != before


def test_exemplars_of_series_that_have_ended_are_not_shown(tmp_path: Path) -> None:
    file = ExemplarFile(tmp_path, "api-0", REQUEST_SECONDS)
    file.observe(("gone", "1"), 0.001, "a" * 32, "b" * 16, 1.0)
    asyncio.run(file.write())
    count(tmp_path, "api-0", 0.001)
    assert exemplars_of(text_of(tmp_path)) == {}


def test_the_number_of_exemplars_is_bounded(tmp_path: Path) -> None:
    file = ExemplarFile(tmp_path, "api-0", REQUEST_SECONDS)
    for model in range(3_000):
        for seconds in (0.001, 0.002, 0.0015, 1.0):
            file.observe((f"m{model}", "1"), seconds, "a" * 32, "b" * 16, 1.0)
    asyncio.run(file.write())
    read = Exemplars(tmp_path, REQUEST_SECONDS)._series
    assert set(read) == {(f"m{model}", "1") for model in range(2_000, 3_000)}
    assert {len(buckets) for buckets in read.values()} == {3}


@pytest.mark.parametrize("content", [b"", b"no json", b"[[1]]", b'[[["iris", "1"], [[3, 1]]]]'])
def test_a_damaged_file_costs_its_exemplars_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "axon_request_seconds.api-9.exemplars").write_bytes(content)
    file = ExemplarFile(tmp_path, "api-0", REQUEST_SECONDS)
    file.observe(LABELS, 0.001, "a" * 32, "b" * 16, 1.0)
    asyncio.run(file.write())
    count(tmp_path, "api-0", 0.001)
    assert len(exemplars_of(text_of(tmp_path))) == 1


def test_an_exemplar_fits_into_the_128_characters_of_the_specification() -> None:
    text = Exemplar(0.001, 1.0, "a" * 32, "b" * 16).text().decode()
    names_and_values = text.partition("{")[2].partition("}")[0].replace('"', "").replace("=", "").replace(",", "")
    assert len(names_and_values) <= 128
