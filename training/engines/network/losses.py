"""The losses of several networks at once, each with its derivative by the network's output."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Loss(Protocol):
    """A loss over a batch, a number a member."""

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """The (weighted) mean over the rows.

        Args:
            out: (k, b, w) the networks' output; with `gradient` it becomes ∂loss/∂out of each member's own loss.
            target: (k, b) or (1, b).
            weight: (k, b) or (1, b) of each row, with mean 1 over the training part; None for 1.
            gradient: whether to compute it.

        Returns:
            (k,)
        """


class CrossEntropy:
    """-log softmax(out)[target], with label smoothing ε: (1 - ε) of the truth, ε of the classes by their shares.

    Szegedy et al. 2016, Rethinking the Inception architecture, for the smoothing, which is uniform there; by shares
    in Pereyra et al. 2017, Regularizing neural networks by penalizing confident output distributions. The smoothing is
    for training, so that a loss reported without gradient is without it.
    """

    def __init__(self, *, smoothing: float = 0.0, shares: Tensor | None = None) -> None:
        """Builds the loss.

        Args:
            smoothing: ε, in [0, 1).
            shares: (classes,) that sum to 1; all classes alike if None.
        """
        self._smoothing, self._shares = smoothing, shares

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """See `Loss`; target: class indices."""
        rows, classes = out.shape[1:]
        place = target.expand(len(out), rows)[..., None]
        logs = torch.log_softmax(out, dim=-1)  # (k, b, classes)
        loss = -logs.gather(2, place)[..., 0]  # (k, b)
        smoothing = self._smoothing if gradient else 0.0
        if smoothing:
            spread = logs.mean(dim=-1) if self._shares is None else logs @ self._shares  # (k, b)
            loss = (1 - smoothing) * loss - smoothing * spread
        if gradient:
            torch.exp(logs, out=out)
            if smoothing:
                out.sub_(smoothing / classes if self._shares is None else smoothing * self._shares)
            out.scatter_(2, place, smoothing - 1, reduce="add")
            out.mul_(1 / rows if weight is None else weight[..., None] / rows)
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class SquaredError:
    """(out - target)²; the network has one output."""

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """See `Loss`; target: values."""
        rows = out.shape[1]
        error = out[..., 0] - target  # (k, b)
        loss = torch.square(error)
        if gradient:
            torch.mul(error, 2 / rows if weight is None else weight * (2 / rows), out=out[..., 0])
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)
