"""A plot as a file, SVG or PNG, drawn without a display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import PlotError
from training.plotting.style import SETTINGS

if TYPE_CHECKING:  # heavy, and most commands draw nothing
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")
_SIZE = (10.0, 4.2)  # inches
_DOTS_PER_INCH = 150  # of a PNG


def check_plot_path(path: Path) -> None:
    """Checks where a plot is to go, before the work that it shows.

    Raises:
        PlotError: not a kind of file that is written, or no folder to write it to; named.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise PlotError(f"a plot is written as {' or '.join(SUFFIXES)}, which {str(path)!r} does not end with.")
    if not path.parent.is_dir():
        raise PlotError(f"the plot's folder {str(path.parent)!r} does not exist.")


def write_plot(draw: Callable[[Figure], None], path: Path, *, size: tuple[float, float] = _SIZE) -> None:
    """Draws on an empty figure and writes it; the same drawing gives the same bytes.

    Args:
        draw: what draws.
        path: where to; its ending says as what.
        size: width and height in inches.

    Raises:
        PlotError: as `check_plot_path`, or the disk refuses.
    """
    # Figure draws by Agg or SVG by itself; pyplot would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    check_plot_path(path)
    is_svg = path.suffix.lower() == ".svg"
    settings: Any = dict(SETTINGS)  # matplotlib's own type for it is a literal of every name
    with rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        try:
            figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Date": None} if is_svg else {"Software": None})
        except OSError as error:
            raise PlotError(f"the plot cannot be written to {str(path)!r}: {error.strerror}.") from error
