"""Metrics: bulk updates and flushes give the same as a plain histogram."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.exposition import FamilyText, in_chunks
from service.metrics import SECONDS_BUCKETS, ApiMetrics, WorkerMetrics, set_role
from service.series_file import Family, SeriesFile


class _Nothing(Collector):
    def collect(self) -> list[prometheus_client.Metric]:
        return []


@pytest.fixture
def plain_values() -> object:
    """prometheus_client's in-process values again, after a test has switched to files."""
    before = prometheus_client.values.ValueClass
    yield
    prometheus_client.values.close_all_multiprocess_files()
    prometheus_client.values.ValueClass = before


def samples_of(text: str) -> dict[tuple[str, str | None, str | None], float]:
    """Returns values by metric, model and version, summed over statuses."""
    found: dict[tuple[str, str | None, str | None], float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_total", "_count")):
                found[sample.name, sample.labels.get("model"), sample.labels.get("version")] += sample.value
    return found


def test_series_end_with_their_version_in_every_process(tmp_path: Path, plain_values: object) -> None:
    served: frozenset[str] = frozenset({"iris@1", "iris@2"})
    set_role("worker-0")
    worker = WorkerMetrics(tmp_path, lambda: served)

    def run_batches(*versions: int) -> None:
        for version in versions:
            worker.observe_batch("iris", version, 3, 0.001)
        worker._flush_at = 0.0
        worker.flush_if_due()

    async def scenario() -> None:
        nonlocal served
        metrics = ApiMetrics(tmp_path)
        metrics.start("api-0", lambda: 0)

        async def text() -> str:
            metrics.flush()
            return b"".join(await in_chunks(metrics.exposition(_Nothing()))).decode()

        models = {version: metrics.for_model("iris", str(version)) for version in (1, 2, 3)}
        metrics.unrouted.observe_request(404, 0.001)
        for version in (1, 2):
            models[version].observe_request(200, 0.001, rows=2)
        run_batches(1, 2)
        names = ("axon_requests_total", "axon_rows_total", "axon_request_seconds_count", "axon_inference_seconds_count")
        samples = samples_of(await text())
        assert all(samples[name, "iris", version] >= 1 for name in names for version in "12")
        # Version 1 ends during one of its requests and one of its batches; version 3 starts.
        served = frozenset({"iris@2", "iris@3"})
        metrics.keep_only({("iris", "2"), ("iris", "3")})
        for version in (1, 2, 3):
            models[version].observe_request(200, 0.001, rows=2)
        worker.measure_memory()
        run_batches(1, 2, 3)
        after = samples_of(await text())
        assert 'version="1"' not in await text()
        for name in names:
            assert after[name, "iris", "2"] == 2 * samples[name, "iris", "2"], "what lives goes on counting"
            assert after[name, "iris", "3"] == samples[name, "iris", "1"]
        assert after["axon_requests_total", "", ""] == 1, "requests of no model are no version's"
        # A version that returns starts from zero.
        served = frozenset({"iris@1", "iris@2", "iris@3"})
        metrics.for_model("iris", "1").observe_request(200, 0.001, rows=2)
        assert samples_of(await text())["axon_rows_total", "iris", "1"] == 2

    asyncio.run(scenario())


def test_labels_are_written_so_that_prometheus_reads_them(tmp_path: Path) -> None:
    odd = 'a "quoted" \\ back\nline %d {}'
    family = Family("odd_total", "Odd.", ("model", "column"))
    file = SeriesFile(tmp_path, "api-0", family)
    file.add(("m", odd), (2,))
    file.close()
    text = b"".join(FamilyText(tmp_path, family).pieces()).decode()
    [parsed] = text_string_to_metric_families(text)
    assert [(sample.labels, sample.value) for sample in parsed.samples] == [({"model": "m", "column": odd}, 2)]


def test_a_histogram_flushed_in_bulk_equals_a_plain_one(tmp_path: Path, plain_values: object) -> None:
    rng = random.Random(0)
    seen = [rng.lognormvariate(-6, 2) for _ in range(500)] + [SECONDS_BUCKETS[0], SECONDS_BUCKETS[-1], 100.0]
    plain = Histogram("plain_seconds", "", buckets=SECONDS_BUCKETS, registry=(registry := CollectorRegistry()))
    for value in seen:
        plain.observe(value)
    expected = {
        (sample.name.removeprefix("plain"), sample.labels.get("le")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }

    async def gather() -> str:
        metrics = ApiMetrics(tmp_path)
        metrics.start("api-0", lambda: 5)
        model = metrics.for_model("iris", "1")
        for i, value in enumerate(seen):
            model.observe_request(200 if i % 2 else 422, value, rows=2)
            if i % 100 == 0:
                metrics.flush()
        metrics.flush()
        return b"".join(await in_chunks(metrics.exposition(_Nothing()))).decode()

    samples = {
        (sample.name, sample.labels.get("le"), sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(asyncio.run(gather()))
        for sample in family.samples
    }
    for (name, bound), value in expected.items():
        assert samples[f"axon_request{name}", bound, None] == pytest.approx(value), (name, bound)
    answered = [samples["axon_requests_total", None, status] for status in ("200", "422")]
    assert answered == [len(seen) // 2, len(seen) - len(seen) // 2]
    assert samples["axon_rows_total", None, None] == 2 * len(seen)
    assert samples["axon_queue_rows", None, None] == 5
