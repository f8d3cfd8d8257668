"""Sends written spans to a collector, as OpenTelemetry's exporter sends its own: addresses, certificates, retries."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter


class SpanSender(OTLPSpanExporter):
    """OpenTelemetry's exporter for spans that are bytes already.

    The exporter's client is not public, so `pyproject.toml` bounds its version, and the end-to-end tests would show a
    change.
    """

    def send(self, data: bytes) -> bool:
        """Sends a request; returns False if the collector has not taken the request within the timeout.

        Args:
            data: an `ExportTraceServiceRequest`.
        """
        return bool(self._client.export(data).success)
