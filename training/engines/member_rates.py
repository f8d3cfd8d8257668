"""Hyperparameters that differ between the members of one batched run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import TrainConfig
from training.portfolio import CONFIGURATIONS


@dataclass(frozen=True, kw_only=True)
class MemberRates:
    """The hyperparameters that differ between the members.

    Each is an array of shape `(members,)`, or None if all members have the value of the config.

    Attributes:
        learning_rates: factors on the learning rate of the config.
        dropouts: dropout probabilities, which replace the config's.
        weight_decays: factors on the weight decay of the config.
        label_smoothings: label smoothings, which replace the config's.
    """

    learning_rates: NDArray[np.float64] | None = None
    dropouts: NDArray[np.float64] | None = None
    weight_decays: NDArray[np.float64] | None = None
    label_smoothings: NDArray[np.float64] | None = None


def portfolio_rates(config: TrainConfig) -> MemberRates | None:
    """Returns the hyperparameters of a portfolio's members, configuration by configuration; None without portfolio."""
    if not config.portfolio:
        return None
    of_members = [configuration for configuration in CONFIGURATIONS for _ in range(config.members)]
    return MemberRates(
        learning_rates=np.array([own.learning_rate for own in of_members]),
        dropouts=np.array([own.dropout_of(config.dropout) for own in of_members]),
        weight_decays=np.array([own.weight_decay for own in of_members]),
        label_smoothings=np.array([own.label_smoothing * config.label_smoothing for own in of_members]),
    )


def smoothing_of(config: TrainConfig, rates: MemberRates, device: torch.device) -> float | Tensor:
    """Returns the label smoothing: one number for all members, or (members,) float64 on the device."""
    of_members = rates.label_smoothings
    if of_members is None:
        return config.label_smoothing
    if (of_members == of_members[0]).all():
        return float(of_members[0])
    return torch.from_numpy(of_members).to(device)
