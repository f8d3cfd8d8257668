"""A goal: a figure of a run, and the limit that the figure has to meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Results


@dataclass(frozen=True)
class Goal:
    """One row of the table of goals.

    Attributes:
        claim: name of the figure.
        figure: function that returns the figure, or None if the run has not measured it.
        limit: lower or upper limit of the figure.
        unit: `×`, `s`, `MB` or `cores`.
        at_least: True for a lower limit, False for an upper one.
    """

    claim: str
    figure: Callable[[Results], float | None]
    limit: float
    unit: str = "×"
    at_least: bool = True

    def met(self, figure: float) -> bool:
        """Returns True if a figure is within the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit


def faster(workload: str, base: str, limit: float, *, server: str = "axon") -> Goal:
    """Returns a goal for Axon's requests per second, as a multiple of another server's."""
    return Goal(
        f"{_subject(workload, server)}: requests/s over {base}",
        lambda found: found.ratio(workload, server, base),
        limit,
    )


def cheaper(workload: str, base: str, limit: float, *, server: str = "axon") -> Goal:
    """Returns a goal for Axon's CPU seconds per request, as a multiple of another server's."""
    return Goal(
        f"{_subject(workload, server)}: CPU seconds a request over {base}",
        lambda found: found.ratio(workload, server, base, lambda m: m.cpu_per_1000),
        limit,
        at_least=False,
    )


def _subject(workload: str, server: str) -> str:
    """Returns a workload with the server that a goal is for, unless this is Axon with JSON."""
    return workload if server == "axon" else f"{workload}, {server}"


# The goals that a run of the core and a run of the field can both judge.
_EVERYWHERE = (
    faster("tab-64", "fastapi", 15.0),
    faster("tab-64", "fixed-bytes", 1.5),
    Goal("tab-64: p99 over p50", lambda found: found.median("tab-64", "axon", lambda m: m.tail), 2.2, at_least=False),
    faster("tab-1", "fastapi", 1.8),
)
CORE_GOALS = (
    *_EVERYWHERE,
    cheaper("tab-64", "fastapi", 0.3),
    faster("tab-64", "in-process", 2.0),
    faster("tab-64", "axon", 0.9, server="axon-oip-json"),
    faster("tab-64", "axon", 1.0, server="axon-oip-binary"),
    cheaper("bulk-8", "axon", 0.1, server="axon-oip-binary"),
    faster("tab-64", "grpc-echo", 0.7, server="axon-grpc"),
    faster("tab-64", "litserve", 25.0),
    faster("mnist-64", "fastapi", 4.0),
    faster("bulk-8", "fastapi", 6.0),
    Goal(
        "idle", lambda found: found.footprint("axon", "tab", lambda f: f.idle_cores), 0.01, unit="cores", at_least=False
    ),
    Goal(
        "start to first answer",
        lambda found: found.footprint("axon", "tab", lambda f: f.start_seconds),
        2.5,
        unit="s",
        at_least=False,
    ),
    Goal(
        "memory of all processes (PSS)",
        lambda found: found.footprint("axon", "tab", lambda f: f.pss),
        260.0,
        unit="MB",
        at_least=False,
    ),
)
FIELD_GOALS = (
    faster("tab-64", "mosec", 1.8),
    cheaper("tab-64", "mosec", 0.6),
    faster("tab-64", "granian-fixed", 1.2),
    *_EVERYWHERE,
    faster("tab-64", "grpc-echo", 0.7, server="axon-grpc"),
    faster("tab-64", "kserve-grpc", 3.0, server="axon-grpc"),
    faster("tab-64", "triton-binary", 5.0, server="axon-oip-binary"),
    faster("bulk-8", "triton-binary", 2.0, server="axon-oip-binary"),
    faster("tab-1", "granian-torch", 2.0),
    faster("tab-1", "granian-onnx", 2.0),
    faster("tab-1", "mosec", 8.0),
    faster("mnist-64", "mosec", 2.0),
    faster("bulk-8", "mosec", 4.5),
    faster("bulk-8", "granian-torch", 2.8),
    faster("bulk-8", "granian-onnx", 2.8),
    *(
        faster("tab-64", base, limit)
        for base, limit in (
            ("torchserve", 3.0),
            ("ray-direct", 4.0),
            ("ray-haproxy", 4.0),
            ("kserve", 6.0),
            ("triton", 7.0),
            ("mlserver", 8.0),
            ("bentoml", 14.0),
            ("mlflow", 20.0),
        )
    ),
)


def goals_table(goals: Sequence[Goal], results: Results) -> list[str]:
    """Returns Markdown lines with the goals whose figures this run has measured."""
    lines = []
    for goal in goals:
        figure = goal.figure(results)
        if figure is not None:
            sign, digits = ("≥" if goal.at_least else "≤"), (4 if goal.unit == "cores" else 2)
            verdict = "met" if goal.met(figure) else "NOT met"
            lines.append(f"| {goal.claim} | {figure:.{digits}f} {goal.unit} | {sign} {goal.limit:g} | {verdict} |")
    if not lines:
        return []
    return ["## Goals for Axon", "", "| figure | here | goal | |", "|---|--:|--:|---|", *lines, ""]
