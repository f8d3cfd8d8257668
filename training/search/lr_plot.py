"""A learning-rate sweep as SVG or PNG: loss over rate, and the rate that is suggested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.errors import SearchError
from training.search.lr_find import Sweep
from training.studies.style import GREY, ORANGE, PALE, SETTINGS, label

SUFFIXES = (".svg", ".png")


def check_plot_path(path: Path) -> None:
    """Checks where a plot is to go, before the work that it shows.

    Raises:
        SearchError: not a kind of file that is written, or no folder to write it to.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SearchError(f"a plot is written as {' or '.join(SUFFIXES)}, which {str(path)!r} does not end with.")
    if not path.parent.is_dir():
        raise SearchError(f"the plot's folder {str(path.parent)!r} does not exist.")


def write_lr_plot(seen: Sweep, path: Path, *, title: str) -> None:
    """Draws a sweep and writes it; the same sweep gives the same bytes.

    Raises:
        SearchError: as `check_plot_path`, or the disk refuses.
    """
    from matplotlib import rc_context  # heavy, and most commands draw nothing
    from matplotlib.figure import Figure

    check_plot_path(path)
    is_svg = path.suffix.lower() == ".svg"
    settings: Any = dict(SETTINGS)  # matplotlib's own type for it is a literal of every name
    with rc_context(settings):
        drawing = Figure(figsize=(7.0, 4.2), layout="constrained")
        ax = drawing.subplots()
        ax.set_xscale("log")
        ax.plot(seen.rates, seen.losses, color=PALE, label="loss of the batch")
        ax.plot(seen.rates, seen.smoothed, color=ORANGE, label="smoothed")
        if seen.suggested is not None:
            ax.axvline(seen.suggested, color=GREY, linestyle="--", label=f"suggested: {seen.suggested:.3g}")
        if seen.smoothed:  # a loss that broke away would leave no room for the slope
            low, high = min(seen.smoothed), max(seen.smoothed[: max(len(seen.smoothed) // 2, 1)])
            ax.set_ylim(low - 0.15 * (high - low), high + 0.6 * (high - low) + 1e-9)
        label(ax, title=f"{title}: loss over learning rate", x="learning rate", y="training loss")
        ax.legend()
        try:
            drawing.savefig(path, dpi=150, metadata={"Date": None} if is_svg else {"Software": None})
        except OSError as error:
            raise SearchError(f"the plot cannot be written to {str(path)!r}: {error.strerror}.") from error
