"""The export loses spans under pressure, counts the lost ones, and holds nobody."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from otlp_collector import Collector, collecting
from serving import wait_until

from service.request_trace import BatchShare, RequestTrace
from service.span_facts import SpanFacts
from service.trace_context import TraceContext
from service.tracing.environment import read_trace_settings
from service.tracing.export import SpanExport
from service.tracing.records import BatchRecord, RequestRecord
from service.tracing.span_sender import SpanSender
from service.tracing.span_writer import SpanWriter

BATCH_TRACE, BATCH_SPAN = f"{9:032x}", f"{8:016x}"


class Counts:
    def __init__(self) -> None:
        self.spans: Counter[str] = Counter()

    def exported(self, spans: int) -> None:
        self.spans["exported"] += spans

    def dropped(self, spans: int, reason: str) -> None:
        self.spans[reason] += spans


def request(number: int = 1) -> RequestRecord:
    """Returns a request that was lost once: one span, with admission, two waits and a forward pass."""
    trace = RequestTrace(f"{number:032x}", f"{number:016x}", TraceContext(f"{number:032x}", f"{5:016x}", 1), b"a=b,c=d")
    now = time.monotonic()
    trace.sent(now + 1, now + 2)
    trace.lost(now + 3, "worker lost")
    trace.sent(now + 1, now + 4)
    trace.shares.append(BatchShare(BATCH_TRACE, BATCH_SPAN, now + 5, now + 6, 2))
    return RequestRecord(trace, SpanFacts("POST /predict", {"axon.rows": 2}, None), now, now + 7, now + 1)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def export_to(url: str, counts: Counts, **variables: str) -> SpanExport:
    settings = read_trace_settings({"OTEL_BSP_SCHEDULE_DELAY": "20"} | variables)
    sender = SpanSender(endpoint=f"{url}/v1/traces", timeout=5)
    export = SpanExport(SpanWriter("api-0", settings.most_links), sender, counts, settings)
    export.start()
    return export


def test_a_request_and_a_batch_become_spans_with_their_parents_times_and_links(collector: Collector) -> None:
    counts = Counts()
    export = export_to(collector.url, counts)
    now = time.time()
    export.add(request())
    began = time.monotonic()
    export.add(
        BatchRecord((BATCH_TRACE, BATCH_SPAN), began, began + 1, {"axon.rows": 2}, [(f"{1:032x}", f"{1:016x}")], "x")
    )
    spans = collector.wait_for(6)
    export.close(5)
    assert counts.spans == {"exported": 6}
    root, admission, *waits, compute, batch = spans
    assert [span.name for span in spans] == ["POST /predict", "admission", "queue", "queue", "compute", "batch"]
    assert (root.trace_id, root.span_id, root.parent_id) == (f"{1:032x}", f"{1:016x}", f"{5:016x}")
    for child in (admission, *waits, compute):
        assert (child.trace_id, child.parent_id, child.state) == (root.trace_id, root.span_id, "a=b,c=d")
    assert len({span.span_id for span in spans}) == 6
    steps = [
        (span.name, round((span.began - root.began) / 1e9, 6), round((span.ended - root.began) / 1e9, 6))
        for span in spans
    ]
    assert steps[:-1] == [
        ("POST /predict", 0, 7), ("admission", 0, 1), ("queue", 1, 2), ("queue", 3, 4), ("compute", 5, 6)
    ]  # fmt: skip
    assert abs(root.began / 1e9 - now) < 1
    assert root.events == ("worker lost",)
    assert compute.links == ((batch.trace_id, batch.span_id),)
    assert batch.links == ((root.trace_id, root.span_id),)
    assert (batch.trace_id, batch.parent_id, batch.attributes["error.type"]) == (BATCH_TRACE, "", "x")
    assert root.resource["service.name"] == "axon"
    assert root.resource["axon.process"] == "api-0"


def test_a_full_queue_drops_spans_and_counts_them(collector: Collector) -> None:
    counts = Counts()
    collector.held.clear()
    export = export_to(collector.url, counts, OTEL_BSP_MAX_QUEUE_SIZE="50")
    export.add(request())
    wait_until(lambda: collector.requests == 1)  # the thread waits for the collector now
    started = time.thread_time()
    for number in range(2, 10_002):
        export.add(request(number))
    assert time.thread_time() - started < 5
    export.report_overflow()
    collector.held.set()
    wait_until(lambda: counts.spans["exported"] + counts.spans["queue-full"] == 5 * 10_001, lambda: str(counts.spans))
    export.close(5)
    assert 5 < counts.spans["exported"] <= 55
    assert len(collector.spans()) == counts.spans["exported"]


@pytest.mark.parametrize("status", [400, 500])
def test_a_collector_that_answers_errors_costs_the_spans(
    collector: Collector, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    collector.status = status
    export = export_to(collector.url, counts)
    export.add(request())
    wait_until(lambda: counts.spans["refused"] == 5, lambda: str(counts.spans))
    collector.status = 200
    export.add(request(2))
    assert collector.wait_for(1, trace_id=f"{2:032x}")
    export.close(5)
    assert counts.spans == {"refused": 5, "exported": 5}


def test_the_last_spans_are_sent_at_the_stop(collector: Collector) -> None:
    counts = Counts()
    export = export_to(collector.url, counts, OTEL_BSP_SCHEDULE_DELAY="3600000")
    export.add(request())
    export.close(10)
    assert len(collector.spans()) == counts.spans["exported"] == 5


def test_a_stop_does_not_wait_for_a_collector_that_is_down() -> None:
    with collecting() as gone:
        url = gone.url
    export = export_to(url, Counts(), OTEL_BSP_SCHEDULE_DELAY="3600000")
    export.add(request())
    started = time.monotonic()
    export.close(0.1)
    assert time.monotonic() - started < 4  # the exporter would try for 5 s
    assert not [thread for thread in threading.enumerate() if thread.name == "traces" and thread is export._thread]


def test_an_error_in_the_export_costs_its_spans_and_not_the_thread(collector: Collector) -> None:
    counts = Counts()
    export = export_to(collector.url, counts)
    broken = request()
    broken.trace.trace_id = "no number"
    export.add(broken)
    wait_until(lambda: counts.spans["refused"] == 5)
    export.add(request(2))
    assert collector.wait_for(5)
    export.close(5)
