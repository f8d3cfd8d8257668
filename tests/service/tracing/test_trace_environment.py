"""OpenTelemetry's variables are checked at the start, and the message names the variable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.settings import Settings
from service.start_checks import StartError, check_start
from service.tracing.environment import TraceSettingsError, is_sdk_disabled, read_trace_settings

REFUSED = {
    "OTEL_TRACES_EXPORTER": ("console", "must be otlp or none"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("grpc", "http/protobuf"),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ("http/json", "http/protobuf"),
    "OTEL_TRACES_SAMPLER": ("parentbased_jaeger_remote", "must be one of always_on, "),
    "OTEL_BSP_MAX_QUEUE_SIZE": ("many", "must be a number"),
    "OTEL_BSP_SCHEDULE_DELAY": ("-1", "must be a number"),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("0", "must be a number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_cannot_be_followed_is_refused(name: str) -> None:
    value, words = REFUSED[name]
    with pytest.raises(TraceSettingsError, match=f"^{name}: .*{words}"):
        read_trace_settings({name: value})


@pytest.mark.parametrize("ratio", ["2", "nan", "half"])
def test_a_ratio_has_to_be_a_share(ratio: str) -> None:
    with pytest.raises(TraceSettingsError, match="OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"):
        read_trace_settings({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio})


def test_an_empty_variable_counts_as_unset() -> None:
    assert read_trace_settings(dict.fromkeys(REFUSED, "")).batch_size == 512
    assert not read_trace_settings({"OTEL_TRACES_EXPORTER": "none"}).is_exported
    assert is_sdk_disabled({"OTEL_SDK_DISABLED": "TRUE"})
    assert not is_sdk_disabled({"OTEL_SDK_DISABLED": ""})


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
def test_a_start_without_the_extra_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(StartError, match=r"AXON_TRACES: .*axon\[service,traces\]"):
        check_start(Settings(store=tmp_path, traces=True))
    check_start(Settings(store=tmp_path))


def test_a_start_with_a_wrong_variable_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(StartError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        check_start(Settings(store=tmp_path, traces=True))
    check_start(Settings(store=tmp_path))
