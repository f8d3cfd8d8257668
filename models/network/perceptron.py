"""Rosenblatt's perceptron: one threshold unit and the perceptron learning rule.

Rosenblatt 1958, The perceptron: a probabilistic model for information storage and organization in the brain.
The rule converges if a hyperplane separates the classes (Novikoff 1962, On convergence proofs on perceptrons), so a
perceptron learns AND and OR. On XOR it never converges (Minsky & Papert 1969), and `fit` can detect that during the
run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError, DataError
from models.network.config import MLPConfig, check_tensors


@dataclass(frozen=True, slots=True)
class PerceptronHistory:
    """The result of a run of the learning rule.

    Attributes:
        mistakes: number of rows that were classified wrongly in each epoch, at least one epoch.
        cycle_length: number of epochs after which the weights returned to an earlier value, with a fixed order of rows;
            None if no return was detected. From a return on, the run repeats for ever.
    """

    mistakes: tuple[int, ...]
    cycle_length: int | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs that were run."""
        return len(self.mistakes)

    @property
    def converged(self) -> bool:
        """True if the last epoch had no mistake."""
        return self.mistakes[-1] == 0

    @property
    def cycled(self) -> bool:
        """True if the run entered a cycle, and so can never converge."""
        return self.cycle_length is not None

    @property
    def verdict(self) -> str:
        """Sentence about the end of the run and the conclusion, for people."""
        after = _count(self.epochs, "epoch")
        if self.converged:
            return f"converged in {after}: no mistake in the last one."
        last = f"{_count(self.mistakes[-1], 'mistake')} in the last one"
        if self.cycle_length is None:
            return f"did not converge in {after}: {last}; more epochs may help, if a hyperplane separates the classes."
        return (
            f"cannot converge: {last} of {after}, and the weights are again what they were "
            f"{_count(self.cycle_length, 'epoch')} before, so all repeats for ever; "
            "up to float32 rounding, no hyperplane separates the classes."
        )

    def __str__(self) -> str:
        return self.verdict


class Perceptron:
    """A threshold unit, `ŷ = 1 if w·x + b ≥ 0 else 0`, that starts from zero weights.

    Weights, rows and sums are float32, so `to_tensors` and a server have exactly the weights that were learned. With
    float64 weights, the rounding on export could move a row on the boundary to the other class (0.1 + 0.2 - 0.3 is not
    0 in either precision, and its sign differs between them).

    Attributes:
        weight: (in_features,) float32
        bias: negative of the threshold.
    """

    def __init__(self, in_features: int) -> None:
        """Builds the unit.

        Raises:
            ConfigError: `in_features` is not a valid width.
        """
        self._config = MLPConfig(layer_sizes=(in_features, 1), output="step")
        self.weight: npt.NDArray[np.float32] = np.zeros(in_features, dtype=np.float32)
        self.bias = np.float32(0)

    @property
    def config(self) -> MLPConfig:
        """Architecture of the unit: one Linear with a step output."""
        return self._config

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Predicts the class of each row.

        Args:
            x: (rows, in_features)

        Returns:
            (rows,) of 0 and 1.

        Raises:
            DataError: `x` is not a matrix with in_features columns of finite float32 numbers.
        """
        return self._answer(self._as_rows(x)).astype(np.int64)

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        learning_rate: float = 1.0,
        max_epochs: int = 100,
        rng: np.random.Generator | None = None,
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> PerceptronHistory:
        """Learns row by row from the present weights on: `w += η(y-ŷ)x` and `b += η(y-ŷ)`.

        The run ends after the first epoch without a mistake, after `max_epochs`, or, with a fixed order of rows, when
        the weights at the end of an epoch equal those at the end of an earlier epoch. An epoch depends only on the
        weights at its start, so the run would repeat for ever. In exact arithmetic that proves that the classes cannot
        be separated, because the rule makes finitely many mistakes on separable classes.

        Args:
            x: (rows, in_features), at least one row.
            y: (rows,) of 0 and 1.
            learning_rate: step size η. If the run starts from zero weights, η scales them and changes no answer.
            max_epochs: largest number of passes over the rows.
            rng: random generator of a new order of rows in each epoch; None for the given order.
            on_epoch: function to call after each epoch with the epoch's number, from 1, and its number of mistakes.

        Raises:
            ConfigError: The learning rate is not positive and finite, or `max_epochs` is below 1.
            DataError: Rows or classes do not have the shapes and values above.
        """
        if not 0 < learning_rate < math.inf:
            raise ConfigError(f"learning_rate must be positive and finite, got {learning_rate!r}.")
        if max_epochs < 1:
            raise ConfigError(f"max_epochs must be at least 1, got {max_epochs!r}.")
        rows = self._as_rows(x)  # (rows, in_features)
        classes = _as_classes(y, len(rows))  # (rows,)
        with np.errstate(over="ignore", under="ignore"):
            rate = np.float32(learning_rate)
        if not 0 < rate < math.inf:
            raise ConfigError(f"learning_rate {learning_rate!r} is {rate} as a 32-bit number, as weights are.")
        # Brent's algorithm (Brent 1980, An improved Monte Carlo factorization algorithm): keep one state and replace it
        # at epochs 1, 2, 4, 8, …. That detects any cycle within a small multiple of its length, in constant memory.
        landmark, landmark_epoch = self._state(), 0
        mistakes: list[int] = []
        for epoch in range(1, max_epochs + 1):
            order = range(len(rows)) if rng is None else rng.permutation(len(rows))
            mistakes.append(sum(self._learn(rows[i], classes[i], rate) for i in order))
            if on_epoch is not None:
                on_epoch(epoch, mistakes[-1])
            if mistakes[-1] == 0:
                break
            if rng is None:
                if self._state() == landmark:
                    return PerceptronHistory(tuple(mistakes), cycle_length=epoch - landmark_epoch)
                if epoch >= 2 * landmark_epoch:
                    landmark, landmark_epoch = self._state(), epoch
        return PerceptronHistory(tuple(mistakes))

    def to_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies the weights, with the names and shapes of `config.tensor_shapes()`."""
        return {"layers.0.weight": self.weight[None, :].copy(), "layers.0.bias": np.array([self.bias])}

    @classmethod
    def from_tensors(cls, config: MLPConfig, tensors: Mapping[str, npt.NDArray[Any]]) -> Perceptron:
        """Builds a perceptron with the weights of `to_tensors`.

        Raises:
            ConfigError: The architecture is not one threshold unit with a bias, or the tensors do not fit it.
        """
        perceptron = cls(config.in_features)
        if config.hidden_sizes or config.output != "step" or not config.bias:
            raise ConfigError(f"a perceptron is one step unit with a bias, got {config!r}.")
        check_tensors(config, {name: tensor.shape for name, tensor in tensors.items()})
        perceptron.weight = tensors["layers.0.weight"][0].astype(np.float32)
        perceptron.bias = np.float32(tensors["layers.0.bias"][0])
        return perceptron

    def _answer(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Computes ŷ (...) for x (..., in_features)."""
        # Not `x @ w`: BLAS may add up one row and a matrix in different orders, and a row on the boundary would then
        # be right during learning and wrong in `predict`.
        z = (x * self.weight).sum(axis=-1) + self.bias
        return np.asarray(z >= 0)

    def _learn(self, x: npt.NDArray[np.float32], y: np.bool_, learning_rate: np.float32) -> bool:
        """Applies the rule to one row, x: (in_features,), and returns True if the row was classified wrongly."""
        if self._answer(x) == y:
            return False
        error = learning_rate if y else -learning_rate  # η(y-ŷ), for y ≠ ŷ
        self.weight = self.weight + error * x
        self.bias = self.bias + error
        return True

    def _state(self) -> tuple[bytes, float]:
        # Adding 0 turns -0.0 into 0.0: both give the same answers, but their bytes differ.
        return (self.weight + np.float32(0)).tobytes(), float(self.bias)

    def _as_rows(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        with np.errstate(over="ignore"):  # a number too large for float32 becomes inf, which is refused below
            rows = np.asarray(x).astype(np.float32)
        if rows.ndim != 2 or rows.shape[1] != self._config.in_features:
            raise DataError(f"x must have shape (rows, {self._config.in_features}), got {rows.shape}.")
        if not np.isfinite(rows).all():
            raise DataError("x holds values that are not finite float32 numbers.")
        return rows


def _as_classes(y: npt.ArrayLike, rows: int) -> npt.NDArray[np.bool_]:
    classes = np.asarray(y)
    if rows == 0 or classes.shape != (rows,):
        raise DataError(f"y must have one class for each of at least one row, got {classes.shape} for {rows} rows.")
    if others := sorted(set(classes.tolist()) - {0, 1}):
        raise DataError(f"y must hold the classes 0 and 1, got {others[0]!r}.")
    return np.asarray(classes == 1)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
