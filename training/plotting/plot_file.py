"""A writer of plots to SVG or PNG files; needs no display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import PlotError
from training.plotting.style import SETTINGS

if TYPE_CHECKING:  # slow to import, and most commands draw nothing
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")
_SIZE = (10.0, 4.2)  # inches
_DOTS_PER_INCH = 150  # resolution of a PNG


def check_plot_path(path: Path) -> None:
    """Checks the path of a plot, before the work that the plot shows.

    Raises:
        PlotError: the file type is not supported, or the folder does not exist; the message names the path.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise PlotError(f"a plot is written as {' or '.join(SUFFIXES)}, which {str(path)!r} does not end with.")
    if not path.parent.is_dir():
        raise PlotError(f"the plot's folder {str(path.parent)!r} does not exist: make it first.")


def write_plot(draw: Callable[[Figure], None], path: Path, *, size: tuple[float, float] = _SIZE) -> None:
    """Draws on an empty figure and writes the figure to a file; the same drawing gives the same bytes.

    Args:
        draw: function that draws on the figure.
        path: path of the file; the suffix determines the format.
        size: width and height in inches.

    Raises:
        PlotError: same errors as `check_plot_path`, or the disk refuses the write.
    """
    # A Figure by itself draws with Agg or SVG; pyplot would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    check_plot_path(path)
    is_svg = path.suffix.lower() == ".svg"
    settings: Any = dict(SETTINGS)  # matplotlib's own type is a literal of all names
    with rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        try:
            figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Date": None} if is_svg else {"Software": None})
        except OSError as error:
            raise PlotError(f"the plot cannot be written to {str(path)!r}: {error.strerror}.") from error
