"""One training step: gradient, weight decay, clipping, Adam.

The learning rate and the weight decay change from step to step. They are numbers, or tensors of one number on the
device: a CUDA graph, which runs many times, reads their new values from there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import TrainConfig
from training.engines.gradients import BatchGradient
from training.engines.network.adam import Adam
from training.engines.network.parameters import Parameters


class Step:
    """A training step of all members on some of the rows.

    Attributes:
        adam: optimiser of all parameters.
    """

    def __init__(
        self,
        config: TrainConfig,
        parameters: Parameters,
        gradient: BatchGradient,
        *,
        weight_decays: NDArray[np.float64] | None = None,
    ) -> None:
        """Binds the step to the parameters.

        Args:
            config: settings of the run.
            parameters: parameters of all members.
            gradient: gradient of a batch, with respect to the parameters.
            weight_decays: (members,) factor on the weight decay of each member; None for no factors.
        """
        self._parameters, self._learn = parameters, gradient
        self._member_decays = None if weight_decays is None else torch.from_numpy(weight_decays)
        self.adam = Adam(parameters.flat, parameters.gradient, beta2=config.beta2)
        self._clip_norm = config.clip_norm
        # On a CPU the norm can be read at once, and most gradients need no clipping.
        self._only_gradient: NDArray[np.floating[Any]] | None = None
        if parameters.members == 1 and parameters.flat.device.type == "cpu":
            self._only_gradient = parameters.gradient[0].numpy()
        self._is_decoupled = config.optimizer == "adamw"
        self._decays = config.weight_decay > 0
        self._is_decayed = _all_but_biases if config.parametrization == "ntk" else _matrices
        self.set_decay()

    def set_decay(self) -> None:
        """Computes the spans of weight decay again, for the present learning rates of the members."""
        parameters = self._parameters
        spans = parameters.decay_rates(
            self._is_decayed, is_decoupled=self._is_decoupled, member_decays=self._member_decays
        )
        # Views of the parameters and of their gradient, and the strength of the decay there.
        self._decayed = [(parameters.flat[:, span], parameters.gradient[:, span], strength) for span, strength in spans]

    def __call__(self, order: Tensor, *, rate: float | Tensor, decay: float | Tensor) -> Tensor:
        """Updates all parameters by the gradient of one batch.

        Args:
            order: (members, b) row numbers.
            rate: learning rate.
            decay: weight decay; without effect if the config has none.

        Returns:
            (members,) loss of each member on the batch before the update, on the device.
        """
        parameters = self._parameters
        loss = self._learn(order)
        if self._decays and not self._is_decoupled:
            for weights, by_weights, strength in self._decayed:
                _add_scaled(by_weights, weights if strength is None else weights * strength, decay)
        if self._clip_norm is not None:
            self._clip(parameters.gradient, self._clip_norm)
        if self._decays and self._is_decoupled:
            shrink = rate * decay
            for weights, _, strength in self._decayed:
                if strength is None:
                    weights.mul_(1 - shrink)
                elif isinstance(shrink, Tensor):
                    weights.mul_(1 - strength * shrink)
                elif strength.shape[1] == 1:  # one factor for each member, rounded as the number of a single factor is
                    weights.mul_((1 - strength.double() * shrink).to(weights))
                else:
                    weights.addcmul_(weights, strength, value=-shrink)
        self.adam.step(rate)
        parameters.refresh()
        return loss

    def _clip(self, gradient: Tensor, most: float) -> None:
        """Scales the gradient of each member, (members, size), to a norm of `most` if its norm is larger."""
        if (only := self._only_gradient) is None:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)  # (members, 1)
            gradient.mul_(most / norm.clamp_min_(most))
            return
        length = math.sqrt(np.dot(only, only))  # a fourth of the time of torch's norm
        if not length <= most:
            gradient.mul_(most / length)


def _add_scaled(total: Tensor, values: Tensor, scale: float | Tensor) -> None:
    if isinstance(scale, Tensor):
        total.addcmul_(values, scale)
    else:
        total.add_(values, alpha=scale)


def _matrices(name: str) -> bool:
    """Returns True for the weights of Linear layers; biases and scales are not decayed."""
    return name.startswith("layers.") and name.endswith(".weight")


def _all_but_biases(name: str) -> bool:
    """Returns True for all parameters but the biases of layers; as in RealMLP, biases of periodic embeddings decay."""
    return name.startswith("inputs.") or not name.endswith(".bias")
