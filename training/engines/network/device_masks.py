"""Dropout masks that a CUDA graph can draw, since generator and probabilities are in the device's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class DeviceMasks:
    """The implementation of `Masks` on a device.

    Attributes:
        probabilities: (members,) dropout probability of each member.
        kept: (members,) present share of units that are kept, on the device.
        generator: source of the random numbers.
    """

    def __init__(self, probabilities: NDArray[np.float64], *, seed: int, device: torch.device) -> None:
        self.probabilities = probabilities
        self.kept = torch.ones(len(probabilities), device=device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.scale_probabilities(1.0)

    @property
    def drops(self) -> bool:
        """True if any probability is above 0, before scaling."""
        return bool(self.probabilities.any())

    def kept_at(self, share: float) -> NDArray[np.float32]:
        """Returns the shares of units that are kept, (members,), for probabilities scaled by `share`."""
        return (1 - share * self.probabilities).astype(np.float32)

    def set_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        """Sets new probabilities, (members,), with the factor 1."""
        self.probabilities = probabilities
        self.scale_probabilities(1.0)

    def scale_probabilities(self, share: float) -> None:
        """Sets the factor on the probabilities, from 0 to 1."""
        self.kept.copy_(torch.from_numpy(self.kept_at(share)))

    def draw(self, out: Tensor) -> Tensor:
        """Fills (k, b, w) with a dropout mask."""
        kept = self.kept.view(-1, *[1] * (out.ndim - 1))
        torch.rand(out.shape, generator=self.generator, out=out)
        return out.lt_(kept).div_(kept)

    def keep(self, out: Tensor, share: float) -> Tensor:
        """Fills (k, b, w) with random ones and zeros; `share` is the share of ones; the probabilities do not apply."""
        torch.rand(out.shape, generator=self.generator, out=out)
        return out.lt_(share)

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the state of the random generator, for `restore`."""
        return {"device": self.generator.get_state().numpy().copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores a `state`."""
        self.generator.set_state(torch.from_numpy(state["device"].copy()))
