"""A plot of a search: the best figure so far by trial, and the importances of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.metrics import HIGHER_IS_BETTER
from training.plotting.style import BLUE, GREY, ORANGE, label
from training.search.trials.result import SearchResult

if TYPE_CHECKING:  # slow to import, and most commands draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_search(result: SearchResult, figure: Figure) -> None:
    """Draws the history of a search and, if known, the importances of the settings."""
    if result.importances is None:
        draw_history(result, figure.subplots())
    else:
        history, importances = figure.subplots(1, 2, width_ratios=(3, 2))
        draw_history(result, history)
        draw_importances(result, importances)


def draw_history(result: SearchResult, ax: Axes) -> None:
    """Draws a dot for each finished trial, a line for the best so far, and a tick for each pruned or failed trial."""
    points = result.history()
    numbers, values = [point[0] for point in points], [point[1] for point in points]
    ax.locator_params(axis="x", integer=True)
    # On a linear axis, one trial with a far larger figure would leave no room for the others.
    if min(values) > 0 and max(values) > 20 * min(values):
        ax.set_yscale("log")
    ax.plot(numbers, values, "o", color=BLUE, alpha=0.7, label="finished")
    ax.step(numbers, [point[2] for point in points], where="post", color=ORANGE, label="best so far")
    ended = [trial.number for trial in result.trials if trial.state in ("pruned", "failed")]
    if ended:
        foot = ax.get_xaxis_transform()
        ax.plot(ended, [0.02] * len(ended), "|", color=GREY, transform=foot, label="pruned or failed")
    better = "higher" if result.metric in HIGHER_IS_BETTER else "lower"
    label(ax, title=f"{result.name}: trials", x="trial", y=f"validation {result.metric} ({better} is better)")
    ax.legend()


def draw_importances(result: SearchResult, ax: Axes) -> None:
    """Draws a bar for each setting, the most important at the top."""
    found = list((result.importances or {}).items())[::-1]
    ax.barh([name for name, _ in found], [share for _, share in found], color=BLUE)
    ax.grid(visible=False, axis="y")
    label(ax, title="What mattered", x="share of the variance over finished trials", y="")
