"""Weights of categories that no row of a member shows: the member answers as for an unknown category.

A member by folds does not see the rows of its fold, so it may never see a category that others learn. Its random
initial weights of that category would stay as they are, since no gradient reaches them, and would add noise to its
answers. With weights of 0, the category has no part in the answer, which is the encoding of an unknown category.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from training.engines.engine import Matrices

_BLOCK_ROWS = 65_536  # rows looked at a time, so that the copies of a large table's rows stay small
_EMBEDDING, _FIRST_LAYER = "inputs.embedding.weight", "layers.0.weight"


def without_unseen(
    tensors: Mapping[str, NDArray[np.float32]], architecture: MLPConfig, data: Matrices
) -> Mapping[str, NDArray[np.float32]]:
    """Sets the weights of features to 0 for each member whose rows of training never show the feature.

    Args:
        tensors: initial tensors of all members, with the names and shapes of `architecture.tensor_shapes()`.
        architecture: architecture of the networks, with at least two members.
        data: rows, with their folds.

    Returns:
        The tensors. Those without such a feature are the same arrays.
    """
    changed = dict(tensors)
    inputs = architecture.inputs
    dense = range(architecture.in_features) if inputs is None else inputs.flags
    if dense:
        unseen = _of_members(_shown_features(data, np.array(dense)), architecture.members)
        if unseen.any():
            weight = tensors[_FIRST_LAYER].copy()  # (members, out, width)
            first = 0 if inputs is None else len(inputs.numbers) + inputs.periodic_width
            weight[..., first : first + len(dense)] *= ~unseen[:, None]
            changed[_FIRST_LAYER] = weight
    if inputs is not None and inputs.indices:
        unseen = _of_members(_shown_categories(data, architecture), architecture.members)
        if unseen.any():
            changed[_EMBEDDING] = tensors[_EMBEDDING] * ~unseen[..., None]  # (members, table_rows, size)
    return changed


def _of_members(shown: NDArray[np.bool_], members: int) -> NDArray[np.bool_]:
    """Returns the features that no fold but a member's own shows, `(members, features)`.

    Args:
        shown: `(folds, features)` features that the rows of each fold show.
        members: number of members; member m has the fold m modulo the number of folds.
    """
    elsewhere = shown.sum(axis=0) - shown  # (folds, features) number of other folds
    unseen: NDArray[np.bool_] = (elsewhere == 0)[np.arange(members) % len(shown)]
    return unseen


def _shown_features(data: Matrices, features: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns whether any row of each fold has another value than 0, `(folds, features)`."""
    folds = _folds(data)
    shown = np.zeros((folds.max() + 1, len(features)), np.bool_)
    for at in range(0, len(folds), _BLOCK_ROWS):
        block = data.x[at : at + _BLOCK_ROWS, features] != 0
        for fold in range(len(shown)):
            shown[fold] |= block[folds[at : at + _BLOCK_ROWS] == fold].any(axis=0)
    return shown


def _shown_categories(data: Matrices, architecture: MLPConfig) -> NDArray[np.bool_]:
    """Returns whether any row of each fold has a row of the embedding table, `(folds, table_rows)`."""
    folds, inputs = _folds(data), architecture.inputs
    assert inputs is not None  # noqa: S101 -- the caller has asked
    shown = np.zeros((folds.max() + 1, inputs.table_rows), np.bool_)
    for at in range(0, len(folds), _BLOCK_ROWS):
        block = data.x[at : at + _BLOCK_ROWS, inputs.indices].astype(np.int64) + inputs.table_offsets()
        of_rows = folds[at : at + _BLOCK_ROWS]
        counted = of_rows >= 0
        shown[of_rows[counted, None], block[counted]] = True
    return shown


def _folds(data: Matrices) -> NDArray[np.int64]:
    """Returns the fold of each row, `(rows,)`, and -1 for a row of weight 0, from which no member learns."""
    assert data.folds is not None  # noqa: S101 -- without folds each member sees all rows
    return data.folds if data.weight is None else np.where(data.weight > 0, data.folds, -1)
