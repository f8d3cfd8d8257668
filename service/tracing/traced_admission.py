"""The admission of an API process with traces: the end of a request is also the end of its trace."""

from __future__ import annotations

from typing import Any, Protocol

from service.admission import Admission, Prediction
from service.request_trace import RequestTrace


class RequestTraces(Protocol):
    """The traces of requests."""

    def trace_of(self, prediction: Prediction) -> RequestTrace:
        """Returns the trace of a request; the first call for a request begins the trace."""

    def end(self, prediction: Prediction, status: int, seconds: float, rows: int) -> None:
        """Notes the end of a request."""


class TracedAdmission(Admission):
    """An admission with traces.

    Args:
        traces: traces of requests.
        parts: arguments of `Admission`.
    """

    def __init__(self, traces: RequestTraces, *parts: Any) -> None:
        super().__init__(*parts)
        self._traces = traces

    def count(self, prediction: Prediction, status: int, seconds: float, rows: int) -> None:
        """Counts the end of a request, and notes the end for its trace.

        Args:
            prediction: request for predictions.
            status: HTTP status of the answer.
            seconds: time from the request's start to its end, in seconds.
            rows: number of answered rows.
        """
        super().count(prediction, status, seconds, rows)
        self._traces.end(prediction, status, seconds, rows)

    def log_failure(self, prediction: Prediction, error: Exception, status: int, code: str, detail: str) -> None:
        """Logs an error of the server, with the trace of the request."""
        self._traces.trace_of(prediction)  # begins before the line is written, if the request reached no batch
        super().log_failure(prediction, error, status, code, detail)
