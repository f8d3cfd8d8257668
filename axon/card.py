"""Pages about a model in a notebook: a card with figures, learning curve and next steps, and the training report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from axon.own_packages import check_own_packages
from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, Schema, ValuesTarget
from models.errors import DataError, StoreError
from models.model_version import REPORT_FILE, ModelVersion

_HEADLINES = {"classification": "accuracy", "regression": "r2"}
_NAMED_TARGETS = 5
_METRICS_OF_TARGETS = ("r2", "rmse", "mae")
_MOST_REPORT_BYTES = 1 << 26
_REPORT_HEIGHT = 640  # height in pixels of a report in a cell, which scrolls


@dataclass(frozen=True, slots=True)
class Report:
    """A training report as one self-contained HTML document.

    Attributes:
        reference: name of the model, `NAME@VERSION`.
        html: text of the document.
    """

    reference: str
    html: str

    @classmethod
    def read(cls, reference: str, published: ModelVersion | None) -> Report:
        """Reads the report that publishing wrote.

        Args:
            reference: name of the model, `NAME@VERSION`.
            published: published version; None for a model that is not published.

        Raises:
            DataError: there is no report, or it cannot be read.
        """
        try:
            page = None if published is None else published.read_page(REPORT_FILE, _MOST_REPORT_BYTES)
            if page is not None:
                return cls(reference, page.decode("utf-8"))
        except (OSError, StoreError, UnicodeDecodeError) as error:
            raise DataError(f"the report of {reference} cannot be read: {str(error).removesuffix('.')}.") from error
        raise DataError(f"{reference} has no report: it was published without one (--no-report), or not by training.")

    def save(self, path: Path | str) -> Path:
        """Writes the document to a file, for a browser, and returns the path.

        Args:
            path: file to write.

        Raises:
            DataError: the file cannot be written.
        """
        try:
            Path(path).write_text(self.html, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}.") from error
        return Path(path)

    def __repr__(self) -> str:
        """Returns one line, since HTML is not readable as text."""
        return f"<Report of {self.reference}: {len(self.html):,} characters of HTML; save(path) writes it>"

    def _repr_html_(self) -> str:
        """Returns the report in an `iframe`, which keeps the styles of report and notebook apart."""
        return (
            f'<iframe srcdoc="{escape(self.html, quote=True)}" sandbox="" title="report of {escape(self.reference)}" '
            f'style="width: 100%; height: {_REPORT_HEIGHT}px; border: 1px solid #8884"></iframe>'
        )


def headline(task: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the main metric of the test part, such as `test accuracy 0.9565`; empty without a test part."""
    name = _HEADLINES[task]
    value = metrics.get("test", {}).get(name)
    return f"test {name} {value:.4f}" if isinstance(value, int | float) else ""


def shown_target(schema: Schema) -> str:
    """Returns the name of the target, or the names of several, of which the first few are shown."""
    if not isinstance(schema.target, ValuesTarget):
        return schema.target.name
    names = schema.target.names
    more = f" and {len(names) - _NAMED_TARGETS:,} more" if len(names) > _NAMED_TARGETS else ""
    return ", ".join(names[:_NAMED_TARGETS]) + more


def _unit(schema: Schema, metric: str) -> str:
    """Returns the remark below a metric of several targets, whose errors are in standard deviations of each."""
    if not isinstance(schema.target, ValuesTarget):
        return ""
    return "mean of the targets" if metric == "r2" else "in standard deviations"


def _of_targets(schema: Schema, test: Mapping[str, Any], table: Callable[..., str]) -> Iterator[str]:
    """Yields a table with the metrics of each of several targets, in its own unit."""
    found = test.get("targets")
    if not isinstance(schema.target, ValuesTarget) or not isinstance(found, Mapping):
        return
    from training.metrics import SHOWN_TARGETS
    from training.reporting.figures import figure, metric_name

    rows = [
        (name, *(figure(found[name][metric]) if metric in found[name] else "" for metric in _METRICS_OF_TARGETS))
        for name in schema.target.names[:SHOWN_TARGETS]
        if isinstance(found.get(name), Mapping)
    ]
    if rows:
        head = ("target", *(f"test {metric_name(metric)}" for metric in _METRICS_OF_TARGETS))
        yield table(head, rows, numbers=range(1, len(head)))


def model_card(checkpoint: Checkpoint, reference: str, next_lines: Sequence[str], *, notes: Sequence[str] = ()) -> str:
    """Returns a card as HTML: metrics of the test part, the learning curve, and lines of code for next steps.

    Args:
        checkpoint: tensors, columns and metrics of the model.
        reference: name of the model, with the version of a published one.
        next_lines: lines of code.
        notes: sentences that the user should read.

    Raises:
        ModuleNotFoundError: the part `training` is not installed.
        HiddenPackage: a user's file is called `training`, and Python finds it first.
    """
    check_own_packages("training")
    # Imported here: the charts belong to training, and a machine that only serves has no training code.
    from training.reporting import page
    from training.reporting.figures import figure, metric_name
    from training.reporting.report_charts import history_charts

    schema, training = checkpoint.schema, checkpoint.training
    task = "classification" if isinstance(schema.target, ClassTarget) else "regression"
    about = f"{task.capitalize()} of {shown_target(schema)} from {len(schema.columns):,} columns"
    test = checkpoint.metrics.get("test", {})
    shown = [
        (f"test {metric_name(name)}", figure(test[name]), _unit(schema, name))
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
            *_of_targets(schema, test, page.table),
            page.notes(notes),
            *(chart.to_svg() for chart in charts),
            f"<p>What next:</p><pre>{escape(code)}</pre>",
        ]
    )
