"""Figures of the validation part by which a best epoch is chosen, beside the loss and the share of errors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.class_balance import least_share
from training.recipes import Selection

_TINY = 1e-30


class SelectionFigure(Protocol):
    """A figure of each member, of which less is better, over the batches of one evaluation."""

    def add(self, out: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """Adds a batch.

        Args:
            out: (k, b, classes) logits.
            target: (k, b) or (1, b) class indices.
            weight: (k, b) or (1, b) weights of the rows; None for equal weights.
        """

    def result(self) -> Tensor:
        """Returns the figure of each member, (k,)."""


def figure_of(select_by: Selection, members: int, shares: Tensor | None, *, rows: int) -> SelectionFigure | None:
    """Returns an empty figure; None for the loss and the error, which every evaluation has.

    Args:
        select_by: rule of the best epoch.
        members: number of members.
        shares: (classes,) share of each class in the training part; None for a regression.
        rows: number of rows of the evaluation.
    """
    if select_by == "balanced-error" and shares is not None:
        return BalancedError(members, shares, rows=rows)
    return RankingError() if select_by == "auc" else None


class BalancedError:
    """One minus the mean recall of the classes, at the decision that is best for equally common classes.

    The decision takes the class with the greatest logit minus the logarithm of its share in training (logit adjustment,
    Menon et al. 2021, Long-tail learning via logit adjustment).
    """

    def __init__(self, members: int, shares: Tensor, *, rows: int) -> None:
        """Starts with no rows.

        Args:
            members: number of members.
            shares: (classes,) share of each class in the training part; 0 counts as the decision that is served does.
            rows: number of rows of the evaluation.
        """
        self._offset = shares.clamp_min(least_share(rows, len(shares))).log()
        self._wrong = torch.zeros(members, len(shares), device=shares.device)
        self._total = torch.zeros_like(self._wrong)

    def add(self, out: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """Adds a batch, as in `SelectionFigure`."""
        place = target.expand(out.shape[:2])
        counts = torch.ones(place.shape, device=out.device) if weight is None else weight.expand(place.shape)
        wrong = ((out - self._offset).argmax(dim=-1) != place) * counts
        self._wrong.scatter_add_(1, place, wrong)
        self._total.scatter_add_(1, place, counts.contiguous())

    def result(self) -> Tensor:
        """Returns the figure of each member; classes without rows do not count."""
        present = self._total > 0
        return (self._wrong / self._total.clamp_min(_TINY)).sum(dim=1) / present.sum(dim=1).clamp_min(1)


class RankingError:
    """One minus the area under the ROC curve of two classes."""

    def __init__(self) -> None:
        """Starts with no rows."""
        self._scores: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._weights: list[Tensor] = []

    def add(self, out: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """Adds a batch, as in `SelectionFigure`."""
        shape = out.shape[:2]
        self._scores.append(out[..., 1] - out[..., 0])
        self._targets.append(target.expand(shape))
        self._weights.append(torch.ones(shape, device=out.device) if weight is None else weight.expand(shape))

    def result(self) -> Tensor:
        """Returns the figure of each member; ½ for a member whose rows have one class only."""
        parts = (self._scores, self._targets, self._weights)
        scores, targets, weights = (torch.cat(part, dim=1).cpu().numpy() for part in parts)
        areas = [area_under_roc(*member) for member in zip(scores, targets, weights, strict=True)]
        return 1 - torch.tensor(areas)


def area_under_roc(scores: NDArray[np.floating], truth: NDArray[np.integer], weight: NDArray[np.floating]) -> float:
    """Returns the weighted share of pairs, one row of each class, that the scores put in order; ties count half.

    Args:
        scores: (rows,) scores, higher for class 1.
        truth: (rows,) class indices, 0 or 1.
        weight: (rows,) weights of the rows; rows of weight 0 do not count.

    Returns:
        The area under the ROC curve (Hanley & McNeil 1982); ½ if one of the classes has no weight.
    """
    _, place = np.unique(scores, return_inverse=True)
    counts = weight.astype(np.float64)
    zeros = np.bincount(place, counts * (truth == 0))  # weight of class 0 by distinct score, ascending
    ones = np.bincount(place, counts * (truth == 1))
    pairs = zeros.sum() * ones.sum()
    if pairs == 0:
        return 0.5
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / pairs)
