"""The standing of the methods over all data sets: mean rank and mean normalised score, and latency beside the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from benchmarks.accuracy.datasets import Dataset
from benchmarks.accuracy.roster import Method
from benchmarks.accuracy.runs import Result
from benchmarks.accuracy.scores import MEASURES


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The standing of a method over the data sets on which all compared methods have results.

    Attributes:
        rank: mean rank, 1 for the best; equal means share the mean of their ranks.
        score: mean of the scores between 0, the worst method of a data set, and 1, the best.
        seconds_of_1000: geometric mean of the CPU seconds of 1,000 answers.
    """

    rank: float
    score: float
    seconds_of_1000: float


def standings(
    results: Sequence[Result], datasets: Sequence[Dataset], methods: Sequence[Method], *, measure: int
) -> Mapping[str, Standing]:
    """Returns the standing of each method that has results on each data set, by name; empty without such data sets.

    Args:
        results: results of the runs.
        datasets: data sets to count; those on which a method has no result are left out.
        methods: methods to compare.
        measure: index of the measure among those of a task: 0 for accuracy and R², 1 for log-loss and RMSE.
    """
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.run.dataset.name, result.run.method.name), []).append(result)
    shared = [one for one in datasets if all((one.name, method.name) in found for method in methods)]
    if not shared:
        return {}
    ranks, scores, seconds = (np.zeros((len(shared), len(methods))) for _ in range(3))
    for row, dataset in enumerate(shared):
        sign = 1 if MEASURES[dataset.task][measure].more_is_better else -1
        of_methods = [found[dataset.name, method.name] for method in methods]
        means = sign * np.array([np.mean([result.scores[measure] for result in some]) for some in of_methods])
        below, equal = (means[:, None] < means).sum(axis=1), (means[:, None] == means).sum(axis=1)
        ranks[row] = 1 + below + (equal - 1) / 2
        spread = np.ptp(means)
        scores[row] = (means - means.min()) / spread if spread else 1.0
        seconds[row] = [np.median([result.seconds_of_1000 for result in some]) for some in of_methods]
    return {
        method.name: Standing(
            rank=float(ranks[:, at].mean()),
            score=float(scores[:, at].mean()),
            seconds_of_1000=float(np.exp(np.log(np.maximum(seconds[:, at], 1e-6)).mean())),
        )
        for at, method in enumerate(methods)
    }


def standing_table(results: Sequence[Result], datasets: Sequence[Dataset], methods: Sequence[Method]) -> list[str]:
    """Returns Markdown lines with mean rank, mean normalised score and latency of the methods of both tasks."""
    both = [method for method in methods if len(method.tasks) == 2]
    main, loss = (standings(results, datasets, both, measure=measure) for measure in (0, 1))
    if not main:
        return []
    lines = [
        "### Mean rank and normalised score over the data sets of all of these methods",
        "",
        "Of each data set, the best method has the score 1 and the worst 0.",
        "",
        "| method | rank: accuracy or R² | score | rank: log-loss or RMSE | score | ms of 1,000 answers |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method in sorted(both, key=lambda method: loss[method.name].rank):
        first, second = main[method.name], loss[method.name]
        lines.append(
            f"| {method.title} | {first.rank:.2f} | {first.score:.3f} | {second.rank:.2f} | {second.score:.3f} | "
            f"{1e3 * first.seconds_of_1000:.3g} |"
        )
    return [*lines, ""]


def draw_latency(
    figure: Figure, results: Sequence[Result], datasets: Sequence[Dataset], methods: Sequence[Method]
) -> None:
    """Draws the mean normalised score of each method over its latency.

    Args:
        figure: figure to draw into.
        results: results of the runs.
        datasets: data sets to count.
        methods: methods to compare.
    """
    both = [method for method in methods if len(method.tasks) == 2]
    found = standings(results, datasets, both, measure=1)
    axes = figure.subplots()
    for method in both:
        if method.name in found:
            one = found[method.name]
            axes.scatter(1e3 * one.seconds_of_1000, one.score, color="C0" if method.is_axon else "C7")
            axes.annotate(
                method.title, (1e3 * one.seconds_of_1000, one.score), xytext=(4, 3), textcoords="offset points"
            )
    axes.set_xscale("log")
    axes.set_xlabel("CPU milliseconds of 1,000 answers, one thread")
    axes.set_ylabel("mean normalised score (log-loss or RMSE)")
