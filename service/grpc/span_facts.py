"""The name and the attributes of a call's span over gRPC, by OpenTelemetry's semantic conventions."""

from __future__ import annotations

from service.grpc.statuses import Code
from service.span_facts import AttributeValue, SpanFacts

_FAULTS = frozenset((Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE))


def grpc_span_facts(path: bytes, code: Code) -> SpanFacts:
    """Returns the name and the attributes of a call's span.

    Args:
        path: path of the method, such as `/inference.GRPCInferenceService/ModelInfer`.
        code: code of the answer.
    """
    method = path.decode("latin-1").removeprefix("/")
    attributes: dict[str, AttributeValue] = {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.response.status_code": code.name,
    }
    return SpanFacts(method, attributes, code.name if code in _FAULTS else None)
