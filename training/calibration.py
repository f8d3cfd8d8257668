"""Calibrated probabilities: a temperature relative to the classes' shares and a shift by class, fitted on validation.

For logits z, the network serves the softmax of z/T + b. The temperature T (Guo, Pleiss, Sun & Weinberger 2017, On
calibration of modern neural networks) moves all probabilities towards the classes' shares in the training part, or
away from these: b = (1 - 1/T)·log(shares). With a growing T, an overfitted network then approaches the constant answer,
also if one class is rare. A shift δ by class is added to b if validation rows show that it helps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.network.architecture import own_architecture
from training.data.class_balance import least_share

_RANGE = (math.log(0.05), math.log(20.0))  # bounds of ln T; a value outside has a different cause
# The prior of ln T is normal with mean 0 and this standard deviation. If all of a few validation rows are right, the
# likelihood alone would give a temperature of 0, which is certainty.
_PRIOR_STD = 0.5
# With unsmoothed labels and an epoch chosen by its loss, a network is nearly calibrated already: with a narrower prior,
# more rows are needed to change the temperature.
_HONEST_STD = 0.3
_SHIFT_STD = 0.5  # prior standard deviation of each class's shift δ
_TINY = 1e-30
_CLEAR = 2.0  # standard errors by which shifts must be better on rows outside their fit
_MIN_ROWS = 40  # with fewer rows, the comparison shows nothing
SHIFTED_CELLS = 4_000_000  # members · rows · classes; above, a sample of the rows fits the shifts, in some ten seconds


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """The calibration of logits z: z/temperature + shift.

    Attributes:
        temperature: divisor of the logits.
        shift: `(classes,)` float64 with mean 0, added to the divided logits.
        by_class: True if validation rows justify a shift by class in addition to the one from the classes' shares.
    """

    temperature: float
    shift: NDArray[np.float64]
    by_class: bool = False

    def applied_to(self, checkpoint: Checkpoint) -> Checkpoint:
        """Returns the checkpoint with the temperature, and with the shift added to the last Linear's bias."""
        config = replace(own_architecture(checkpoint.config), temperature=self.temperature)
        calibrated = replace(checkpoint, config=config)
        if not self.shift.any():
            return calibrated
        extra_fields: dict[str, Any] = {"calibrated_by_class": self.by_class}
        return replace(with_shift(calibrated, self.shift), training={**checkpoint.training, **extra_fields})


def with_shift(checkpoint: Checkpoint, shift: NDArray[np.float64]) -> Checkpoint:
    """Returns the checkpoint with a shift of the logits, `(classes,)`, after their division by the temperature."""
    name = _last_bias(checkpoint)
    temperature = own_architecture(checkpoint.config).temperature
    bias = checkpoint.tensors[name].astype(np.float64) + temperature * shift  # ([members,] classes)
    return replace(checkpoint, tensors={**checkpoint.tensors, name: bias.astype(np.float32)})


def calibrate(
    checkpoint: Checkpoint,
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    *,
    shares: NDArray[np.float64],
    is_honest: bool = False,
    member_weights: Sequence[int] | None = None,
) -> Checkpoint:
    """Returns the checkpoint with the calibration of the validation part, with the arguments of `fit_calibration`."""
    found = fit_calibration(
        probabilities,
        truth,
        weight,
        shares=shares,
        has_bias=own_architecture(checkpoint.config).bias,
        is_honest=is_honest,
        member_weights=member_weights,
    )
    return found.applied_to(checkpoint)


def fit_calibration(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    weight: NDArray[np.float64] | None = None,
    *,
    shares: NDArray[np.float64],
    has_bias: bool = True,
    is_honest: bool = False,
    member_weights: Sequence[int] | None = None,
) -> Calibration:
    """Fits the most probable temperature, with shifts by class if these are clearly better.

    Two-fold cross-validation decides: the shifts fitted on one half of the rows are evaluated on the other half. If
    there are more than `SHIFTED_CELLS`, a random sample of the rows decides and fits, the same sample each time.

    Args:
        probabilities: `(members, rows, classes)` probabilities of each member, at a temperature of 1.
        truth: `(rows,)` class indices.
        weight: `(rows,)` relative weight of each row; None for equal weights.
        shares: `(classes,)` share of each class in the training part.
        has_bias: True if the last Linear has a bias; without one, there is no shift.
        is_honest: True if labels were not smoothed and the epoch was chosen by the validation loss.
        member_weights: `(members,)` weight of each member in the mean of their probabilities; None for equal weights.
    """
    if not has_bias:
        temperature = fit_temperature(probabilities, truth, weight, member_weights=member_weights)
        return Calibration(temperature=temperature, shift=np.zeros(len(shares)))
    centre = _centre(shares, rows=len(truth))
    std = _HONEST_STD if is_honest else _PRIOR_STD
    rows = _Rows.of(probabilities, truth, weight, centre, std=std, member_weights=member_weights)
    temperature = rows.temperature()
    delta = np.zeros(len(shares))
    some = rows.sample(SHIFTED_CELLS)
    by_class = len(truth) >= _MIN_ROWS and _shifts_help(some)
    if by_class:
        temperature, delta = some.temperature_and_shifts()
    shift = (1 - 1 / temperature) * centre + delta
    return Calibration(temperature=temperature, shift=shift - shift.mean(), by_class=by_class)


def fit_temperature(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    weight: NDArray[np.float64] | None = None,
    *,
    member_weights: Sequence[int] | None = None,
) -> float:
    """Fits the most probable temperature relative to equal shares, with a prior around 1.

    Args:
        probabilities: `(members, rows, classes)` probabilities of each member, at a temperature of 1.
        truth: `(rows,)` class indices.
        weight: `(rows,)` relative weight of each row; None for equal weights.
        member_weights: `(members,)` weight of each member in the mean of their probabilities; None for equal weights.
    """
    centre = np.zeros(probabilities.shape[2])
    return _Rows.of(probabilities, truth, weight, centre, member_weights=member_weights).temperature()


def mean_of_members(values: NDArray[np.float64], member_weights: Sequence[int] | None) -> NDArray[np.float64]:
    """Returns the (weighted) mean of the members' values, `(rows, …)`.

    Args:
        values: `(members, rows, …)` float64 values of each member.
        member_weights: `(members,)` weight of each member; None for equal weights.
    """
    if member_weights is None:
        return np.asarray(values.mean(axis=0))
    return np.asarray(np.tensordot(_normalized(member_weights), values, axes=1))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Rows:
    """The rows of a calibration.

    Attributes:
        logs: `(members, rows, classes)` float64 log-probabilities minus the centre.
        truth: `(rows,)` class indices.
        counts: `(rows,)` weights with mean 1.
        centre: `(classes,)` log shares, the fixed point of the temperature.
        std: prior standard deviation of ln T.
        member_weights: `(members,)` weight of each member in the mean of their probabilities; None for equal weights.
    """

    logs: NDArray[np.float64]
    truth: NDArray[np.int64]
    counts: NDArray[np.float64]
    centre: NDArray[np.float64]
    std: float = _PRIOR_STD
    member_weights: Sequence[int] | None = None

    @classmethod
    def of(
        cls,
        probabilities: NDArray[np.float32],
        truth: NDArray[np.int64],
        weight: NDArray[np.float64] | None,
        centre: NDArray[np.float64],
        std: float = _PRIOR_STD,
        member_weights: Sequence[int] | None = None,
    ) -> _Rows:
        logs = np.log(np.maximum(probabilities.astype(np.float64), _TINY)) - centre
        counts = np.ones(len(truth)) if weight is None else weight / weight.mean()
        return cls(logs=logs, truth=truth, counts=counts, centre=centre, std=std, member_weights=member_weights)

    def take(self, rows: NDArray[np.int64]) -> _Rows:
        return replace(self, logs=self.logs[:, rows], truth=self.truth[rows], counts=self.counts[rows])

    def sample(self, cells: int) -> _Rows:
        """Returns random rows with at most so many log-probabilities, or all rows if these have no more."""
        members, rows, classes = self.logs.shape
        size = max(cells // (members * classes), _MIN_ROWS)
        if rows <= size:
            return self
        return self.take(np.sort(np.random.default_rng(0).choice(rows, size, replace=False)))

    def surprise(self, log_temperature: float, delta: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Returns -log p(true class) of each row, (rows,)."""
        _, of_members = self._of_truth(log_temperature, delta)
        return np.asarray(-np.log(np.maximum(mean_of_members(of_members, self.member_weights), _TINY)))

    def temperature(self) -> float:
        """Fits the most probable temperature without shifts."""
        # Imported here: SciPy's optimisers take time to import, and a regression does not need them.
        from scipy.optimize import minimize_scalar

        def loss(log_temperature: float) -> float:
            return float(self.counts @ self.surprise(log_temperature) + 0.5 * (log_temperature / self.std) ** 2)

        found = minimize_scalar(loss, bounds=_RANGE, method="bounded", options={"xatol": 1e-4})
        return float(f"{math.exp(found.x):.6g}")

    def temperature_and_shifts(self) -> tuple[float, NDArray[np.float64]]:
        """Fits the most probable temperature and shifts, (classes,), together."""
        from scipy.optimize import minimize

        def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            log_temperature, delta = float(point[0]), point[1:]
            probabilities, of_members = self._of_truth(log_temperature, delta)
            of_truth = np.maximum(mean_of_members(of_members, self.member_weights), _TINY)
            value = -float(self.counts @ np.log(of_truth))
            share = self.counts * of_members / (of_truth * len(of_members))  # (members, rows)
            if self.member_weights is not None:
                share *= len(of_members) * _normalized(self.member_weights)[:, None]
            slope = probabilities * share[..., None]  # derivative by the scaled logits, (members, rows, classes)
            slope[:, np.arange(len(self.truth)), self.truth] -= share
            by_log = -float((slope * self.logs).sum()) / math.exp(log_temperature)
            gradient = np.array([by_log + log_temperature / self.std**2, *(slope.sum(axis=(0, 1)))])
            gradient[1:] += delta / _SHIFT_STD**2
            prior = 0.5 * (log_temperature / self.std) ** 2 + 0.5 * float(delta @ delta) / _SHIFT_STD**2
            return value + prior, gradient

        start = np.zeros(1 + len(self.centre))
        bounds = [_RANGE, *[(None, None)] * len(self.centre)]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        return float(f"{math.exp(found.x[0]):.6g}"), np.asarray(found.x[1:])

    def _of_truth(
        self, log_temperature: float, delta: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns (members, rows, classes) probabilities, and (members, rows) probabilities of the true class."""
        scaled = self.logs / math.exp(log_temperature)
        scaled += self.centre if delta is None else self.centre + delta
        scaled -= scaled.max(axis=-1, keepdims=True)
        np.exp(scaled, out=scaled)
        scaled /= scaled.sum(axis=-1, keepdims=True)
        return scaled, scaled[:, np.arange(len(self.truth)), self.truth]


def _shifts_help(rows: _Rows) -> bool:
    """Returns True if shifts fitted on one half of the rows are clearly better on the other half."""
    halves = np.empty(len(rows.truth), dtype=np.int64)
    halves[np.argsort(rows.truth, kind="stable")] = (
        np.arange(len(rows.truth)) % 2
    )  # each half has its share of each class
    gains = np.empty(len(rows.truth))
    for half in (0, 1):
        fitted, held_out = rows.take(np.flatnonzero(halves != half)), rows.take(np.flatnonzero(halves == half))
        temperature, delta = fitted.temperature_and_shifts()
        without = held_out.surprise(math.log(fitted.temperature()))
        gains[halves == half] = held_out.counts * (without - held_out.surprise(math.log(temperature), delta))
    return float(gains.mean()) > _CLEAR * float(gains.std(ddof=1)) / math.sqrt(len(gains))


def _centre(shares: NDArray[np.float64], *, rows: int) -> NDArray[np.float64]:
    """Returns log shares with mean 0, (classes,); a class without training rows counts as less than one row."""
    logs = np.log(np.maximum(shares, least_share(rows, len(shares))))
    return np.asarray(logs - logs.mean())


def _normalized(member_weights: Sequence[int]) -> NDArray[np.float64]:
    """Returns weights of members with the sum 1, (members,)."""
    weights = np.asarray(member_weights, dtype=np.float64)
    return np.asarray(weights / weights.sum())


def _last_bias(checkpoint: Checkpoint) -> str:
    return f"layers.{len(checkpoint.config.layer_sizes) - 2}.bias"
