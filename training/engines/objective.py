"""The loss of a run: its steps minimise the loss, and its epochs are compared by the loss on the validation part."""

from __future__ import annotations

from torch import Tensor

from training.config import TrainConfig
from training.engines.network.losses import (
    BernoulliDeviance,
    CrossEntropy,
    GammaDeviance,
    Loss,
    MeanOfTargets,
    PinballLoss,
    PoissonDeviance,
    SoftCrossEntropy,
    SquaredError,
    TeachingLoss,
)


def loss_of(
    config: TrainConfig,
    shares: Tensor | None,
    *,
    smoothing: float | Tensor,
    has_teacher: bool,
    largest: float,
    targets: int = 1,
) -> Loss:
    """Returns the loss of a run.

    A student learns the answers of its teacher, which have no noise, by squared error or cross entropy: the pinball
    loss of a teacher's quantiles would answer a quantile of these. Only a deviance is its own loss there too. The
    labels of the validation part are true, and the loss of the metric is that of an evaluation.

    Args:
        config: settings of the run.
        shares: (classes,) share of each class in the training part; None for a regression.
        smoothing: label smoothing, one number for all members, or (members,) float64.
        has_teacher: True if the targets of training are the answers of a teacher.
        largest: largest target of the training part, of a regression.
        targets: number of targets of a regression.
    """
    if shares is not None:
        loss: Loss = CrossEntropy(smoothing=smoothing, shares=shares)
        return TeachingLoss(SoftCrossEntropy(), loss) if has_teacher else loss
    loss = _loss_of_values(config, largest)
    learns_by_squares = has_teacher and config.output_of_values == "linear"
    if learns_by_squares:
        loss = TeachingLoss(SquaredError(), loss)
    return loss if targets == 1 else MeanOfTargets(loss)


def _loss_of_values(config: TrainConfig, largest: float) -> Loss:
    if config.quantile is not None:
        return PinballLoss(config.quantile)
    if config.metric == "poisson":
        return PoissonDeviance(largest)
    if config.metric == "gamma":
        return GammaDeviance()
    if config.metric == "bernoulli":
        return BernoulliDeviance()
    return PinballLoss(0.5, scale=2.0) if config.metric == "mae" else SquaredError()
