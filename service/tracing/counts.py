"""The counts of spans, as metrics of the API process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

REASONS = ("queue-full", "refused")


class TraceMetrics:
    """The counters of spans. They exist only in a server with traces, and only after the metrics of the process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._exported = Counter("axon_spans_exported", "Spans that a collector has taken.", registry=registry)
        self._dropped = Counter("axon_spans_dropped", "Spans that no collector got.", ("reason",), registry=registry)
        for reason in REASONS:  # from 0, so that the first dropped span is an increase
            self._dropped.labels(reason)

    def exported(self, spans: int) -> None:
        """Counts spans that a collector has taken."""
        self._exported.inc(spans)

    def dropped(self, spans: int, reason: str) -> None:
        """Counts spans that no collector got."""
        self._dropped.labels(reason).inc(spans)
