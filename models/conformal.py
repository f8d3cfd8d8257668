"""Conformal calibration: the errors of a model on rows unknown to its training, and the thresholds of these errors.

For a level such as 0.9, a value gets an interval and a class a set of labels, which contain the truth for at least 90 %
of rows that are like the calibration rows. The method is split conformal prediction (Papadopoulos, Proedrou, Vovk &
Gammerman 2002, Inductive confidence machines for regression; Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018,
Distribution-free predictive inference for regression). The score of a row is the absolute error of a value, or 1 minus
the probability of the true class (Sadinle, Lei & Wasserman 2019, Least ambiguous set-valued classifiers with bounded
error levels). With n calibration rows, the threshold of a level is their score at rank ⌈(n + 1) · level⌉.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import Schema
from models.errors import ConfigError, DataError

MOST_SCORES = 1_000  # of many rows; thresholds are then too large by a thousandth of the rows at most
_DIGITS = Context(prec=6, rounding=ROUND_CEILING)  # of a score: upwards, so that the row itself stays covered
_ROUNDING = 1e-9  # (n + 1) · level is a whole number for 9 rows and 0.7, but not in binary fractions


@dataclass(frozen=True, eq=False)
class Conformal:
    """The scores of a model's calibration rows.

    Attributes:
        rows: number of calibration rows.
        scores: `(kept,)` float64 scores in ascending order; of more than `MOST_SCORES` rows, those at evenly spaced
            ranks, with the largest. Of several targets `(targets, kept)`.
    """

    rows: int
    scores: NDArray[np.float64]

    @classmethod
    def of_values(cls, answers: NDArray[Any], truth: NDArray[Any]) -> Conformal | None:
        """Returns the scores of a regression, None without rows.

        Args:
            answers: `(rows,)` values of the model, or `(rows, targets)` for several targets.
            truth: true values of the same shape, in the same unit.
        """
        return cls._of(np.abs(answers.astype(np.float64) - truth.astype(np.float64)))

    @classmethod
    def of_classes(cls, probabilities: NDArray[Any], truth: NDArray[np.integer[Any]]) -> Conformal | None:
        """Returns the scores of a classification, None without rows.

        Args:
            probabilities: `(rows, classes)` probabilities of the model.
            truth: `(rows,)` indices of the true classes.
        """
        of_truth = probabilities[np.arange(len(truth)), truth]
        return cls._of(1 - of_truth.astype(np.float32).astype(np.float64))  # as the server answers

    @classmethod
    def _of(cls, scores: NDArray[np.float64]) -> Conformal | None:
        """Returns the scores of `(rows,)` or `(rows, targets)`; None without rows, or if a score is not finite."""
        scores = np.sort(scores, axis=0)
        if not len(scores) or not np.isfinite(scores[-1]).all():
            return None
        kept = scores[_kept_ranks(len(scores)) - 1].T
        rounded = [float(_DIGITS.create_decimal_from_float(score)) for score in kept.ravel().tolist()]
        return cls(len(scores), np.array(rounded).reshape(kept.shape))

    @classmethod
    def from_dict(cls, raw: object, targets: int = 1) -> Conformal:
        """Reads the section of a checkpoint's header.

        Args:
            raw: section of the header.
            targets: number of targets of the model.

        Raises:
            DataError: the section is damaged, or for another number of targets.
        """
        if not isinstance(raw, Mapping):
            raise DataError("conformal is not an object.")
        rows, scores = raw.get("rows"), raw.get("scores")
        if type(rows) is not int or not 0 < rows < 1 << 48:
            raise DataError("conformal has no number of rows.")
        if targets == 1:
            return cls(rows, _scores_in(scores, rows))
        if not isinstance(scores, list) or len(scores) != targets:
            raise DataError(f"conformal has no list of scores for each of {targets:,} targets.")
        return cls(rows, np.array([_scores_in(of_target, rows) for of_target in scores]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the section of a checkpoint's header, as JSON types."""
        return {"rows": self.rows, "scores": self.scores.tolist()}

    @property
    def highest_level(self) -> float:
        """Highest level that so many rows support."""
        return self.rows / (self.rows + 1)

    def support(self) -> dict[str, Any]:
        """Returns the number of calibration rows and the highest level, as JSON types."""
        return {"rows": self.rows, "highest_level": round(self.highest_level, 6)}

    def threshold(self, level: float) -> float | NDArray[np.float64]:
        """Returns the score that at least a share `level` of new rows does not exceed; `(targets,)` for several.

        Args:
            level: share of rows between 0 and 1, without both.

        Raises:
            ConfigError: the level is out of range, or too high for the number of calibration rows.
        """
        check_level(level)
        rank = max(1, math.ceil((self.rows + 1) * level - _ROUNDING))
        if rank > self.rows:
            most = math.floor(self.highest_level * 10_000) / 10_000
            raise ConfigError(
                f"intervals is {level:g}, and {self.rows:,} calibration rows support levels up to {most:g}: ask for a "
                "lower level, or train with more rows."
            )
        found = self.scores[..., np.searchsorted(_kept_ranks(self.rows), rank)]
        return float(found) if self.scores.ndim == 1 else found


def conformal_of(header: Mapping[str, Any], schema: Schema) -> Conformal | None:
    """Returns the scores in a checkpoint's header, None for a header without that section.

    Args:
        header: header of a checkpoint.
        schema: schema of the model.

    Raises:
        DataError: the section is damaged, or does not fit the schema.
    """
    raw = header.get("conformal")
    return None if raw is None else Conformal.from_dict(raw, len(schema.values) or 1)


def threshold_of(conformal: Conformal | None, level: float, model: str) -> Any:
    """Returns the threshold of a level for a model: a float, or `(targets,)` float64 for several targets.

    Args:
        conformal: scores of the model's calibration rows; None if it has none.
        level: share of rows between 0 and 1, without both.
        model: name of the model, for the message.

    Raises:
        ConfigError: the model has no calibration rows, or does not support the level.
    """
    if conformal is None:
        raise ConfigError(
            f"intervals were asked for, and {model} has no calibration rows for them: train it again with this version "
            "of Axon and a test part. A perceptron and an imported model have none."
        )
    return conformal.threshold(level)


def check_level(level: object) -> float:
    """Returns a level as a float.

    Raises:
        ConfigError: the level is not a number between 0 and 1.
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ConfigError(f"intervals must be a level between 0 and 1, such as 0.9, got {level!r}.")
    return float(level)


def bounds_of(
    values: NDArray[Any],
    threshold: float | NDArray[np.float64],
    *,
    least: float | None = None,
    most: float | None = None,
) -> NDArray[Any]:
    """Returns the lower and the upper bound of each value, `(rows, 2)`, of the type of the values.

    Of several targets, the bounds are `(rows, targets, 2)`. Each target is covered at the level, not all together.

    Args:
        values: `(rows,)` values of the model, or `(rows, targets)`.
        threshold: threshold of a level, or `(targets,)`.
        least: lower bound of true values, such as 0 for counts; None for no bound.
        most: upper bound of true values, such as 1 for shares; None for no bound.
    """
    middle = values.astype(np.float64)
    bounds = np.stack((middle - threshold, middle + threshold), axis=-1)
    limits = np.finfo(values.dtype)
    lowest = float(limits.min) if least is None else least
    highest = float(limits.max) if most is None else most
    return np.clip(bounds, lowest, highest).astype(values.dtype)


def sets_of(probabilities: NDArray[np.float32], threshold: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns the set of classes of each row, `(rows, classes)`; the most probable class is in each set.

    Args:
        probabilities: `(rows, classes)` probabilities of the model.
        threshold: threshold of a level.
    """
    sets = 1 - probabilities.astype(np.float64) <= threshold
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def _scores_in(scores: object, rows: int) -> NDArray[np.float64]:
    """Returns the scores of one target, `(kept,)`, from a header.

    Raises:
        DataError: these are no scores of so many rows.
    """
    if not isinstance(scores, list) or not all(type(score) in (int, float) for score in scores):
        raise DataError("conformal has no list of scores.")
    try:
        found = np.array(scores, dtype=np.float64)
    except OverflowError:
        raise DataError("conformal has a score that no float64 holds.") from None
    if len(found) != len(_kept_ranks(rows)):
        raise DataError(f"conformal has {len(found):,} scores, and {rows:,} rows have {len(_kept_ranks(rows)):,}.")
    if not np.isfinite(found).all() or found[0] < 0 or (np.diff(found) < 0).any():
        raise DataError("the scores of conformal are not ascending numbers from 0 on.")
    return found


def _kept_ranks(rows: int) -> NDArray[np.int64]:
    """Returns the ranks of the scores that are kept, ascending from 1 up to `rows`."""
    kept = min(rows, MOST_SCORES)
    return np.arange(1, kept + 1, dtype=np.int64) * rows // kept
