"""The out-of-fold answers of an ensemble: each row is answered by the members that did not learn from the row.

Of K folds, member m did not learn from fold m modulo K. There is one such member for each configuration of a portfolio,
and else one.

One place for all that needs honest answers to the rows of training: calibration, validation figures, the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.network.inference_network import InferenceNetwork
from training.data.split import Rows

_EVALUATED_CELLS = 4_000_000  # cells of the widest stage, per evaluated batch: 16 MB


@dataclass(frozen=True, kw_only=True, repr=False)
class OutOfFold:
    """The out-of-fold answers of a model that was trained by folds.

    Attributes:
        rows: `(rows,)` indices in the table of all rows outside of the test part.
        fold: `(rows,)` fold of the row, whose members answered it and did not learn from it.
        answers: `(rows, out_features)` calibrated probabilities, or values in the target's unit.
    """

    rows: Rows
    fold: NDArray[np.int64]
    answers: NDArray[Any]


def out_of_fold_answers(network: InferenceNetwork, x: NDArray[np.float32], fold: NDArray[np.int64]) -> NDArray[Any]:
    """Answers each row by the (weighted) mean of the members of its fold, (rows, out_features).

    Args:
        network: network of all members.
        x: `(rows, in_features)` encoded rows.
        fold: `(rows,)` fold of each row, from 0.
    """
    answers: NDArray[Any] | None = None
    folds = int(fold.max()) + 1
    for number in range(folds):
        weights = None if network.weights is None else network.weights[number::folds]
        own = replace(network, members=network.members[number::folds], weights=weights)
        rows = np.flatnonzero(fold == number)
        for piece in pieces(own, rows):
            found = own.answer(x[piece])
            if answers is None:
                answers = np.empty((len(x), found.shape[1]), found.dtype)
            answers[piece] = found
    assert answers is not None  # noqa: S101 -- there is at least one row
    return answers


def answers_of_configurations(
    network: InferenceNetwork, x: NDArray[np.float32], fold: NDArray[np.int64]
) -> NDArray[Any]:
    """Answers each row by each member of its fold, (configurations, rows, out_features); one configuration if no more.

    Args:
        network: network of all members, configuration by configuration.
        x: `(rows, in_features)` encoded rows.
        fold: `(rows,)` fold of each row, from 0.
    """
    folds = int(fold.max()) + 1
    parts = (network.members[at : at + folds] for at in range(0, len(network.members), folds))
    return np.stack([out_of_fold_answers(replace(network, members=part, weights=None), x, fold) for part in parts])


def pieces(network: InferenceNetwork, rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yields rows in pieces, which limit the memory of the stages."""
    size = max(_EVALUATED_CELLS // network.widest, 1)
    return (rows[at : at + size] for at in range(0, len(rows), size))
