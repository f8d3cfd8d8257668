"""A model in a program or a notebook: what it answers, how good it is, and what it looks like in a cell."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axon.card import Report, headline, model_card
from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.labels import Label
from models.columns.unknown_cells import unknown_in_words

DEFAULT_STORE = "checkpoints"
REPORT_FILE = "report.html"


def default_store() -> Path:
    """Returns the folder of the store where nobody names one: AXON_STORE, else `checkpoints`."""
    return Path(os.environ.get("AXON_STORE") or DEFAULT_STORE)


class Model:
    """A model that answers rows.

    Attributes:
        checkpoint: tensors, columns and figures of the model.
        notes: sentences that the user should read; a checkpoint does not keep them.
        reference: `NAME@VERSION`; the name alone before the model is published.
        path: the published checkpoint's file; None before the model is published.
    """

    def __init__(self, checkpoint: Checkpoint, *, reference: str, path: Path | None = None) -> None:
        """Prepares the model for rows.

        Args:
            checkpoint: tensors, columns and figures of the model.
            reference: what the model is called.
            path: the checkpoint's file, where there is one.
        """
        self.checkpoint = checkpoint
        self.reference = reference
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._answerer = Answerer(checkpoint)

    @property
    def task(self) -> str:
        """`classification` or `regression`."""
        return "classification" if self.classes else "regression"

    @property
    def target(self) -> str:
        """The column that is predicted."""
        return self.checkpoint.schema.target.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row has, in order."""
        return tuple(self.checkpoint.schema.names)

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels in the order of `predict_proba`'s columns; empty for a regression."""
        return self._answerer.classes

    @property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """Figures by part: `train`, `validation`, `test`."""
        return dict(self.checkpoint.metrics)

    def predict(self, rows: Any) -> list[Label]:
        """Returns a label, or a value, for each row.

        Args:
            rows: data frame, Arrow table, two-dimensional array, or list of rows: lists in column order, or mappings
                by column name. Columns of a frame that the model does not know are passed over.

        Raises:
            RowError: cells that the model does not take, by row and column.
            DataError: no table, or a frame without one of the columns.
        """
        answers = self._answerer.predict(rows)
        self._warn_of_unknown()
        return answers

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Returns the probability of each class, `(rows, classes)` float32, in the order of `classes`.

        Args:
            rows: as `predict` takes them.

        Raises:
            ConfigError: a regression or a perceptron, which have no probabilities.
            DataError: as `predict` does.
        """
        answers = self._answerer.predict_proba(rows)
        self._warn_of_unknown()
        return answers

    def report(self) -> Report:
        """Returns the report that was written when the model was published.

        Raises:
            DataError: there is none beside the checkpoint.
        """
        return Report.read(self.reference, None if self.path is None else self.path.with_name(REPORT_FILE))

    def _warn_of_unknown(self) -> None:
        for column, cells in self._answerer.unknown.items():
            warnings.warn(unknown_in_words(column, cells), stacklevel=3)

    def _next(self) -> list[str]:
        """What to do with the model next: lines of code."""
        load, serve = f'"{self.reference}"', "axon serve"
        if self.path is not None and (root := self.path.parents[2]).resolve() != default_store().resolve():
            load, serve = f"{load}, store={str(root)!r}", f"{serve} --store {shlex.quote(str(root))}"
        return [
            f"axon.load({load}).predict(frame)",
            f"# in a shell: {serve}",
            f"# in another: curl -s localhost:8000/models/{self.reference}",
        ]

    def __repr__(self) -> str:
        """One line."""
        shown = ", ".join(part for part in (f"{self.task} of {self.target}", headline(self.task, self.metrics)) if part)
        return f"<{type(self).__name__} {self.reference}: {shown}>"

    def _repr_html_(self) -> str:
        """What a notebook shows of the model: its figures, how it learned, and what to do next."""
        return model_card(self.checkpoint, self.reference, self._next(), notes=self.notes)
