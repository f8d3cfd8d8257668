"""The sampler decides as the SDK of OpenTelemetry does."""

from __future__ import annotations

import random

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from service.trace_context import TraceContext
from service.tracing.environment import read_trace_settings

SAMPLERS = [
    {},
    {"OTEL_TRACES_SAMPLER": "always_on"},
    {"OTEL_TRACES_SAMPLER": "always_off"},
    {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
    {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
    {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
    {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
]


@pytest.mark.parametrize("variables", SAMPLERS, ids=lambda variables: "-".join(variables.values()) or "unset")
def test_the_sampler_takes_what_the_sdk_takes(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    theirs = TracerProvider(shutdown_on_exit=False).sampler
    ours = read_trace_settings(variables).sampler
    rng = random.Random(0)
    for _ in range(500):
        trace_id, span_id, flags = rng.getrandbits(128) or 1, rng.getrandbits(64) or 1, rng.randrange(2)
        assert ours.takes(trace_id) == theirs.should_sample(Context(), trace_id, "span").decision.is_sampled()
        context = SpanContext(trace_id, span_id, True, TraceFlags(flags))
        given = set_span_in_context(NonRecordingSpan(context), Context())
        expected = theirs.should_sample(given, trace_id, "span").decision.is_sampled()
        assert ours.takes_child(TraceContext(f"{trace_id:032x}", f"{span_id:016x}", flags)) == expected
