"""Metrics: what is gathered and flushed in bulk is what a plain histogram would hold."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.metrics import SECONDS_BUCKETS, ApiMetrics


class _Nothing(Collector):
    def collect(self) -> list[prometheus_client.Metric]:
        return []


@pytest.fixture
def plain_values() -> object:
    """prometheus_client's in-process values again, once a test has switched them to files."""
    before = prometheus_client.values.ValueClass
    yield
    prometheus_client.values.close_all_multiprocess_files()
    prometheus_client.values.ValueClass = before


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
        return metrics.exposition(_Nothing()).decode()

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
