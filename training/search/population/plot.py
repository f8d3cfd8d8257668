"""A population drawn: each member's figure and learning rate over time, and who was replaced when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.plotting.style import BLUE, GREY, ORANGE, label
from training.search.population.result import PopulationResult

if TYPE_CHECKING:  # heavy, and most commands draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THIN: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.6}


def draw_population(result: PopulationResult, figure: Figure) -> None:
    """Both side by side."""
    figures, rates = figure.subplots(1, 2)
    draw_figures(result, figures)
    draw_rates(result, rates)


def draw_figures(result: PopulationResult, ax: Axes) -> None:
    """The metric of each member on the validation part."""
    run = result.run
    values = np.where(np.isfinite(run.values), run.values, np.nan)
    if result.metric != "accuracy" and np.nanmin(values) > 0:
        # One member that went astray would leave no room for the others.
        ax.set_yscale("log" if np.nanmax(values) > 20 * np.nanmin(values) else "linear")
    _draw(result, ax, values)
    ax.plot(run.best_epoch, run.best_value, "*", color=ORANGE, markersize=12, label="the winner", zorder=4)
    better = "higher" if result.higher_is_better else "lower"
    label(ax, title=f"{result.name}: members", x="epoch", y=f"validation {result.metric} ({better} is better)")
    ax.legend()


def draw_rates(result: PopulationResult, ax: Axes) -> None:
    """The highest learning rate of each member."""
    ax.set_yscale("log")
    _draw(result, ax, result.run.learning_rates)
    label(ax, title="Learning rates, at their highest", x="epoch", y="learning rate")


def _draw(result: PopulationResult, ax: Axes, values: NDArray[np.float64]) -> None:
    """A line for each member, a cross where one is about to be replaced, and the winner's line in its own colour."""
    run = result.run
    ax.locator_params(axis="x", integer=True)
    epochs = np.arange(1, run.epochs + 1)
    for member in range(run.members):
        ax.plot(epochs, values[:, member], color=BLUE, **_THIN, label="a member" if member == 0 else None)
    _crosses(ax, [(exploit.epoch, exploit.member) for exploit in run.exploits], values)
    line = run.lineage()
    ax.plot(epochs[: len(line)], values[np.arange(len(line)), line], color=ORANGE, label="the winner's line", zorder=3)


def _crosses(ax: Axes, places: Sequence[tuple[int, int]], values: NDArray[np.float64]) -> None:
    shown = [(epoch, values[epoch - 1, member]) for epoch, member in places]
    if shown:
        ax.plot(*zip(*shown, strict=True), "x", color=GREY, markersize=4, label="replaced", zorder=2)
