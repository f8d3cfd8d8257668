"""What a notebook shows of a model: a card with its figures, how it learned, and what to do next; and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget
from models.errors import DataError

_HEADLINES = {"classification": "accuracy", "regression": "r2"}
_REPORT_HEIGHT = 640  # pixels of a report in a cell, which scrolls


@dataclass(frozen=True, slots=True)
class Report:
    """A report as one HTML document that needs nothing beside it.

    Attributes:
        reference: model that the report is about.
        html: the document.
    """

    reference: str
    html: str

    @classmethod
    def read(cls, reference: str, path: Path | None) -> Report:
        """Reads the report that lies beside a checkpoint.

        Args:
            reference: model that the report is about.
            path: the report's file; None where the model has no file.

        Raises:
            DataError: there is no such file, or it cannot be read.
        """
        try:
            if path is None:
                raise FileNotFoundError
            return cls(reference, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(
                f"{reference} has no report: it was published without one (--no-report), or not by training."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the report of {reference} cannot be read: {error}.") from error

    def save(self, path: Path | str) -> Path:
        """Writes the document to a file, to be opened in a browser.

        Args:
            path: file to write.

        Raises:
            DataError: the disk refuses.
        """
        try:
            Path(path).write_text(self.html, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}.") from error
        return Path(path)

    def __repr__(self) -> str:
        """One line: a document is not for reading as text."""
        return f"<Report of {self.reference}: {len(self.html):,} characters of HTML; save(path) writes it>"

    def _repr_html_(self) -> str:
        """The report in a frame of its own, so that its styles and the notebook's do not meet."""
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" sandbox="" title="report of {escape(self.reference)}" '
            f'style="width: 100%; height: {_REPORT_HEIGHT}px; border: 1px solid #8884"></iframe>'
        )


def headline(task: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the test part's main figure in words, `test accuracy 0.9565`; empty where there is none."""
    name = _HEADLINES[task]
    value = metrics.get("test", {}).get(name)
    return f"test {name} {value:.4f}" if isinstance(value, int | float) else ""


def model_card(checkpoint: Checkpoint, reference: str, next_lines: Sequence[str], *, notes: Sequence[str] = ()) -> str:
    """Returns a card as HTML: figures of the test part, the learning curve, and lines of code to go on with.

    Args:
        checkpoint: the model.
        reference: what the model is called.
        next_lines: lines of code.
        notes: sentences that the user should read.
    """
    # Imported here: charts come with training, which a machine that only serves does not have.
    from training.reporting import page
    from training.reporting.figures import figure, metric_name
    from training.reporting.report_charts import history_charts

    schema, training = checkpoint.schema, checkpoint.training
    task = "classification" if isinstance(schema.target, ClassTarget) else "regression"
    about = f"{task.capitalize()} of {schema.target.name} from {len(schema.columns):,} columns"
    test = checkpoint.metrics.get("test", {})
    shown = [
        (f"test {metric_name(name)}", figure(test[name]), "")
        for name in (_HEADLINES[task], "log_loss", "rmse", "mae")
        if name in test
    ]
    if "rows" in checkpoint.data:
        shown.append(("rows", figure(checkpoint.data["rows"]), f"{test['rows']:,} test" if "rows" in test else ""))
    charts = history_charts(training.get("history", {}), int(training.get("best_epoch", 0)))[:1]
    code = "\n".join(next_lines)
    return page.fragment(
        [
            f"<h3>{escape(reference)}</h3>",
            page.paragraph(about, faint=True),
            page.tiles(shown),
            page.notes(notes),
            *(chart.to_svg() for chart in charts),
            f"<p>What next:</p><pre>{escape(code)}</pre>",
        ]
    )
