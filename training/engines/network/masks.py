"""Dropout masks: 0 for a dropped unit, 1/(1 - p) for a kept one.

On a CPU, torch draws a Bernoulli number in about 7 ns, which for three layers of 256 units is a third of a step. Here,
sixteen random bits per unit are compared with p·2¹⁶: this takes a ninth of the time and rounds p to 2⁻¹⁷.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_STEPS = 1 << 16
_PER_WORD = 4  # 16-bit numbers in the 64 bits that a generator returns at once
_POOL_WORDS = 1 << 17  # words drawn per call, 1 MiB: a call costs as much as some thousand words


class Masks(Protocol):
    """A source of masks.

    Attributes:
        probabilities: (members,) dropout probability of each member.
    """

    probabilities: NDArray[np.float64]

    @property
    def drops(self) -> bool:
        """True if any unit is dropped with the present probabilities."""

    def set_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        """Sets new probabilities, (members,), with the factor 1."""

    def scale_probabilities(self, share: float) -> None:
        """Sets the factor on the probabilities, from 0 to 1."""

    def draw(self, out: Tensor) -> Tensor:
        """Fills (k, b, w) with a dropout mask."""

    def keep(self, out: Tensor, share: float) -> Tensor:
        """Fills (k, b, w) with random ones and zeros; `share` is the share of ones; the probabilities do not apply."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the state of the random generator, for `restore`."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores a `state`."""


class HostMasks:
    """The implementation of `Masks` on a CPU."""

    def __init__(self, probabilities: NDArray[np.float64], *, seed: int) -> None:
        self._bits = np.random.SFC64(seed)
        self._generator = np.random.Generator(self._bits)
        self._pool = np.zeros(0, dtype=np.uint64)  # drawn words that are not used yet
        self.set_probabilities(probabilities)

    def set_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        """Sets new probabilities, (members,), with the factor 1."""
        self.probabilities = probabilities
        self._threshold: np.uint16 | NDArray[np.uint16]  # one number, or (members, 1)
        self._scale: np.float32 | NDArray[np.float32]
        self._alike = float(probabilities[0]) if (probabilities == probabilities[0]).all() else None
        self._share: float | None = None  # present factor on the probabilities
        self.scale_probabilities(1.0)

    def scale_probabilities(self, share: float) -> None:
        """Sets the factor on the probabilities, from 0 to 1."""
        if share == self._share:
            return
        self._share = share
        if self._alike is not None:  # one number for all: NumPy compares with it faster than with a column
            one = min(round(share * self._alike * _STEPS), _STEPS - 1)
            self.drops, self._threshold, self._scale = one > 0, np.uint16(one), np.float32(_STEPS / (_STEPS - one))
            return
        threshold = np.rint(share * self.probabilities * _STEPS).clip(0, _STEPS - 1)  # (members,)
        self.drops = bool(threshold.any())
        self._threshold = threshold.astype(np.uint16)[:, None]
        self._scale = (_STEPS / (_STEPS - threshold))[:, None].astype(np.float32)

    def draw(self, out: Tensor) -> Tensor:
        """Fills (k, b, w) with a dropout mask."""
        self.fill(out.numpy())
        return out

    def fill(self, out: NDArray[np.floating[Any]]) -> None:
        """Fills an array, (k, b, w) and contiguous, with a dropout mask."""
        members, size = len(out), out.size
        numbers = self._take(-(-size // _PER_WORD)).view(np.uint16)[:size].reshape(members, -1)  # (k, b·w)
        np.multiply(numbers >= self._threshold, self._scale, out=out.reshape(members, -1))

    def keep(self, out: Tensor, share: float) -> Tensor:
        """Fills (k, b, w) with ones, and zeros at random; the share of ones is `share`, rounded to 2⁻¹⁶."""
        size = out.numel()
        numbers = self._take(-(-size // _PER_WORD)).view(np.uint16)[:size]
        np.greater_equal(numbers, np.uint16(min(round((1 - share) * _STEPS), _STEPS - 1)), out=out.view(-1).numpy())
        return out

    def _take(self, count: int) -> NDArray[np.uint64]:
        """Returns the next random words."""
        if count > len(self._pool):
            drawn = self._generator.integers(0, 1 << 64, size=max(count, _POOL_WORDS), dtype=np.uint64)
            self._pool = np.concatenate([self._pool, drawn])
        words, self._pool = self._pool[:count], self._pool[count:]
        return words

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the state of the random generator, for `restore`."""
        return {"bits": np.array(self._bits.state["state"]["state"]), "pool": self._pool.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores a `state`."""
        self._bits.state = self._bits.state | {"state": {"state": np.array(state["bits"], dtype=np.uint64)}}
        self._pool = np.array(state["pool"], dtype=np.uint64)
