"""A model in a program or a notebook: predictions, metrics, and a card for a notebook's cell."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from axon.card import Report, headline, model_card, shown_target
from axon.explainer import explain_rows
from axon.explanations import Explanations
from axon.own_packages import HiddenPackage
from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.labels import Label
from models.columns.schema import ValuesTarget
from models.columns.unknown_cells import unknown_in_words
from models.covered_answers import CoveredAnswers
from models.explaining.shapley import DEFAULT_SAMPLES, Kind
from models.model_version import ModelVersion

DEFAULT_STORE = "checkpoints"


def default_store() -> str:
    """Returns the folder or URL of the default store: AXON_STORE, else `checkpoints`."""
    return os.environ.get("AXON_STORE") or DEFAULT_STORE


def _is_default(address: str) -> bool:
    """Returns True if a store is the default store of commands and functions."""
    return address == default_store() or Path(address).resolve() == Path(default_store()).resolve()


class Model:
    """A model that predicts rows.

    Attributes:
        checkpoint: tensors, columns and metrics of the model.
        notes: sentences that the user should read; not part of the checkpoint.
        reference: `NAME@VERSION`; the name alone before the model is published.
        published: published version; None before the model is published.
    """

    def __init__(self, checkpoint: Checkpoint, *, reference: str, published: ModelVersion | None = None) -> None:
        """Prepares the model for predictions.

        Args:
            checkpoint: tensors, columns and metrics of the model.
            reference: name of the model, with the version of a published one.
            published: published version; None for a model that is not published.
        """
        self.checkpoint = checkpoint
        self.reference = reference
        self.published = published
        self.notes: tuple[str, ...] = ()
        self._answerer = Answerer(checkpoint)

    @property
    def path(self) -> Path | None:
        """The file of the published checkpoint on this machine; None before the model is published."""
        return None if self.published is None else self.published.path

    @property
    def task(self) -> str:
        """`classification` or `regression`."""
        return "classification" if self.classes else "regression"

    @property
    def target(self) -> str:
        """The name of the predicted column; of several, all names as one text."""
        return self.checkpoint.schema.target.name

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of several targets, in the order of a row's values; empty for one target."""
        target = self.checkpoint.schema.target
        return target.names if isinstance(target, ValuesTarget) else ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a row's columns, in order."""
        return tuple(self.checkpoint.schema.names)

    @property
    def classes(self) -> tuple[Label, ...]:
        """The class labels, in the order of the columns of `predict_proba`; empty for a regression."""
        return self._answerer.classes

    @property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """The metrics of each part: `train`, `validation`, `test`."""
        return dict(self.checkpoint.metrics)

    @overload
    def predict(self, rows: Any) -> list[Any]: ...

    @overload
    def predict(self, rows: Any, *, intervals: None) -> list[Any]: ...

    @overload
    def predict(self, rows: Any, *, intervals: float) -> CoveredAnswers: ...

    def predict(self, rows: Any, *, intervals: float | None = None) -> list[Any] | CoveredAnswers:
        """Returns the predicted label, or number, of each row; a list of numbers, one for each of several targets.

        Args:
            rows: data frame, Arrow table, two-dimensional array, or list of rows: lists in column order, or mappings
                by column name. Columns of a frame that the model does not know are ignored.
            intervals: level such as 0.9, for intervals or sets of labels that contain the truth in so many rows; None
                for predictions alone.

        Raises:
            RowError: the model does not take some cells; the error names their rows and columns.
            DataError: `rows` is no table, or a frame lacks a column.
            ConfigError: the model has no calibration rows, or does not support the level.
        """
        answers = self._answerer.answers(rows)
        self._warn_of_unknown()
        if intervals is None:
            return self._answerer.labelled(answers)
        return self._answerer.covered(answers, intervals)

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Returns the probability of each class, `(rows, classes)` float32, in the order of `classes`.

        Args:
            rows: table of any type that `predict` takes.

        Raises:
            ConfigError: the model is a regression or a perceptron, which have no probabilities.
            DataError: `predict` would refuse the rows, too.
        """
        answers = self._answerer.predict_proba(rows)
        self._warn_of_unknown()
        return answers

    def explain(
        self,
        rows: Any,
        *,
        background: Any = None,
        output: Label | None = None,
        scale: str | None = None,
        kind: Kind | None = None,
        samples: int = DEFAULT_SAMPLES,
    ) -> Explanations:
        """Returns how much each column of a row contributes to the answer, as the server's `explain` does.

        Args:
            rows: table of any type that `predict` takes.
            background: rows to compare with, of any such type; None for those that the model carries.
            output: label whose probability is explained, or name of one of several targets; None for the predicted
                label of each row, or the first target.
            scale: `probability` or `logit`, for a classifier; None for the probability.
            kind: `exact` or `sampled`; None for exact wherever possible, which is up to 12 columns.
            samples: number of orders of a sampled explanation.

        Raises:
            ConfigError: the model has no such output, or a row has too many columns for `exact`.
            DataError: `predict` would refuse the rows or the background, too.
        """
        found = explain_rows(
            self._answerer,
            self.reference,
            rows,
            background=background,
            output=output,
            scale=scale,
            kind=kind,
            samples=samples,
        )
        self._warn_of_unknown()
        return found

    def report(self) -> Report:
        """Returns the report that publishing wrote.

        Raises:
            DataError: there is no report beside the checkpoint.
        """
        return Report.read(self.reference, self.published)

    def export(
        self, path: Path | str | None = None, *, to: str | None = None, force: bool = False, matrix: bool = False
    ) -> tuple[Path, ...]:
        """Writes the model in another form, with its preprocessing and its labels, and returns the files' paths.

        Args:
            path: path of the file, or of the folder for it; the working folder if None.
            to: `onnx`, `torch` (NAME.py and NAME.safetensors) or `numpy` (one .py file); `onnx` if None and the path
                ends with .onnx.
            force: True to overwrite files that exist.
            matrix: True for an ONNX graph with one input for all columns, which have to be numbers.

        Raises:
            ExportError: the path or a matrix does not suit the form, a file exists, or it cannot be written.
            ModuleNotFoundError: ONNX is not installed (`pip install 'axon[onnx]'`).
        """
        from axon.exporting import export

        return export(self.checkpoint, self.reference, self.published, path, to, force=force, matrix=matrix)

    def _warn_of_unknown(self) -> None:
        for column, cells in self._answerer.unknown.items():
            warnings.warn(unknown_in_words(column, cells), stacklevel=3)

    def _next(self) -> list[str]:
        """Returns lines of code for next steps."""
        load, serve = f'"{self.reference}"', "axon serve"
        if self.published is not None and not _is_default(store := self.published.store_address):
            load, serve = f"{load}, store={store!r}", f"{serve} --store {shlex.quote(store)}"
        return [
            f"axon.load({load}).predict(frame)",
            f"# in a shell: {serve}",
            f"# in another: curl -s localhost:8000/models/{self.reference}",
        ]

    def __repr__(self) -> str:
        """Returns one line: name, task, and the main metric."""
        about = f"{self.task} of {shown_target(self.checkpoint.schema)}"
        shown = ", ".join(part for part in (about, headline(self.task, self.metrics)) if part)
        return f"<{type(self).__name__} {self.reference}: {shown}>"

    def _repr_html_(self) -> str:
        """Returns the card for a notebook: metrics, learning curve, and next steps."""
        try:
            return model_card(self.checkpoint, self.reference, self._next(), notes=self.notes)
        except (ModuleNotFoundError, HiddenPackage):  # the part `training`, which draws the card, is not there
            return f"<pre>{escape(repr(self))}</pre>"
