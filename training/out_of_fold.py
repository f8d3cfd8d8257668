"""The out-of-fold answers of an ensemble: each row is answered by the one member that did not learn from the row.

One place for all that needs honest answers to the rows of training: calibration, validation figures, the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.network.fuse import InferenceNetwork
from training.data.split import Rows

_EVALUATED_CELLS = 4_000_000  # cells of the widest stage, per evaluated batch: 16 MB


@dataclass(frozen=True, kw_only=True, repr=False)
class OutOfFold:
    """The out-of-fold answers of a model that was trained by folds.

    Attributes:
        rows: `(rows,)` indices in the table of all rows outside of the test part.
        member: `(rows,)` member that answered the row and did not learn from it.
        answers: `(rows, out_features)` calibrated probabilities, or values in the target's unit.
    """

    rows: Rows
    member: NDArray[np.int64]
    answers: NDArray[Any]


def out_of_fold_answers(network: InferenceNetwork, x: NDArray[np.float32], member: NDArray[np.int64]) -> NDArray[Any]:
    """Answers each row by its own member, (rows, out_features).

    Args:
        network: network of all members.
        x: `(rows, in_features)` encoded rows.
        member: `(rows,)` member that answers each row.
    """
    answers: NDArray[Any] | None = None
    for number, stages in enumerate(network.members):
        one = replace(network, members=(stages,))
        rows = np.flatnonzero(member == number)
        for piece in pieces(one, rows):
            found = one.answer(x[piece])
            if answers is None:
                answers = np.empty((len(x), found.shape[1]), found.dtype)
            answers[piece] = found
    assert answers is not None  # noqa: S101 -- there is at least one row
    return answers


def pieces(network: InferenceNetwork, rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yields rows in pieces, which limit the memory of the stages."""
    size = max(_EVALUATED_CELLS // network.widest, 1)
    return (rows[at : at + size] for at in range(0, len(rows), size))
