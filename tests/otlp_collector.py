"""A collector of OpenTelemetry spans on a real socket, which decodes requests with OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from serving import wait_until

ERROR = 2  # code of a failed span's status
SERVER = 2  # kind of a request's span


@dataclass(frozen=True)
class CollectedSpan:
    """One span, with identifiers in hexadecimal digits and times in nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    began: int
    ended: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    status: int
    state: str
    resource: dict[str, Any]


class Collector:
    """The collector.

    Attributes:
        status: HTTP status of the answers; spans are kept if it is 200.
        requests: number of requests so far.
        held: event on which requests wait before they are answered.
    """

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self.held = threading.Event()
        self.held.set()
        self._spans: list[CollectedSpan] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Address of the collector, for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, body: bytes) -> None:
        """Keeps the spans of a request."""
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _attributes(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                self._spans += [_collected(span, resource) for span in scope_spans.spans]

    def spans(self, *, trace_id: str | None = None, name: str | None = None) -> list[CollectedSpan]:
        """Returns the spans so far, of one trace or of one name."""
        return [
            span
            for span in list(self._spans)
            if (trace_id is None or span.trace_id == trace_id) and (name is None or span.name == name)
        ]

    def wait_for(self, count: int, **which: str) -> list[CollectedSpan]:
        """Waits for a number of spans, and returns the spans."""
        wait_until(lambda: len(self.spans(**which)) >= count, lambda: f"{which}: {self.spans()}")
        return self.spans(**which)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector for the length of a block."""
    collector = Collector()
    collector.start()
    try:
        yield collector
    finally:
        collector.close()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.requests += 1
            collector.held.wait()
            if self.path == "/v1/traces" and collector.status == 200:
                collector.take(body)
            try:
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()
            except OSError:  # the server has ended meanwhile
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _collected(span: Any, resource: dict[str, Any]) -> CollectedSpan:
    return CollectedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        tuple(event.name for event in span.events),
        span.status.code,
        span.trace_state,
        resource,
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
