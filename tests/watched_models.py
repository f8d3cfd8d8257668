"""A model of 30 columns with distributions of a training part, and windows of rows for the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.at_once import at_once
from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.distributions.distributions import Distributions
from models.distributions.evaluation import Evaluation, evaluate
from models.distributions.row_counter import RowCounter
from models.distributions.window import BLOCK_ROWS, Window
from training.distributions import training_distributions

Matrix = NDArray[np.float32]
FEATURES = 30


@dataclass(frozen=True)
class Watched:
    """A model whose windows are evaluated.

    Attributes:
        schema: columns `x0` to `x29`.
        distributions: distributions of the training part.
        counter: counter in the bins of the model.
    """

    schema: Schema
    distributions: Distributions
    counter: RowCounter

    @classmethod
    def trained_on(cls, train: Matrix, held_out: Matrix, **columns: Any) -> Watched:
        """Returns a model of numeric columns.

        Args:
            train: rows of the training part.
            held_out: rows whose predictions are known.
            columns: further fields of each column.
        """
        schema = Schema(
            columns=tuple(
                NumericColumn(
                    name=f"x{i}", mean=0.0, std=1.0, minimum=float(x.min()), maximum=float(x.max()), **columns
                )
                for i, x in enumerate(train.T)
            ),
            target=ClassTarget(name="y", labels=("a", "b", "c")),
        )
        distributions = training_distributions(schema, train, answers_to(held_out), seed=0)
        return cls(schema, distributions, RowCounter(schema, distributions))

    def window(self, rows: Matrix) -> Window:
        """Returns a window of rows, counted as the monitor does."""
        window = Window(0, self.counter.slots)
        answers = answers_to(rows)
        for at in range(0, len(rows), BLOCK_ROWS[0]):
            some = slice(at, at + BLOCK_ROWS[0])
            window.add(self.counter.count(rows[some], answers[some]), len(rows[some]))
        return window

    def evaluation(self, rows: Matrix) -> Evaluation:
        """Returns the evaluation of a window of rows."""
        return at_once(evaluate(self.counter, self.distributions, self.window(rows).snapshot()))


def answers_to(rows: Matrix) -> Matrix:
    """Returns the probabilities of a fixed linear model."""
    weights = np.random.default_rng(99).normal(size=(rows.shape[1], 3)) / 3
    scores = np.exp(rows @ weights)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def normal(rng: np.random.Generator, rows: int, features: int = FEATURES) -> Matrix:
    """Returns rows of independent standard normal numbers."""
    return rng.normal(size=(rows, features)).astype(np.float32)
