"""The sampler: which requests have spans, as the samplers of OpenTelemetry's specification decide.

The decision of an unsampled request has to cost next to nothing, so it is one comparison, and not a call into the SDK,
whose sampler needs a context object. A test compares both.
"""

from __future__ import annotations

from service.trace_context import TraceContext

_LIMIT = 1 << 64
_LOW_BITS = _LIMIT - 1


class Sampler:
    """A sampler that takes a share of the traces, by their identifiers.

    Args:
        ratio: share of the traces, from 0 to 1.
        follows_parent: True if the client decides about the traces that it has begun.
    """

    def __init__(self, ratio: float, *, follows_parent: bool) -> None:
        self._bound = round(ratio * _LIMIT)
        self._follows_parent = follows_parent

    def takes(self, trace_id: int) -> bool:
        """Returns True if a trace that begins here is sampled.

        Args:
            trace_id: identifier of the trace; its last 64 bits decide.
        """
        return trace_id & _LOW_BITS < self._bound

    def takes_child(self, parent: TraceContext) -> bool:
        """Returns True if the part of a client's trace that happens here is sampled."""
        return parent.is_sampled if self._follows_parent else self.takes(int(parent.trace_id, 16))
