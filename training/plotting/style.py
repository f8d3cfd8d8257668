"""The style of plots: restrained axes, and colours that readers with red-green colour blindness can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito 2008, Color universal design; without the yellow, which is hard to see on white.
BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY)
INK, GREY, PALE = "#222222", "#767676", "#D9D9D9"
# Fill colours of regions behind points in BLUE, ORANGE and GREEN.
TINTS = ("#CFE3F1", "#F7DCCB", "#CBE9DF")

# Matplotlib's own settings, in force while a figure is drawn and written.
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",  # included in matplotlib, so a plot looks the same everywhere
        "font.size": 9.5,
        "text.color": INK,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#EBEBEB",
        "grid.linewidth": 0.8,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "svg.hashsalt": "axon",  # the same result gives the same file
    }
)


def label(ax: Axes, *, title: str, x: str, y: str) -> None:
    """Sets the title of a plot and the labels of its axes."""
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def border(ax: Axes, side: NDArray[np.float64], values: NDArray[np.float64], level: float) -> None:
    """Draws the contour line of a level, if the values cross the level.

    Args:
        ax: axes to draw on.
        side: (n,) coordinates along both axes of a square.
        values: (n, n) values over the square.
        level: level of the contour.
    """
    if values.min() < level < values.max():  # matplotlib warns of an empty contour
        ax.contour(side, side, values, levels=[level], colors=INK, linewidths=1.1)


def whole_ticks(ax: Axes, values: tuple[int, ...]) -> None:
    """Sets ticks at these x only, written as integers; a logarithmic axis would write powers of ten."""
    ax.set_xticks(values, [f"{value:,}" for value in values])
    ax.set_xticks([], minor=True)
