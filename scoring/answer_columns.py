"""Answers as Arrow columns, named as by `axon predict`.

The columns are `prediction`, `probability LABEL` for each class, and with intervals `low` and `high`, or `set`. Several
targets have a column `prediction_TARGET` each, and then with intervals `prediction_TARGET_low` and
`prediction_TARGET_high` each.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.columns.labels import Label
from models.columns.schema import ClassTarget, ValuesTarget
from models.conformal import bounds_of, sets_of, threshold_of
from models.covered_answers import names_of_bounds, value_columns
from models.errors import ConfigError, DataError
from models.label_arrays import label_array_type

if TYPE_CHECKING:
    from scoring.answering import Answered


class AnswerColumns:
    """The columns of a model's answers.

    Args:
        checkpoint: checkpoint of the model.
        prefix: beginning of the columns' names.
        intervals: level of intervals, or of sets of labels; None for answers without.

    Attributes:
        schema: Arrow schema of the answers.

    Raises:
        ConfigError: the model has no calibration rows, or does not support the level.
    """

    def __init__(self, checkpoint: Checkpoint, *, prefix: str = "", intervals: float | None = None) -> None:
        self._threshold: float | NDArray[np.float64] | None = None
        if intervals is not None:
            self._threshold = threshold_of(checkpoint.conformal, intervals, "the model")
        target = checkpoint.schema.target
        self._least, self._most = checkpoint.config.least_answer, checkpoint.config.most_answer
        self._labels: pa.Array | None = None
        fields = []
        if isinstance(target, ClassTarget):
            self._labels = pa.array(target.labels, label_array_type(target.labels))
            fields.append(pa.field(f"{prefix}prediction", self._labels.type))
            if checkpoint.config.has_probabilities:
                fields += [pa.field(f"{prefix}probability {_written(label)}", pa.float32()) for label in target.labels]
        elif isinstance(target, ValuesTarget):
            fields += [pa.field(name, pa.float64()) for name in value_columns(target.names, prefix)]
        else:
            fields.append(pa.field(f"{prefix}prediction", pa.float64()))
        self._width = len(fields) - 1  # columns of probabilities
        if self._threshold is not None and self._labels is None:
            bounds = [f"{prefix}low", f"{prefix}high"]
            if isinstance(target, ValuesTarget):
                bounds = names_of_bounds([field.name for field in fields])
            fields += [pa.field(name, pa.float64()) for name in bounds]
        elif self._threshold is not None:
            fields.append(pa.field(f"{prefix}set", pa.string()))
        self.schema = pa.schema(fields)
        if len(set(self.schema.names)) < len(self.schema.names):  # targets `a` and `a_low`
            raise ConfigError(
                "the names of two targets give one column of intervals the name of another column: ask without "
                "intervals, or train with other names."
            )

    def check_free(self, names: Sequence[str]) -> None:
        """Refuses columns with the names of answers.

        Raises:
            DataError: one of the names is taken.
        """
        if taken := next((name for name in names if name in self.schema.names), None):
            raise DataError(
                f"the kept column {taken!r} has the name of an answer: have the answers named otherwise (--prefix)."
            )

    def of(self, answered: Answered, *, with_gaps: bool) -> list[pa.Array]:
        """Returns the columns of answers.

        Args:
            answered: answers to some rows.
            with_gaps: True for a null at each row without an answer; False leaves out such rows.
        """
        answers = answered.answers
        if self._labels is None:
            columns = [pa.array(np.ascontiguousarray(values), pa.float64()) for values in answers.T]
        else:
            columns = [self._labels.take(pa.array(answers.argmax(axis=1)))]
            columns += [pa.array(np.ascontiguousarray(answers[:, i]), pa.float32()) for i in range(self._width)]
        if self._threshold is not None:
            columns += self._covering(answers, self._threshold)
        if not with_gaps or answered.is_answered is None:
            return columns
        places = np.cumsum(answered.is_answered) - 1
        indices = pa.array(places, mask=~answered.is_answered)
        return [column.take(indices) for column in columns]

    def _covering(self, answers: NDArray[Any], threshold: float | NDArray[np.float64]) -> list[pa.Array]:
        """Returns the bounds of values, or the sets of labels as texts of JSON."""
        if self._labels is None:
            columns = []
            for values, own in zip(answers.T, np.atleast_1d(threshold).tolist(), strict=True):
                bounds = bounds_of(values, own, least=self._least, most=self._most)
                columns += [pa.array(np.ascontiguousarray(bounds[:, i]), pa.float64()) for i in (0, 1)]
            return columns
        # Few sets are different, so each text is written once.
        packed = np.packbits(sets_of(answers, float(threshold)), axis=1)
        different, places = np.unique(packed, axis=0, return_inverse=True)
        labels = [int(label) if isinstance(label, Decimal) else label for label in self._labels.to_pylist()]
        sets = np.unpackbits(different, axis=1, count=len(labels))
        texts = [orjson.dumps([labels[i] for i in np.flatnonzero(row)]).decode() for row in sets]
        return [pa.array(texts, pa.string()).take(pa.array(places.reshape(-1)))]


def check_members(checkpoint: Checkpoint, members: int | None, *, intervals: float | None = None) -> None:
    """Refuses a number of members that a model does not have, or that has no intervals.

    Args:
        checkpoint: checkpoint of the model.
        members: number of members of an ensemble that answer; None for all.
        intervals: level of intervals, or of sets of labels; None for answers without.

    Raises:
        ConfigError: the model has fewer members, or more and intervals were asked for.
    """
    total = checkpoint.config.members
    if members is not None and not 1 <= members <= total:
        has = "is a single network" if total == 1 else f"has {total} members"
        raise ConfigError(f"members is {members}, and the model {has}.")
    if intervals is not None and members not in (None, total):
        raise ConfigError(
            f"members is {members}, and the intervals of the model are for the answers of all {total} members: leave "
            "members or intervals out."
        )


def _written(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
