"""A plot of a learning-rate sweep: the loss over the rate, and the suggested rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.plotting.style import GREY, ORANGE, PALE, label
from training.search.learning_rate.finder import Sweep

if TYPE_CHECKING:  # slow to import, and most commands draw nothing
    from matplotlib.figure import Figure


def draw_sweep(seen: Sweep, figure: Figure, *, title: str) -> None:
    """Draws a sweep on an empty figure."""
    ax = figure.subplots()
    ax.set_xscale("log")
    ax.plot(seen.rates, seen.losses, color=PALE, label="loss of the batch")
    ax.plot(seen.rates, seen.smoothed, color=ORANGE, label="smoothed")
    if seen.suggested is not None:
        ax.axvline(seen.suggested, color=GREY, linestyle="--", label=f"suggested: {seen.suggested:.3g}")
    if seen.smoothed:  # the large losses at the end would leave no room for the slope
        low, high = min(seen.smoothed), max(seen.smoothed[: max(len(seen.smoothed) // 2, 1)])
        ax.set_ylim(low - 0.15 * (high - low), high + 0.6 * (high - low) + 1e-9)
    label(ax, title=f"{title}: loss over learning rate", x="learning rate", y="training loss")
    ax.legend()
