"""The report of a run: a table for each workload, with ratios, and the goals with their verdicts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.training.networks import MNIST_128, MNIST_1024, PLAIN_32, SMALL_32, Workload

AXON, BF16, LOOP, SKLEARN = "Axon", "Axon, bfloat16", "DataLoader loop", "scikit-learn"
LIMIT, PYTABKIT = "matrix products alone", "pytabkit"
RECIPE = "recipe"

# (workload, contestant) → rates of the rounds, in steps per CPU second; equal indices belong to the same round.
Rates = Mapping[tuple[str, str], Sequence[float]]


@dataclass(frozen=True)
class Goal:
    """A lower limit of the ratio of Axon's rate to another contestant's."""

    workload: str
    over: str
    limit: float
    of: str = AXON


GOALS = (
    Goal(MNIST_128.name, LOOP, 2.0),
    Goal(MNIST_128.name, LOOP, 2.0, of=BF16),
    Goal(MNIST_128.name, LIMIT, 0.9),
    Goal(MNIST_1024.name, LIMIT, 0.6),
    Goal(SMALL_32.name, LOOP, 3.0),
    Goal(PLAIN_32.name, SKLEARN, 2.0),
    Goal(RECIPE, PYTABKIT, 1 / 0.45),  # 0.45 of its CPU time
)


def ratio(rates: Rates, workload: str, over: str, *, of: str = AXON) -> float | None:
    """Returns the median of the rounds' ratios of one contestant to another; None if either was not measured."""
    ours, theirs = rates.get((workload, of)), rates.get((workload, over))
    if not ours or not theirs:
        return None
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def workload_table(rates: Rates, workload: Workload) -> list[str]:
    """Returns Markdown lines for one network: steps, rows and floating-point operations per second, and ratios."""
    sizes = "-".join(map(str, workload.sizes))
    extras = ", BatchNorm, dropout" if workload.is_normalised else ""
    lines = [
        f"## {workload.name}: {sizes}{extras}, Adam, clip 1.0, batch {workload.batch_size}",
        "",
        "| | steps/s | rows/s | GFLOP/s of products | Axon over it |",
        "|---|--:|--:|--:|--:|",
    ]
    for contestant in (AXON, BF16, LOOP, SKLEARN, LIMIT):
        if measured := rates.get((workload.name, contestant)):
            steps = statistics.median(measured)
            rows = steps * workload.batch_size
            cells = [f"{steps:,.0f}", f"{rows:,.0f}", f"{rows * workload.flop_per_row / 1e9:.1f}"]
            lines.append(f"| {contestant} | {' | '.join(cells)} | {_over(rates, workload.name, contestant)} |")
    return [*lines, ""]


def recipe_table(rates: Rates, settings: str) -> list[str]:
    """Returns Markdown lines for the default recipe beside pytabkit's RealMLP-TD."""
    measured = {name: rates[RECIPE, name] for name in (AXON, PYTABKIT) if (RECIPE, name) in rates}
    if not measured:
        return []
    lines = [f"## The default recipe: {settings}", "", "| | steps/s | ms a step | Axon over it |", "|---|--:|--:|--:|"]
    for name, values in measured.items():
        steps = statistics.median(values)
        lines.append(f"| {name} | {steps:,.0f} | {1000 / steps:.1f} | {_over(rates, RECIPE, name)} |")
    return [*lines, ""]


def goals_table(rates: Rates) -> list[str]:
    """Returns Markdown lines with the goals whose figures this run has measured."""
    lines = ["## Goals", "", "| the rate of … over … | here | goal | |", "|---|--:|--:|---|"]
    for goal in GOALS:
        figure = ratio(rates, goal.workload, goal.over, of=goal.of)
        if figure is not None:
            verdict = "met" if figure >= goal.limit else "NOT met"
            told = f"{goal.workload}: {goal.of} over {goal.over}"
            lines.append(f"| {told} | {figure:.2f} × | ≥ {goal.limit:.3g} | {verdict} |")
    return [*lines, ""]


def _over(rates: Rates, workload: str, contestant: str) -> str:
    figure = ratio(rates, workload, contestant)
    return "" if contestant == AXON or figure is None else f"{figure:.2f} ×"
