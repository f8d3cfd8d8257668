"""The rows of each member of an ensemble by folds: rows of the other folds to learn from, and own rows to evaluate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import DataError


class MemberFolds:
    """Draws the rows of training for each member, and holds the rows of its evaluation.

    Attributes:
        learned: number of rows from which each member learns in an epoch. A member with more rows in its folds leaves
            out some, other ones in each epoch, so that all members take the same number of steps.
    """

    def __init__(
        self, folds: NDArray[np.int64], members: int, weight: NDArray[np.float64] | None, *, device: torch.device
    ) -> None:
        """Sorts the rows by fold.

        Args:
            folds: `(rows,)` fold of each row, from 0.
            members: number of members, a multiple of the number of folds. Member m does not learn from fold m modulo
                that number.
            weight: `(rows,)` weights of the rows; None for equal weights.
            device: torch device of the evaluation.

        Raises:
            DataError: all rows of a fold weigh 0, so that the member cannot be evaluated.
        """
        of_members = np.arange(members) % (int(folds.max()) + 1)  # (members,) own fold of each
        self._others = [torch.from_numpy(np.flatnonzero(folds != fold)) for fold in of_members]
        self.learned = min(len(rows) for rows in self._others)
        own = [np.flatnonzero(folds == fold) for fold in of_members]
        widest = max(len(rows) for rows in own)
        order = np.zeros((members, widest), dtype=np.int64)
        share = np.zeros((members, widest), dtype=np.float32)  # rows beyond a member's fold have no share
        for member, rows in enumerate(own):
            counts = np.ones(len(rows)) if weight is None else weight[rows]
            if not counts.sum() > 0:
                raise DataError(
                    f"all rows of fold {of_members[member] + 1} weigh 0: use fewer members, or none by folds (--folds)."
                )
            order[member, : len(rows)] = rows
            share[member, : len(rows)] = counts / counts.sum()
        self._order, self._share = torch.from_numpy(order).to(device), torch.from_numpy(share).to(device)

    def order(self, generator: torch.Generator, taken: int) -> Tensor:
        """Draws the rows of an epoch, (members, taken), in random order for each member.

        Args:
            generator: source of the random order.
            taken: number of rows of the epoch, at most `learned`.
        """
        order = torch.empty((len(self._others), taken), dtype=torch.int64)
        for of_member, rows in zip(order, self._others, strict=True):
            of_member.copy_(rows[torch.randperm(len(rows), generator=generator)[:taken]])
        return order

    def parts(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the rows of the members' own folds, (members, b) with b up to `size`, and their shares of the fold."""
        for begin in range(0, self._order.shape[1], size):
            yield self._order[:, begin : begin + size], self._share[:, begin : begin + size]
