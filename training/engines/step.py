"""One training step: gradient, weight decay, clipping, Adam.

The learning rate and the weight decay change from step to step. They are numbers, or tensors of one number on the
device: a CUDA graph, which runs many times, reads their new values from there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import TrainConfig
from training.engines.network.adam import Adam
from training.engines.network.category_dropout import CategoryDropout
from training.engines.network.losses import Loss
from training.engines.network.network import Network
from training.engines.rows import DeviceRows


class Step:
    """A training step of all members on some of the rows.

    Attributes:
        adam: optimiser of all parameters.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: Network,
        rows: DeviceRows,
        loss: Loss,
        category_dropout: CategoryDropout | None = None,
    ) -> None:
        self._network, self._rows, self._loss = network, rows, loss
        self._drop_categories = category_dropout
        parameters = network.parameters
        self.adam = Adam(parameters.flat, parameters.gradient, beta2=config.beta2)
        self._clip_norm = config.clip_norm
        self._is_decoupled = config.optimizer == "adamw"
        self._decays = config.weight_decay > 0
        self._is_decayed = _all_but_biases if config.parametrization == "ntk" else _matrices
        self.set_decay()

    def set_decay(self) -> None:
        """Computes the spans of weight decay again, for the present learning rates of the members."""
        self._spans = self._network.parameters.decay_rates(self._is_decayed, is_decoupled=self._is_decoupled)

    def __call__(self, order: Tensor, *, rate: float | Tensor, decay: float | Tensor) -> Tensor:
        """Updates all parameters by the gradient of one batch.

        Args:
            order: (members, b) row numbers.
            rate: learning rate.
            decay: weight decay; without effect if the config has none.

        Returns:
            (members,) loss of each member on the batch before the update, on the device.
        """
        parameters = self._network.parameters
        batch = self._rows.batch(order)
        if self._drop_categories is not None:
            self._drop_categories(batch.dense, batch.rows)
        loss = self._network.learn(batch, self._loss)
        gradient = parameters.gradient
        if self._decays and not self._is_decoupled:
            for span, strength in self._spans:
                weights = parameters.flat[:, span]
                _add_scaled(gradient[:, span], weights if strength is None else weights * strength, decay)
        if self._clip_norm is not None:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)  # (members, 1)
            gradient.mul_(self._clip_norm / norm.clamp_min_(self._clip_norm))
        if self._decays and self._is_decoupled:
            for span, strength in self._spans:
                shrink = rate * decay
                parameters.flat[:, span].mul_(1 - shrink if strength is None else 1 - strength * shrink)
        self.adam.step(rate)
        parameters.refresh()
        return loss


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
