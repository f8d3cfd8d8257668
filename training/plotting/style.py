"""How plots look: restrained axes, and colours that are told apart by eyes that confuse red and green."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito 2008, Color universal design; without its yellow, which is lost on white.
BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY)
INK, GREY, PALE = "#222222", "#767676", "#D9D9D9"
# For regions of the plane, behind points in BLUE, ORANGE and GREEN.
TINTS = ("#CFE3F1", "#F7DCCB", "#CBE9DF")

# Matplotlib's own settings, in force while a figure is drawn and written.
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",  # it comes with matplotlib, so a plot is the same everywhere
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
    """Says what a plot and its axes show."""
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def border(ax: Axes, side: NDArray[np.float64], values: NDArray[np.float64], level: float) -> None:
    """The line where values (n, n) over a square pass a level, where they do; side: (n,), of both axes."""
    if values.min() < level < values.max():  # matplotlib warns of a line that is nowhere
        ax.contour(side, side, values, levels=[level], colors=INK, linewidths=1.1)


def whole_ticks(ax: Axes, values: tuple[int, ...]) -> None:
    """Ticks at these x alone, written as whole numbers; for logarithmic axes, which would write powers of ten."""
    ax.set_xticks(values, [f"{value:,}" for value in values])
    ax.set_xticks([], minor=True)
