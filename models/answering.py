"""Answers in the caller's process: a checkpoint's labels, values and probabilities for data frames and other tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.columns.encoding import MAX_FAULTS, RowEncoder
from models.columns.extreme_rows import overflow
from models.columns.frame_rows import rows_of
from models.columns.labels import Label
from models.columns.schema import ClassTarget, ValuesTarget
from models.conformal import bounds_of, sets_of, threshold_of
from models.covered_answers import CoveredAnswers
from models.errors import ConfigError, RowError

_CELLS_AT_A_TIME = 4_000_000  # in the widest stage: 16 MB


class Answerer:
    """Answers rows with a checkpoint's network, as the server does.

    Attributes:
        checkpoint: checkpoint of the model.
        unknown: number of cells in the last call's rows with a category unknown to training, by column.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Prepares the network and the reader of rows.

        Args:
            checkpoint: checkpoint of the model.
        """
        self.checkpoint = checkpoint
        self.unknown: dict[str, int] = {}
        self._network = checkpoint.inference_network()
        self._encoder = RowEncoder(checkpoint.schema)

    @property
    def classes(self) -> tuple[Label, ...]:
        """Labels in the order of the columns of `predict_proba`; empty for a regression."""
        target = self.checkpoint.schema.target
        return tuple(target.labels) if isinstance(target, ClassTarget) else ()

    @property
    def targets(self) -> tuple[str, ...] | None:
        """Names of several targets, in the order of the values of a row; None for one target."""
        target = self.checkpoint.schema.target
        return target.names if isinstance(target, ValuesTarget) else None

    def predict(self, rows: Any) -> list[Any]:
        """Returns a label, a value, or a list of the values of several targets for each row.

        Args:
            rows: data frame, Arrow table, array or list (`models.columns.frame_rows.rows_of`).

        Raises:
            RowError: Cells are not valid for the model, or numbers are so large that an answer is not finite; the
                message names row and column.
            DataError: `rows` is not a table, or lacks one of the columns.
        """
        return self.labelled(self.answers(rows))

    def labelled(self, answers: NDArray[Any]) -> list[Any]:
        """Returns the label, the value, or the list of the values of several targets of each answer.

        Args:
            answers: `(rows, out_features)` result of `answer`.
        """
        classes = self.classes
        if classes:
            return [classes[i] for i in answers.argmax(axis=1)]
        if answers.shape[1] > 1:
            return list(answers.tolist())
        return [float(value) for value in answers[:, 0]]

    def covered(self, answers: NDArray[Any], level: float) -> CoveredAnswers:
        """Returns the answers with an interval or a set of labels for each row.

        Args:
            answers: `(rows, out_features)` result of `answer`, whose element type is that of the bounds.
            level: share of rows whose truth the intervals or sets contain.

        Raises:
            ConfigError: The model has no calibration rows, or does not support the level.
        """
        threshold = threshold_of(self.checkpoint.conformal, level, "the model")
        predictions, classes = self.labelled(answers), self.classes
        if not classes:
            # As the server does: bounds have the element type of the values, float32 unless the target has an origin.
            targets = self.targets
            values = answers[:, 0] if targets is None else answers
            config = self.checkpoint.config
            bounds = bounds_of(values, threshold, least=config.least_answer, most=config.most_answer).astype(np.float64)
            return CoveredAnswers(level=level, predictions=predictions, intervals=bounds, targets=targets)
        sets = sets_of(answers.astype(np.float32), threshold)
        labels = [[classes[i] for i in np.flatnonzero(row)] for row in sets]
        return CoveredAnswers(level=level, predictions=predictions, sets=labels)

    def answer(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Returns the answers to encoded rows, `(rows, out_features)`, in the target's unit.

        Args:
            x: `(rows, width)` float32 encoded rows.
        """
        size = max(_CELLS_AT_A_TIME // self._network.widest, 1)
        return np.concatenate([self._network.answer(x[at : at + size]) for at in range(0, len(x), size)])

    def finite_answer(self, x: NDArray[np.float32], *, first: int = 0) -> NDArray[Any]:
        """Returns the answers to encoded rows, as `answer` does, and refuses answers that are not finite.

        Args:
            x: `(rows, width)` float32 encoded rows.
            first: position of the first row among those that were given.

        Raises:
            RowError: Some answers are not finite; the message names the first row, and a number that is too far outside
                the range of training.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is told by row and column
            answers = self.answer(x)
        bad = np.flatnonzero(~np.isfinite(answers).all(axis=1))[:MAX_FAULTS].tolist()
        if bad:
            columns = self.checkpoint.schema.columns
            raise RowError([overflow(columns, x[at], first + at) for at in bad])
        return answers

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Returns the probability of each class, `(rows, classes)` float32, in the order of `classes`.

        Args:
            rows: data frame, Arrow table, array or list, as for `predict`.

        Raises:
            ConfigError: The model is a regression or a perceptron, which have no probabilities.
            DataError: The same cases as in `predict`.
        """
        if not self.checkpoint.config.has_probabilities:
            what = "a regression" if not self.classes else "a classifier by threshold"
            raise ConfigError(f"{what} has no probabilities: ask predict.")
        return self.answers(rows).astype(np.float32)  # as the server answers

    def answers(self, rows: Any) -> NDArray[Any]:
        """Returns the answers to rows, `(rows, out_features)`, in the target's unit.

        Args:
            rows: data frame, Arrow table, array or list, as for `predict`.

        Raises:
            DataError: The same cases as in `predict`.
        """
        schema = self.checkpoint.schema
        given = rows_of(rows, schema.names, categorical=schema.categorical, numeric=schema.numeric)
        self._encoder.unknown.take()
        if not len(given):
            return np.empty((0, self.checkpoint.config.out_features))
        x = self._encoder.encode_matrix(given)
        self.unknown = self._encoder.unknown.take()
        return self.finite_answer(x)
