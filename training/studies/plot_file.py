"""A study's plot as a file, SVG or PNG, drawn without a display."""

from __future__ import annotations

from pathlib import Path

from training.errors import StudyError
from training.studies.study import StudyResult
from training.studies.style import SETTINGS

SUFFIXES = (".svg", ".png")
_SIZE = (10.0, 4.2)  # inches
_DOTS_PER_INCH = 150  # of a PNG


def check_plot_path(path: Path) -> None:
    """Checks where a plot is to go, before the work that it shows.

    Raises:
        StudyError: not a kind of file that is written, or no folder to write it to; named.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise StudyError(f"a plot is written as {' or '.join(SUFFIXES)}, which {str(path)!r} does not end with.")
    if not path.parent.is_dir():
        raise StudyError(f"the plot's folder {str(path.parent)!r} does not exist.")


def write_plot(result: StudyResult, path: Path) -> None:
    """Draws a result and writes it; the same result gives the same bytes.

    Raises:
        StudyError: as `check_plot_path`, or the disk refuses.
    """
    # Imported here: most commands draw nothing. Figure draws by Agg or SVG by itself; pyplot would look for a display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    check_plot_path(path)
    kind = path.suffix.lower()
    with rc_context(dict(SETTINGS)):  # type: ignore[arg-type]  # its stubs spell out every name
        figure = Figure(figsize=_SIZE, layout="constrained")
        result.draw(figure)
        try:
            figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Date": None} if kind == ".svg" else {"Software": None})
        except OSError as error:
            raise StudyError(f"the plot cannot be written to {str(path)!r}: {error.strerror}.") from error
