"""The environment variables of OpenTelemetry that decide about spans, checked at the start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from service.tracing.sampler import Sampler

_SAMPLERS = ("always_on", "always_off", "traceidratio")
_PARENT_BASED = "parentbased_"


class TraceSettingsError(Exception):
    """An error for a variable of OpenTelemetry that the server cannot follow, as one sentence."""


@dataclass(frozen=True)
class TraceSettings:
    """The settings of traces.

    Attributes:
        sampler: sampler of requests.
        is_exported: True if spans are sent to a collector.
        queue_size: number of spans that may wait for their export.
        delay_seconds: longest time between two exports, in seconds.
        batch_size: number of spans in one export.
        most_links: number of links of one span.
    """

    sampler: Sampler
    is_exported: bool
    queue_size: int
    delay_seconds: float
    batch_size: int
    most_links: int


def is_sdk_disabled(environment: Mapping[str, str]) -> bool:
    """Returns True if OpenTelemetry is switched off for all programs of this environment."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def read_trace_settings(environment: Mapping[str, str]) -> TraceSettings:
    """Reads the settings of traces. An empty variable counts as unset.

    Raises:
        TraceSettingsError: a variable has a value that the server cannot follow.
    """
    exporter = _text(environment, "OTEL_TRACES_EXPORTER", "otlp")
    if exporter not in ("otlp", "none"):
        raise TraceSettingsError(f"OTEL_TRACES_EXPORTER: must be otlp or none, got {exporter!r}.")
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        protocol = _text(environment, name, "http/protobuf")
        if protocol != "http/protobuf":
            raise TraceSettingsError(
                f"{name}: spans are sent as http/protobuf, got {protocol!r}; collectors take it on port 4318."
            )
    batch_size = int(_number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1, 1 << 16))
    return TraceSettings(
        sampler=_sampler(environment),
        is_exported=exporter == "otlp",
        queue_size=int(_number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1, 1 << 20)),
        delay_seconds=_number(environment, "OTEL_BSP_SCHEDULE_DELAY", 5000, 1, 3_600_000) / 1000,
        batch_size=batch_size,
        most_links=int(_number(environment, "OTEL_SPAN_LINK_COUNT_LIMIT", 128, 0, 1 << 20)),
    )


def _sampler(environment: Mapping[str, str]) -> Sampler:
    name = _text(environment, "OTEL_TRACES_SAMPLER", "parentbased_always_on")
    root = name.removeprefix(_PARENT_BASED)
    if root not in _SAMPLERS:
        known = ", ".join((*_SAMPLERS, *(_PARENT_BASED + sampler for sampler in _SAMPLERS)))
        raise TraceSettingsError(f"OTEL_TRACES_SAMPLER: must be one of {known}; got {name!r}.")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(root)
    if ratio is None:
        ratio = _number(environment, "OTEL_TRACES_SAMPLER_ARG", 1.0, 0.0, 1.0)
    return Sampler(ratio, follows_parent=name != root)


def _text(environment: Mapping[str, str], name: str, default: str) -> str:
    return environment.get(name, "").strip().lower() or default


def _number(environment: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    given = environment.get(name, "").strip()
    try:
        number = float(given or default)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise TraceSettingsError(f"{name}: must be a number from {least:g} to {most:g}, got {given!r}.")
    return number
