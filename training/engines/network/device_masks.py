"""Dropout masks drawn on a device, with what is kept in its memory too, so that a CUDA graph can draw them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class DeviceMasks:
    """A source of masks on a device; as `Masks`.

    Attributes:
        probabilities: (members,) with which each member's units are dropped.
        kept: (members,) on the device, the share of units that stay now.
        generator: of the random numbers.
    """

    def __init__(self, probabilities: NDArray[np.float64], *, seed: int, device: torch.device) -> None:
        self.probabilities = probabilities
        self.kept = torch.ones(len(probabilities), device=device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.scale_probabilities(1.0)

    @property
    def drops(self) -> bool:
        """Whether there is anything to drop, at whatever share."""
        return bool(self.probabilities.any())

    def kept_at(self, share: float) -> NDArray[np.float32]:
        """(members,) the share of units that stay where this share of the probabilities acts."""
        return (1 - share * self.probabilities).astype(np.float32)

    def set_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        """From now on drops with others, (members,), in full until `scale_probabilities` says otherwise."""
        self.probabilities = probabilities
        self.scale_probabilities(1.0)

    def scale_probabilities(self, share: float) -> None:
        """From now on drops with this share of the probabilities."""
        self.kept.copy_(torch.from_numpy(self.kept_at(share)))

    def draw(self, out: Tensor) -> Tensor:
        """Fills (k, b, w) with a mask."""
        kept = self.kept.view(-1, *[1] * (out.ndim - 1))
        torch.rand(out.shape, generator=self.generator, out=out)
        return out.lt_(kept).div_(kept)

    def keep(self, out: Tensor, share: float) -> Tensor:
        """Fills (k, b, w) with 1, but for a share of zeros, whatever the probabilities are."""
        torch.rand(out.shape, generator=self.generator, out=out)
        return out.lt_(share)

    def state(self) -> dict[str, NDArray[Any]]:
        """Where the source stands, for `restore`."""
        return {"device": self.generator.get_state().numpy().copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from a `state`."""
        self.generator.set_state(torch.from_numpy(state["device"].copy()))
