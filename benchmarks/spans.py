"""`python -m benchmarks.spans`: the CPU time of spans in the thread of the export.

The SDK makes and encodes the same spans for comparison. All times are CPU times of one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service.request_trace import BatchShare, RequestTrace
from service.span_facts import AttributeValue, SpanFacts
from service.trace_context import TraceContext
from service.tracing.records import Record, RequestRecord
from service.tracing.span_sender import SpanSender
from service.tracing.span_writer import SpanWriter

_REQUESTS = 128  # of four spans each: as many spans as one export has
_AT_ONCE = 8  # requests of one piece of the thread's work
_ROUNDS = 20
_ATTRIBUTES: dict[str, AttributeValue] = {
    "http.request.method": "POST", "http.route": "/predict", "url.path": "/predict", "url.scheme": "http",
    "http.response.status_code": 200, "axon.request_id": "0a0682404be7-1", "axon.rows": 1, "axon.model": "iris",
    "axon.version": 1,
}  # fmt: skip


def main() -> int:
    """Measures and prints the times."""
    records = [_request(number + 1) for number in range(_REQUESTS)]
    writer = SpanWriter("api-0", 128)
    pieces, sends = [], []
    with _collector() as url:
        sender = SpanSender(endpoint=url, timeout=5)
        for _ in range(_ROUNDS):
            request = writer.begin()
            for at in range(0, _REQUESTS, _AT_ONCE):
                some = records[at : at + _AT_ONCE]
                pieces.append(_seconds(lambda some=some, request=request: writer.add(request, some)))  # type: ignore[misc]
            sends.append(_seconds(lambda request=request: sender.send(request.SerializeToString())))  # type: ignore[misc]
        sender.shutdown()  # type: ignore[no-untyped-call]
    spans = 4 * _REQUESTS * _ROUNDS
    print(f"a span is written in     {1e6 * sum(pieces) / spans:6.1f} µs")
    print(f"the SDK makes a span in  {1e6 * _sdk_seconds():6.1f} µs, and encodes it")
    print(f"pieces of work           {1e3 * statistics.median(pieces):6.2f} ms (at most {1e3 * max(pieces):.2f})")
    print(f"an export is sent in     {1e3 * statistics.median(sends):6.2f} ms (at most {1e3 * max(sends):.2f})")
    return 0


def _request(number: int) -> Record:
    trace = RequestTrace(f"{number:032x}", f"{number:016x}", TraceContext(f"{number:032x}", f"{5:016x}", 1), None)
    trace.sent(1.0, 2.0)
    trace.shares.append(BatchShare(f"{9:032x}", f"{8:016x}", 3.0, 4.0, 1))
    return RequestRecord(trace, SpanFacts("POST /predict", _ATTRIBUTES, None), 0.0, 5.0, 1.0)


def _seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _sdk_seconds() -> float:
    """Returns the SDK's time for a span, one in four with attributes, in seconds."""
    provider = TracerProvider(shutdown_on_exit=False)
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("axon")

    def make() -> object:
        for number in range(4 * _REQUESTS):
            attributes = {} if number % 4 else _ATTRIBUTES
            tracer.start_span("span", kind=SpanKind.SERVER, attributes=attributes, start_time=1).end(2)
        spans: tuple[ReadableSpan, ...] = memory.get_finished_spans()
        return encode_spans(spans).SerializeToString()

    make()
    memory.clear()
    return _seconds(make) / (4 * _REQUESTS)


@contextmanager
def _collector() -> Iterator[str]:
    """Runs a collector that takes everything; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
