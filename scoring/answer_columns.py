"""Answers as Arrow columns, named as by `axon predict`: `prediction`, and `probability LABEL` for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from models.checkpoint import Checkpoint
from models.columns.labels import Label, label_type
from models.columns.schema import ClassTarget
from models.errors import ConfigError, DataError

if TYPE_CHECKING:
    from scoring.answering import Answered


class AnswerColumns:
    """The columns of a model's answers.

    Args:
        checkpoint: checkpoint of the model.
        prefix: beginning of the columns' names.

    Attributes:
        schema: Arrow schema of the answers.
    """

    def __init__(self, checkpoint: Checkpoint, *, prefix: str = "") -> None:
        target = checkpoint.schema.target
        self._labels: pa.Array | None = None
        fields = []
        if isinstance(target, ClassTarget):
            self._labels = pa.array(target.labels, _label_type(target.labels))
            fields.append(pa.field(f"{prefix}prediction", self._labels.type))
            if checkpoint.config.has_probabilities:
                fields += [pa.field(f"{prefix}probability {_written(label)}", pa.float32()) for label in target.labels]
        else:
            fields.append(pa.field(f"{prefix}prediction", pa.float64()))
        self.schema = pa.schema(fields)

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
            columns = [pa.array(answers[:, 0], pa.float64())]
        else:
            columns = [self._labels.take(pa.array(answers.argmax(axis=1)))]
            count = len(self.schema) - 1
            columns += [pa.array(np.ascontiguousarray(answers[:, i]), pa.float32()) for i in range(count)]
        if not with_gaps or answered.is_answered is None:
            return columns
        places = np.cumsum(answered.is_answered) - 1
        indices = pa.array(places, mask=~answered.is_answered)
        return [column.take(indices) for column in columns]


def check_members(checkpoint: Checkpoint, members: int | None) -> None:
    """Refuses a number of members that a model does not have.

    Args:
        checkpoint: checkpoint of the model.
        members: number of members of an ensemble that answer; None for all.

    Raises:
        ConfigError: the model has fewer members.
    """
    total = checkpoint.config.members
    if members is not None and not 1 <= members <= total:
        has = "is a single network" if total == 1 else f"has {total} members"
        raise ConfigError(f"members is {members}, and the model {has}.")


def _label_type(labels: Sequence[Label]) -> pa.DataType:
    match label_type(tuple(labels)):
        case "int":
            return pa.uint64() if any(int(label) >= 2**63 for label in labels) else pa.int64()
        case "bool":
            return pa.bool_()
        case "float":
            return pa.float64()
        case "str":
            return pa.string()


def _written(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
