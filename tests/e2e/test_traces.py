"""Traces: one trace from the client to the forward pass, over HTTP and gRPC, in a real collector of the test."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from grpc_client import GrpcServer, message_class
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otlp_collector import ERROR, SERVER, CollectedSpan, Collector, collecting
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import ROOT, Server, http_client, http_get, http_post, make_store, metric_sum, running, wait_until

from axon.client import Client
from models.store import Store

pytestmark = pytest.mark.slow

ROW = [0.1, 0.2, 0.3, 0.4]
BODY: dict[str, Any] = {"model": "colours", "instances": [ROW]}
PROMETHEUS_ACCEPTS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class TracedServer(GrpcServer):
    """A server with traces, whose collector is in a variable of OpenTelemetry."""

    def __init__(self, store: Path, folder: Path, *, collector: str, **settings: object) -> None:
        super().__init__(store, folder, traces="on", access_log=True, **settings)
        self.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[TracedServer]:
    folder = tmp_path_factory.mktemp("traces")
    kind: Any = TracedServer
    with running(make_store(folder).root, folder, kind, collector=collector.url, api_processes=2) as server:
        assert isinstance(server, TracedServer)
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture(scope="module")
def server_without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("untraced")
    with running(make_store(folder).root, folder, access_log=True) as server:
        yield server


@pytest.fixture
def tracer(collector: Collector) -> Iterator[trace.Tracer]:
    """The tracer of a client program, whose spans go to the same collector."""
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    yield provider.get_tracer("shop")
    provider.shutdown()


def new_traceparent(flags: str = "01") -> str:
    return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-{flags}"


def trace_of(traceparent: str) -> str:
    return traceparent.split("-")[1]


def predict(server: Server, traceparent: str, **more: str) -> Any:
    return http_post(f"{server.url}/predict", json=BODY, headers={"traceparent": traceparent} | more)


def log_line(server: Server, request_id: str) -> dict[str, Any]:
    """Waits for the access log's line of a request, and returns the line."""
    found: list[dict[str, Any]] = []

    def has_come() -> bool:
        found[:] = [json.loads(line) for line in server.log().splitlines() if f'"{request_id}"' in line]
        return bool(found)

    wait_until(has_come, server.log)
    return found[0]


def check_request(collector: Collector, trace_id: str, parent_id: str) -> CollectedSpan:
    """Checks the spans of one request and the link with its batch; returns the request's span."""
    wait_until(lambda: len([s for s in collector.spans(trace_id=trace_id) if s.name == "compute"]) == 1)
    spans = collector.spans(trace_id=trace_id)
    (root,) = [span for span in spans if span.kind == SERVER]
    assert root.parent_id == parent_id
    children = {span.name: span for span in spans if span.parent_id == root.span_id}
    assert children.keys() == {"admission", "queue", "compute"}
    steps = [children[name] for name in ("admission", "queue", "compute")]
    assert root.began == steps[0].began
    assert all(a.began <= a.ended <= b.began <= b.ended <= root.ended for a, b in pairwise(steps))
    (link,) = children["compute"].links
    (batch,) = collector.wait_for(1, trace_id=link[0])
    assert (batch.name, batch.span_id, batch.parent_id) == ("batch", link[1], "")
    assert (root.trace_id, root.span_id) in batch.links
    assert batch.attributes["axon.model"] == root.attributes["axon.model"] == "colours"
    assert batch.attributes["axon.version"] == root.attributes["axon.version"] == 1
    return root


def test_one_trace_leads_from_the_client_to_the_forward_pass(
    server: TracedServer, collector: Collector, tracer: trace.Tracer
) -> None:
    with Client(server.url) as client, tracer.start_as_current_span("order") as span:
        client.predict([ROW], "colours")
    context = span.get_span_context()
    root = check_request(collector, f"{context.trace_id:032x}", f"{context.span_id:016x}")
    (order,) = collector.spans(trace_id=root.trace_id, name="order")
    assert order.resource["service.name"] == "shop"
    assert root.resource["service.name"] == "axon"
    assert order.began <= root.began <= root.ended <= order.ended
    assert root.name == "POST /predict"
    expected = {
        "http.request.method": "POST",
        "http.route": "/predict",
        "url.path": "/predict",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "axon.rows": 1,
    }
    assert expected.items() <= root.attributes.items()


def test_a_call_over_grpc_has_the_same_trace(server: TracedServer, collector: Collector, tracer: trace.Tracer) -> None:
    with server.client() as client, tracer.start_as_current_span("order") as span:
        headers: dict[str, str] = {}
        inject(headers)
        tensor = {"name": "rows", "datatype": "FP32", "shape": [1, 4], "contents": {"fp32_contents": ROW}}
        request = message_class("inference.ModelInferRequest")(model_name="colours", inputs=[tensor])
        answer, call = client.method("ModelInfer").with_call(request, metadata=list(headers.items()))
    context = span.get_span_context()
    root = check_request(collector, f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert dict(call.trailing_metadata())["traceresponse"] == f"00-{root.trace_id}-{root.span_id}-01"
    assert answer.model_name == "colours"
    assert root.name == "inference.GRPCInferenceService/ModelInfer"
    expected = {"rpc.system.name": "grpc", "rpc.method": root.name, "rpc.response.status_code": "OK"}
    assert expected.items() <= root.attributes.items()


def test_each_request_of_a_batch_has_its_own_trace_and_the_batch_links_to_all(
    server: TracedServer, collector: Collector
) -> None:
    (worker,) = server.worker_pids()
    parents = [new_traceparent() for _ in range(24)]
    os.kill(worker, signal.SIGSTOP)  # what comes meanwhile gathers
    try:
        with ThreadPoolExecutor(len(parents)) as pool:
            answers = [pool.submit(predict, server, parent) for parent in parents]
            wait_until(lambda: metric_sum(server, "axon_queue_rows") >= 3)  # so at least two wait in one process
            os.kill(worker, signal.SIGCONT)
            assert {answer.result().status_code for answer in answers} == {200}
    finally:
        os.kill(worker, signal.SIGCONT)
    roots = [check_request(collector, trace_of(parent), parent.split("-")[2]) for parent in parents]
    ours = {(root.trace_id, root.span_id) for root in roots}
    batches = [batch for batch in collector.spans(name="batch") if ours & set(batch.links)]
    linked = [link for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(ours)  # each request is in one batch
    assert max(len(batch.links) for batch in batches) > 1
    for batch in batches:
        assert batch.attributes["axon.batch.requests"] == len(batch.links)


def test_a_request_in_several_batches_is_linked_with_each(server: TracedServer, collector: Collector) -> None:
    parent = new_traceparent()
    body = {"model": "colours", "instances": [ROW] * 20_000}
    answer = http_post(f"{server.url}/predict", json=body, headers={"traceparent": parent}, timeout=60)
    assert answer.status_code == 200, answer.text
    wait_until(lambda: bool([s for s in collector.spans(trace_id=trace_of(parent)) if s.kind == SERVER]))
    computes = [span for span in collector.spans(trace_id=trace_of(parent)) if span.name == "compute"]
    assert len(computes) > 1
    assert sum(span.attributes["axon.rows"] for span in computes) == 20_000
    assert len({link for span in computes for link in span.links}) == len(computes)


def test_a_request_that_is_refused_has_a_trace_too(server: TracedServer, collector: Collector) -> None:
    parent = new_traceparent()
    body = {"model": "nobody", "instances": [ROW]}
    answer = http_post(f"{server.url}/predict", json=body, headers={"traceparent": parent})
    assert answer.status_code == 404
    spans = collector.wait_for(2, trace_id=trace_of(parent))
    root, admission = sorted(spans, key=lambda span: span.kind != SERVER)
    assert root.attributes["http.response.status_code"] == 404
    assert root.status != ERROR  # an error of the client
    assert (admission.name, admission.parent_id) == ("admission", root.span_id)
    assert answer.headers["traceresponse"] == f"00-{root.trace_id}-{root.span_id}-01"


def test_a_worker_that_dies_is_an_event_and_a_failed_batch(server: TracedServer, collector: Collector) -> None:
    (worker,) = server.worker_pids()
    parents = [new_traceparent() for _ in range(8)]
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(len(parents)) as pool:
        answers = [pool.submit(predict, server, parent) for parent in parents]
        wait_until(lambda: metric_sum(server, "axon_queue_rows") >= 1)  # so a batch is with the worker
        os.kill(worker, signal.SIGKILL)
        assert {answer.result().status_code for answer in answers} == {200}
    roots = [root for parent in parents for root in spans_of(collector, parent, "POST /predict", 1)]
    retried = [root for root in roots if root.events]
    assert retried
    for root in retried:
        assert root.events == ("worker lost",)
        ours = (root.trace_id, root.span_id)
        wait_until(lambda ours=ours: len(linked_batches(collector, ours)) == 2)  # type: ignore[misc]
        lost, again = linked_batches(collector, ours)
        assert (lost.status, lost.attributes["error.type"]) == (ERROR, "worker lost")
        assert (again.status, again.attributes["axon.batch.retry"]) == (0, True)
        first, second = sorted(spans_of(collector, f"00-{root.trace_id}", "queue", 2), key=lambda span: span.began)
        assert first.ended <= second.began
        (compute,) = spans_of(collector, f"00-{root.trace_id}", "compute", 1)
        assert compute.links == ((again.trace_id, again.span_id),)


def linked_batches(collector: Collector, ours: tuple[str, str]) -> list[CollectedSpan]:
    """Returns the batches of a request in their order."""
    return sorted((b for b in collector.spans(name="batch") if ours in b.links), key=lambda batch: batch.began)


def spans_of(collector: Collector, parent: str, name: str, count: int) -> list[CollectedSpan]:
    """Waits for the spans of one name in a trace, and returns the spans."""
    return collector.wait_for(count, trace_id=trace_of(parent), name=name)


def test_an_unsampled_request_has_no_spans_and_its_log_line_the_clients_identifiers(
    server: TracedServer, collector: Collector
) -> None:
    sampled, unsampled = new_traceparent(), new_traceparent("00")
    with http_client() as client:
        for at in range(4):  # the lane takes the last ones
            headers = {"traceparent": unsampled, "x-request-id": f"unsampled-{at}"}
            answer = client.post(f"{server.url}/predict", json=BODY, headers=headers)
            assert answer.status_code == 200
            assert "traceresponse" not in answer.headers
        answer = client.post(
            f"{server.url}/predict", json=BODY, headers={"traceparent": sampled, "x-request-id": "sampled"}
        )
    root = check_request(collector, trace_of(sampled), sampled.split("-")[2])
    assert collector.spans(trace_id=trace_of(unsampled)) == []
    for at in range(4):
        line = log_line(server, f"unsampled-{at}")
        assert (line["trace_id"], line["span_id"]) == tuple(unsampled.split("-")[1:3])
    line = log_line(server, "sampled")
    assert (line["trace_id"], line["span_id"]) == (root.trace_id, root.span_id)
    assert answer.headers["traceresponse"] == f"00-{root.trace_id}-{root.span_id}-01"


def test_an_invalid_traceparent_begins_a_trace_of_its_own(server: TracedServer, collector: Collector) -> None:
    for invalid in ("00-0-0-01", new_traceparent()[:-1], new_traceparent().replace("00-", "ff-", 1)):
        answer = predict(server, invalid, tracestate="a=b")
        trace_id = trace_of(answer.headers["traceresponse"])
        assert trace_id not in invalid
        (root,) = [span for span in collector.wait_for(4, trace_id=trace_id) if span.kind == SERVER]
        assert (root.parent_id, root.state) == ("", "")


def test_the_tracestate_goes_along(server: TracedServer, collector: Collector) -> None:
    parent = new_traceparent()
    predict(server, parent, tracestate="congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    spans = collector.wait_for(4, trace_id=trace_of(parent))
    assert {span.state for span in spans} == {"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"}


def test_the_latency_histogram_has_exemplars_for_a_scraper_that_asks(server: TracedServer) -> None:
    parent = new_traceparent()
    assert predict(server, parent).status_code == 200
    shown: dict[str, Any] = {}

    def is_shown() -> bool:
        answer = http_get(f"{server.url}/metrics", headers={"Accept": PROMETHEUS_ACCEPTS})
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                if sample.exemplar is not None:
                    assert family.name == "axon_request_seconds"
                    assert sample.exemplar.value <= float(sample.labels["le"])
                    shown[sample.exemplar.labels["trace_id"]] = sample.exemplar
        return trace_of(parent) in shown

    wait_until(is_shown)
    classic = http_get(f"{server.url}/metrics")
    assert classic.headers["content-type"].startswith("text/plain")
    assert "trace_id" not in classic.text
    described = (ROOT / "docs/tracing.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^# TYPE (axon_spans_\w+) counter", classic.text, re.MULTILINE)) == set(
        re.findall(r"^\| `(axon_\w+)`", described, re.MULTILINE)
    )


def test_without_traces_the_log_names_the_clients_trace_in_the_lane_and_outside(server_without: Server) -> None:
    with http_client() as client:
        for at in range(5):
            parent = new_traceparent()
            headers = {"traceparent": parent, "x-request-id": f"plain-{at}-{trace_of(parent)}"}
            answer = client.post(f"{server_without.url}/predict", json=BODY, headers=headers)
            assert "traceresponse" not in answer.headers
            line = log_line(server_without, headers["x-request-id"])
            assert (line["trace_id"], line["span_id"]) == tuple(parent.split("-")[1:3])
            headers["traceparent"] = parent.upper()
            headers["x-request-id"] += "-invalid"
            assert client.post(f"{server_without.url}/predict", json=BODY, headers=headers).status_code == 200
            assert "trace_id" not in log_line(server_without, headers["x-request-id"])
    text = http_get(f"{server_without.url}/metrics", headers={"Accept": PROMETHEUS_ACCEPTS}).text
    assert "axon_spans" not in text
    assert list(text_string_to_metric_families(text))


def test_a_collector_that_is_down_costs_spans_and_nothing_else(store: Store, tmp_path: Path) -> None:
    with collecting() as gone:
        url = gone.url
    kind: Any = TracedServer
    with running(store.root, tmp_path, kind, collector=url) as server:
        for _ in range(50):
            assert predict(server, new_traceparent()).status_code == 200
        server.stop()
        lines = [line for line in server.log().splitlines() if "xport" in line]
        assert 0 < len(lines) < 10, lines
