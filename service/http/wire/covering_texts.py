"""Intervals and sets of labels as text, for the writers of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from models.conformal import bounds_of, sets_of, threshold_of
from models.covered_answers import bound_columns
from models.errors import ConfigError
from service.batching.served_version import ServedVersion
from service.batching.ticket import target_values
from service.errors import InvalidRequest

_STEP_CELLS = 4_096  # cells of a step, each of which may be a label to write


class CoveringTexts:
    """Writes the intervals or sets of one model version.

    Args:
        served: model version.
    """

    def __init__(self, served: ServedVersion) -> None:
        self._served = served
        self._has_targets = served.targets is not None
        self._labels = None if served.labels is None else [orjson.dumps(label) for label in served.labels]

    def bounds(self, matrix: NDArray[np.float32], level: float) -> NDArray[np.float32] | NDArray[np.float64]:
        """Returns the lower and the upper bound of each row of a regressor, `(rows, 2)`.

        Of several targets, the bounds are `(rows, targets, 2)`.

        Args:
            matrix: `(rows, targets)` float32 answers.
            level: level of the intervals.
        """
        served = self._served
        values = target_values(matrix, served.origin)
        least, most = served.config.least_answer, served.config.most_answer
        return bounds_of(values, self._threshold(level), least=least, most=most)

    def sets(self, matrix: NDArray[np.float32], level: float) -> NDArray[np.bool_]:
        """Returns the set of each row of a classifier, `(rows, classes)`.

        Args:
            matrix: `(rows, classes)` float32 probabilities.
            level: level of the sets.
        """
        return sets_of(matrix, self._threshold(level))

    def rows(self, matrix: NDArray[np.float32], level: float) -> list[bytes]:
        """Returns the JSON list of each row: the two bounds, those of each target, or the labels of the set.

        Args:
            matrix: `(rows, width)` float32 answers.
            level: level of the intervals or sets.
        """
        if self._labels is None:
            bounds = orjson.dumps(self.bounds(matrix, level), option=orjson.OPT_SERIALIZE_NUMPY)
            if self._has_targets:
                return [b"[[%b]]" % text for text in bounds[3:-3].split(b"]],[[")]
            return [b"[%b]" % text for text in bounds[2:-2].split(b"],[")]
        sets = self.sets(matrix, level)
        chosen = [self._labels[class_] for class_ in sets.nonzero()[1].tolist()]  # row by row
        ends = sets.sum(axis=1).cumsum().tolist()
        return [b"[%b]" % b",".join(chosen[at:end]) for at, end in zip([0, *ends], ends, strict=False)]

    def members(self, matrices: Sequence[NDArray[np.float32]], level: float) -> Iterator[bytes]:
        """Yields the parts of the last member of a JSON answer, from the comma before to the end of the answer.

        Args:
            matrices: `(rows, width)` float32 answers each, in the order of the rows.
            level: level of the intervals or sets.
        """
        name = b',"intervals":[' if self._labels is None else b',"sets":['
        for matrix in matrices:
            rows = max(1, _STEP_CELLS // matrix.shape[1])
            for at in range(0, len(matrix), rows):
                yield name + b",".join(self.rows(matrix[at : at + rows], level))
                name = b","
        yield b"]}"

    def _threshold(self, level: float) -> float | NDArray[np.float64]:
        served = self._served
        threshold: float | NDArray[np.float64] = threshold_of(served.conformal, level, str(served))
        return threshold


def bound_names(served: ServedVersion) -> list[str]:
    """Returns the names of the columns of a regressor's bounds, in tables.

    Raises:
        InvalidRequest: a bound of a target has the name of another target's predictions.
    """
    if served.targets is None:
        return ["low", "high"]
    try:
        return bound_columns(served.targets)
    except ConfigError as error:
        raise InvalidRequest(str(error)) from error
