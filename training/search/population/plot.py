"""A plot of a population: the figure and the learning rate of each member by epoch, with the replacements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.plotting.style import BLUE, GREY, ORANGE, label
from training.search.population.result import PopulationResult

if TYPE_CHECKING:  # slow to import, and most commands draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THIN: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.6}


def draw_population(result: PopulationResult, figure: Figure) -> None:
    """Draws the figures and the learning rates side by side."""
    figures, rates = figure.subplots(1, 2)
    draw_figures(result, figures)
    draw_rates(result, rates)


def draw_figures(result: PopulationResult, ax: Axes) -> None:
    """Draws each member's metric on the validation part, by epoch."""
    run = result.run
    values = np.where(np.isfinite(run.values), run.values, np.nan)
    if not result.higher_is_better and np.nanmin(values) > 0:
        # On a linear axis, one member that diverged would leave no room for the others.
        ax.set_yscale("log" if np.nanmax(values) > 20 * np.nanmin(values) else "linear")
    _draw(result, ax, values)
    ax.plot(run.best_epoch, run.best_value, "*", color=ORANGE, markersize=12, label="the winner", zorder=4)
    better = "higher" if result.higher_is_better else "lower"
    label(ax, title=f"{result.name}: members", x="epoch", y=f"validation {result.metric} ({better} is better)")
    ax.legend()


def draw_rates(result: PopulationResult, ax: Axes) -> None:
    """Draws each member's peak learning rate, by epoch."""
    ax.set_yscale("log")
    _draw(result, ax, result.run.learning_rates)
    label(ax, title="Learning rates, at their highest", x="epoch", y="learning rate")


def _draw(result: PopulationResult, ax: Axes, values: NDArray[np.float64]) -> None:
    """Draws a line for each member, a cross at each replacement, and the winner's lineage in another colour."""
    run = result.run
    ax.locator_params(axis="x", integer=True)
    epochs = np.arange(1, run.epochs + 1)
    for member in range(run.members):
        ax.plot(epochs, values[:, member], color=BLUE, **_THIN, label="a member" if member == 0 else None)
    _crosses(ax, [(exploit.epoch, exploit.member) for exploit in run.exploits], values)
    lineage = run.lineage()
    ax.plot(
        epochs[: len(lineage)],
        values[np.arange(len(lineage)), lineage],
        color=ORANGE,
        label="the winner's line",
        zorder=3,
    )


def _crosses(ax: Axes, places: Sequence[tuple[int, int]], values: NDArray[np.float64]) -> None:
    shown = [(epoch, values[epoch - 1, member]) for epoch, member in places]
    if shown:
        ax.plot(*zip(*shown, strict=True), "x", color=GREY, markersize=4, label="replaced", zorder=2)
