"""The losses of several networks at once, each with the derivative by the network's output."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

_LARGEST_RATIO = 148.0  # e⁵: the answer is far too small, whatever the distribution around it is


class Loss(Protocol):
    """The interface of a loss: one number per member, over a batch."""

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the (weighted) mean loss over the rows.

        Args:
            out: (k, b, w) output of the networks; with `gradient`, overwritten by ∂loss/∂out of each member's own loss.
            target: (k, b) or (1, b) class indices or values; for several values, (k, b, w) or (1, b, w).
            weight: (k, b) or (1, b) weights of the rows, with mean 1 over the training part; None for 1.
            gradient: True to compute the gradient.

        Returns:
            (k,) mean loss of each member.
        """


class CrossEntropy:
    """Cross entropy with label smoothing ε: a label has 1 - ε of the true class, and ε of all classes by their shares.

    Szegedy et al. 2016, Rethinking the Inception architecture, introduces uniform smoothing; Pereyra et al. 2017,
    Regularizing neural networks by penalizing confident output distributions, smooths by shares. Smoothing is for
    training only: a loss without gradient has none.
    """

    def __init__(self, *, smoothing: float | Tensor = 0.0, shares: Tensor | None = None) -> None:
        """Builds the loss.

        Args:
            smoothing: ε, in [0, 1); one for all members, or (k,) float64 with one for each.
            shares: (classes,) shares of the smoothing with sum 1; None for equal shares.
        """
        self._shares = shares
        self._smooths = isinstance(smoothing, Tensor) or smoothing > 0
        kept = 1 - smoothing  # in float64, and then rounded once, as torch rounds a number
        self._smoothing = smoothing.float()[:, None] if isinstance(smoothing, Tensor) else smoothing  # (k, 1)
        self._kept = kept.float()[:, None] if isinstance(kept, Tensor) else kept  # (k, 1)

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are class indices."""
        rows, classes = out.shape[1:]
        place = target.expand(len(out), rows)[..., None]
        logs = torch.log_softmax(out, dim=-1)  # (k, b, classes)
        loss = -logs.gather(2, place)[..., 0]  # (k, b)
        if gradient and self._smooths:
            spread = logs.mean(dim=-1) if self._shares is None else logs @ self._shares  # (k, b)
            loss = self._kept * loss - self._smoothing * spread
        if gradient:
            torch.exp(logs, out=out)
            self._subtract_labels(out, place, classes)
            out.mul_(1 / rows if weight is None else weight[..., None] / rows)
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)

    def _subtract_labels(self, out: Tensor, place: Tensor, classes: int) -> None:
        """Subtracts the smoothed labels from the probabilities, in place; place: (k, b, 1) true classes."""
        smoothing, kept = self._smoothing, self._kept
        if isinstance(smoothing, Tensor):
            smoothing = smoothing[..., None]  # (k, 1, 1)
        if self._smooths:
            out.sub_(smoothing / classes if self._shares is None else smoothing * self._shares)
        if isinstance(kept, Tensor):
            out.scatter_add_(2, place, (-kept)[..., None].expand(place.shape))
        else:
            out.scatter_(2, place, -kept, reduce="add")


class SoftCrossEntropy:
    """Cross entropy with the probabilities of a teacher as soft labels.

    Hinton, Vinyals & Dean 2015, Distilling the knowledge in a neural network, at the temperature 1.
    """

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are (k, b, classes) or (1, b, classes) probabilities."""
        rows = out.shape[1]
        logs = torch.log_softmax(out, dim=-1)  # (k, b, classes)
        loss = -(logs * target).sum(dim=-1)  # (k, b)
        if gradient:
            torch.exp(logs, out=out)
            out.sub_(target)
            out.mul_(1 / rows if weight is None else weight[..., None] / rows)
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class TeachingLoss:
    """The loss of a student: the answers of a teacher in training, and true labels in evaluation."""

    def __init__(self, learning: Loss, evaluation: Loss) -> None:
        """Builds the loss.

        Args:
            learning: loss with gradient, whose targets are the answers of the teacher.
            evaluation: loss without gradient, whose targets are true.
        """
        self._learning, self._evaluation = learning, evaluation

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`."""
        loss = self._learning if gradient else self._evaluation
        return loss(out, target, weight, gradient=gradient)


class PinballLoss:
    """The pinball loss of a quantile q (Koenker & Bassett 1978): q·d above the answer, (1 - q)·d below, at distance d.

    Half of the absolute error has the quantile 0.5, the median.
    """

    def __init__(self, quantile: float, *, scale: float = 1.0) -> None:
        """Builds the loss.

        Args:
            quantile: share of the targets that are to be below the answers, between 0 and 1.
            scale: factor on the loss; 2 makes the loss of the median the absolute error.
        """
        self._below, self._above = (1 - quantile) * scale, quantile * scale

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are values."""
        rows = out.shape[1]
        error = out[..., 0] - target  # (k, b)
        loss = torch.maximum(error * self._below, error * -self._above)
        if gradient:
            slope = torch.where(error > 0, self._below, torch.where(error < 0, -self._above, 0.0))
            torch.mul(slope, 1 / rows if weight is None else weight / rows, out=out[..., 0])
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class PoissonDeviance:
    """The deviance of the Poisson distribution (Nelder & Wedderburn 1972), 2·(y·log(y/μ) - y + μ), for μ = e^out.

    It is 0 for μ = y. No constant μ has a smaller mean deviance than the mean of the targets. Answers beyond a bound
    have the gradient of the bound: one step too far would otherwise give a gradient that Adam takes hundreds of steps
    to forget.
    """

    def __init__(self, largest: float) -> None:
        """Builds the loss.

        Args:
            largest: largest target, over the mean of the targets; the bound of the answers is e times as large.
        """
        # The largest value is at least the mean, 1; that of a few rows is 0 where a count is rare.
        self._bound = math.log(max(largest, 1.0)) + 1

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are counts or amounts of 0 or more."""
        rows = out.shape[1]
        logarithm = out[..., 0].clamp(max=self._bound)  # (k, b)
        rate = torch.exp(logarithm)
        loss = 2 * (torch.xlogy(target, target) - target * logarithm - target + rate)
        if gradient:
            torch.mul(rate - target, 2 / rows if weight is None else weight * (2 / rows), out=out[..., 0])
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class GammaDeviance:
    """The deviance of the gamma distribution (Nelder & Wedderburn 1972), 2·(y/μ - 1 - log(y/μ)), for μ = e^out.

    It depends on the ratio of target and answer only. No constant μ has a smaller mean deviance than the mean of the
    targets. An answer that is much too small has the gradient of a bound, for the reason in `PoissonDeviance`.
    """

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are above 0."""
        rows = out.shape[1]
        logarithm = out[..., 0] - torch.log(target)  # (k, b), of the answer over the target
        ratio = torch.exp(-logarithm).clamp(max=_LARGEST_RATIO)
        loss = 2 * (ratio - 1 + logarithm.clamp(min=-math.log(_LARGEST_RATIO)))
        if gradient:
            torch.mul(1 - ratio, 2 / rows if weight is None else weight * (2 / rows), out=out[..., 0])
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class BernoulliDeviance:
    """The deviance of the Bernoulli distribution (Nelder & Wedderburn 1972), twice the log loss, for p = σ(out).

    Of shares y between 0 and 1, and of answers of a teacher, it is smallest for p = y, but not 0.
    """

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are shares from 0 to 1."""
        rows = out.shape[1]
        odds = out[..., 0]  # (k, b), logarithms
        loss = 2 * (torch.nn.functional.softplus(odds) - target * odds)
        if gradient:
            error = torch.sigmoid(odds) - target
            torch.mul(error, 2 / rows if weight is None else weight * (2 / rows), out=odds)
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class SquaredError:
    """The squared error, (out - target)², of networks with one output."""

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are values."""
        rows = out.shape[1]
        error = out[..., 0] - target  # (k, b)
        loss = torch.square(error)
        if gradient:
            torch.mul(error, 2 / rows if weight is None else weight * (2 / rows), out=out[..., 0])
        return loss.mean(dim=1) if weight is None else (loss * weight).mean(dim=1)


class MeanOfTargets:
    """The mean over several targets of the loss of each, for networks with one output for each target."""

    def __init__(self, loss: Loss) -> None:
        """Builds the loss.

        Args:
            loss: loss of networks with one output.
        """
        self._loss = loss

    def __call__(self, out: Tensor, target: Tensor, weight: Tensor | None, *, gradient: bool) -> Tensor:
        """Computes the loss, as in `Loss`; the targets are (k, b, w) or (1, b, w) values.

        Each target of a row is a row of the loss of one target, with the weight of its row.
        """
        if weight is not None:
            weight = weight[..., None].expand(*weight.shape, target.shape[-1]).flatten(1)
        return self._loss(out.view(len(out), -1, 1), target.flatten(1), weight, gradient=gradient)
