"""Dropout masks: 0 for a dropped unit, 1/(1 - p) for a kept one.

On a CPU torch draws a Bernoulli number in about 7 ns, which for three layers of 256 units is a third of a step. Here
sixteen random bits a unit are compared with p·2¹⁶: a ninth of the time, and p is met to 2⁻¹⁷.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_STEPS = 1 << 16
_PER_WORD = 4  # 16-bit numbers in the 64 bits that a generator gives at once
_POOL_WORDS = 1 << 17  # drawn at a time, since a call costs as much as some thousand of them: 1 MiB


class Masks(Protocol):
    """A source of masks.

    Attributes:
        probabilities: (members,) with which each member's units are dropped.
    """

    probabilities: NDArray[np.float64]

    @property
    def drops(self) -> bool:
        """Whether any unit is ever dropped now."""

    def set_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        """From now on drops with others, (members,), in full until `scale_probabilities` says otherwise."""

    def scale_probabilities(self, share: float) -> None:
        """From now on drops with this share of the probabilities."""

    def draw(self, out: Tensor) -> Tensor:
        """Fills (k, b, w) with a mask."""

    def keep(self, out: Tensor, share: float) -> Tensor:
        """Fills (k, b, w) with 1, but for a share of zeros, whatever the probabilities are."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Where the source stands, for `restore`."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from a `state`."""


class HostMasks:
    """A source of masks for a CPU; as `Masks`."""

    def __init__(self, probabilities: NDArray[np.float64], *, seed: int) -> None:
        self.probabilities = probabilities
        self._bits = np.random.SFC64(seed)
        self._generator = np.random.Generator(self._bits)
        self._pool = np.zeros(0, dtype=np.uint64)  # words that were drawn and not used yet
        self.scale_probabilities(1.0)

    def set_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        """From now on drops with others, (members,), in full until `scale_probabilities` says otherwise."""
        self.probabilities = probabilities
        self.scale_probabilities(1.0)

    def scale_probabilities(self, share: float) -> None:
        """From now on drops with this share of the probabilities."""
        current = share * self.probabilities
        threshold = np.rint(current * _STEPS).clip(0, _STEPS - 1)  # (members,)
        self.drops = bool(threshold.any())
        kept = 1 - threshold / _STEPS
        # One number where all members are alike: NumPy compares with a scalar faster than with a column.
        alike = bool((threshold == threshold[0]).all())
        self._threshold = np.uint16(threshold[0]) if alike else threshold.astype(np.uint16)[:, None]
        self._scale = np.float32(1 / kept[0]) if alike else (1 / kept)[:, None].astype(np.float32)

    def draw(self, out: Tensor) -> Tensor:
        """Fills (k, b, w) with a mask."""
        members, size = out.shape[0], out.numel()
        numbers = self._take(-(-size // _PER_WORD)).view(np.uint16)[:size].reshape(members, -1)  # (k, b·w)
        flat = out.view(members, -1).numpy()
        np.multiply(numbers >= self._threshold, self._scale, out=flat)
        return out

    def keep(self, out: Tensor, share: float) -> Tensor:
        """Fills (k, b, w) with 1, but for a share of zeros: 1 - `share`, to the nearest 2⁻¹⁶."""
        size = out.numel()
        numbers = self._take(-(-size // _PER_WORD)).view(np.uint16)[:size]
        np.greater_equal(numbers, np.uint16(round((1 - share) * _STEPS)), out=out.view(-1).numpy())
        return out

    def _take(self, count: int) -> NDArray[np.uint64]:
        """The next words."""
        if count > len(self._pool):
            drawn = self._generator.integers(0, 1 << 64, size=max(count, _POOL_WORDS), dtype=np.uint64)
            self._pool = np.concatenate([self._pool, drawn])
        words, self._pool = self._pool[:count], self._pool[count:]
        return words

    def state(self) -> dict[str, NDArray[Any]]:
        """Where the source stands, for `restore`."""
        return {"bits": np.array(self._bits.state["state"]["state"]), "pool": self._pool.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from a `state`."""
        self._bits.state = self._bits.state | {"state": {"state": np.array(state["bits"], dtype=np.uint64)}}
        self._pool = np.array(state["pool"], dtype=np.uint64)
