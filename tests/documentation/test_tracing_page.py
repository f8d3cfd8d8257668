"""The page about traces is true: variables with their defaults, metrics, and the file for Jaeger."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import yaml
from opentelemetry.sdk import environment_variables

from service.settings import Settings
from service.tracing.environment import is_sdk_disabled, read_trace_settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/tracing.md").read_text(encoding="utf-8")
VARIABLES = dict(re.findall(r"^\| `(OTEL_\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE))


def test_the_variables_are_opentelemetrys_own() -> None:
    assert len(VARIABLES) == 10
    assert VARIABLES.keys() <= set(vars(environment_variables)) | {"OTEL_TRACES_EXPORTER"}


def test_the_defaults_are_those_of_the_server() -> None:
    read = {name: value for name, value in VARIABLES.items() if "ENDPOINT" not in name}
    ours, printed = read_trace_settings({}), read_trace_settings(read)
    assert vars(printed.sampler) == vars(ours.sampler)
    assert replace(printed, sampler=ours.sampler) == ours
    assert not is_sdk_disabled(read)


def test_the_file_for_jaeger_extends_the_containers() -> None:
    base, more = (yaml.safe_load((ROOT / name).read_text()) for name in ("docker-compose.yml", "deploy/jaeger.yml"))
    assert more.keys() == {"services"}
    assert more["services"].keys() - base["services"].keys() == {"jaeger"}
    environment = more["services"]["service"]["environment"]
    assert environment.keys() - VARIABLES.keys() == {"AXON_TRACES"}
    assert Settings(traces=environment["AXON_TRACES"]).traces
    given = {name: value.replace("${OTEL_TRACES_SAMPLER_ARG:-0.01}", "0.01") for name, value in environment.items()}
    assert read_trace_settings(given).is_exported
    assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
    command = more["services"]["prometheus"]["command"]
    assert command[:-1] == base["services"]["prometheus"]["command"]
    assert command[-1] == "--enable-feature=exemplar-storage"
    assert "docker compose -f docker-compose.yml -f deploy/jaeger.yml up" in PAGE
