"""The lane of plain requests in a server with traces: sampled requests leave the lane, and the others stay."""

from __future__ import annotations

from service.admission import Admission
from service.http.plain_lane import PlainLane
from service.http.plain_request import PlainConnection, PlainRequest
from service.http.predict_endpoint import HttpPrediction
from service.request_trace import NOT_SAMPLED
from service.trace_context import TRACEPARENT_HEADER, TRACESTATE_HEADER
from service.tracing.tracer import Tracer


class _UnsampledRequest(PlainRequest):
    """A plain request that is not sampled, in the lane or outside: the sampler is asked once for each request."""

    __slots__ = ()

    def as_usual(self) -> HttpPrediction:
        """Returns the pending request as a usual one, which its connection holds from now on."""
        prediction = super().as_usual()
        if prediction.trace is None:
            prediction.trace = NOT_SAMPLED
        return prediction


class TracedLane(PlainLane):
    """The lane of one API process with traces.

    Args:
        admission: admission of the API process.
        tracer: tracer of the API process.
    """

    def __init__(self, admission: Admission, tracer: Tracer) -> None:
        super().__init__(admission)
        self._tracer = tracer

    def place(self, connection: PlainConnection) -> PlainRequest:
        """Returns the place for the plain requests of a new connection."""
        return _UnsampledRequest(connection)

    def _submit_arrived(self) -> None:
        """Has the usual way answer the sampled requests of this turn, and the lane the others."""
        self._arrived = [plain for plain in self._arrived if not self._take_out(plain)]
        super()._submit_arrived()

    def _take_out(self, plain: PlainRequest) -> bool:
        """Hands a sampled request to the usual way; returns False if the request is not sampled."""
        values = plain.values
        trace = self._tracer.begin(values.get(TRACEPARENT_HEADER), values.get(TRACESTATE_HEADER))
        if not trace.is_sampled:
            return False
        body, plain.body = plain.body, b""
        prediction = plain.leave()
        prediction.trace = trace
        prediction.exchange.body = body
        plain.head.endpoint.handle(prediction.exchange)
        return True
