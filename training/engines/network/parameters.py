"""All parameters of all members as one tensor, with views of it by name, and their gradients likewise.

A parameter may learn faster or slower than the rest. Adam's step does not depend on a gradient's scale, so a parameter
θ = f·θ' whose θ' is what Adam moves learns f times as fast (but for Adam's ε): with that, one learning rate and one
call serve all. θ' is what the flat tensor holds; the views show θ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.errors import ConfigError

Shape = tuple[int, ...]


class Parameters:
    """The flat tensor, its gradient, and views of both.

    Attributes:
        flat: (members, size) what the optimiser moves.
        gradient: (members, size) beside it.
        values: of each parameter (members, *shape), as the layers use it.
        gradients: of each parameter (members, *shape), where the layers write ∂loss/∂value.
        member_rates: (members,) float64 on the CPU, how much faster each member learns; None for all alike.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        *,
        members: int,
        factor: Callable[[str], float] = lambda name: 1.0,
        member_rates: Tensor | None = None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Sets out the memory; everything is 0.

        Args:
            shapes: of one member's parameters, by name.
            members: how many there are of each.
            factor: how much faster than the rest a parameter learns.
            member_rates: (members,) how much faster each member learns; None for all alike.
            device: where.
            dtype: of all of it.
        """
        # Those that learn as the rest does stand first, so that they need no second copy.
        order = sorted(shapes, key=lambda name: factor(name) != 1.0)
        sizes = [math.prod(shapes[name]) for name in order]
        ends = list(itertools.accumulate(sizes))
        self.members = members
        self.size = ends[-1]
        self.flat = torch.zeros(members, self.size, device=device, dtype=dtype)
        self.gradient = torch.zeros_like(self.flat)
        plain = [end for name, end in zip(order, ends, strict=True) if factor(name) == 1.0]
        self._from = 0 if member_rates is not None else max(plain, default=0)
        self._spans = {name: (end - size, end) for name, end, size in zip(order, ends, sizes, strict=True)}
        self._factor_of = factor
        self._factors = torch.ones(members, self.size - self._from, device=device, dtype=dtype)
        self.member_rates = None if member_rates is None else member_rates.to("cpu", torch.float64)
        self._set_factors()
        self._scaled = torch.empty_like(self._factors)
        self.values: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        for name, (begin, end) in self._spans.items():
            shape = (members, *shapes[name])
            is_scaled = begin >= self._from
            source = self._scaled[:, begin - self._from : end - self._from] if is_scaled else self.flat[:, begin:end]
            self.values[name] = source.view(shape)
            self.gradients[name] = self.gradient[:, begin:end].view(shape)

    def set(self, name: str, value: Tensor) -> None:
        """Gives a parameter its value; value: (members, *shape)."""
        begin, end = self._spans[name]
        flat = value.reshape(self.members, -1).to(self.flat)
        if begin >= self._from:
            flat = flat / self._factors[:, begin - self._from : end - self._from]
        self.flat[:, begin:end] = flat

    def refresh(self) -> None:
        """Brings the values up to date with the flat tensor."""
        if self._from < self.size:
            torch.mul(self.flat[:, self._from :], self._factors, out=self._scaled)

    def finish_gradient(self) -> None:
        """Turns what the layers wrote into the gradient of the flat tensor."""
        if self._from < self.size:
            self.gradient[:, self._from :] *= self._factors

    def exploit(self, parents: Tensor, member_rates: Tensor) -> Tensor:
        """Each member becomes a copy of one, and learns at a rate of its own from now on.

        The values are the parent's to rounding, so θ' = θ/f changes with the rate.

        Args:
            parents: (members,) of which member each becomes a copy.
            member_rates: (members,) how much faster than the rest each learns then.

        Returns:
            (members, 1) by what the parents' θ' was multiplied; the gradient of θ' goes with its reciprocal.

        Raises:
            ConfigError: they were set out without rates of their own.
        """
        if self.member_rates is None:
            raise ConfigError("members that were set out to learn alike cannot be given rates of their own.")
        wanted = member_rates.to(self.member_rates)
        scale = (self.member_rates[parents.cpu()] / wanted).to(self.flat)[:, None]
        self.flat.copy_(self.flat[parents] * scale)
        self.set_member_rates(wanted)
        return scale

    def set_member_rates(self, member_rates: Tensor) -> None:
        """From now on members learn at other rates; θ' stays, and so the values do not."""
        self.member_rates = member_rates.to("cpu", torch.float64)
        self._set_factors()
        self.refresh()

    def decay_rates(self, decays: Callable[[str], bool], *, is_decoupled: bool) -> list[tuple[slice, Tensor | None]]:
        """Where weight decay acts, and how strongly beside the rest.

        Decoupled it goes with the learning rate of each parameter, and with its factor once more: RealMLP's code
        multiplies both its rate and its decay by the factor, and its constants were tuned with that. As a penalty on
        the squares of θ it is part of the gradient of θ', and goes with f².

        Args:
            decays: whether a parameter does, by its name.
            is_decoupled: whether it acts beside the gradient or in it.

        Returns:
            Spans of the flat tensor, each with (members, span) relative strengths, or None for 1.
        """
        spans: list[tuple[slice, Tensor | None]] = []
        for name, (begin, end) in self._spans.items():
            if not decays(name):
                continue
            if begin < self._from:
                if spans and spans[-1][0].stop == begin and spans[-1][1] is None:
                    begin = spans.pop()[0].start
                spans.append((slice(begin, end), None))
            else:
                strength = torch.full((self.members, 1), self._factor_of(name) ** 2).to(self.flat)
                if self.member_rates is not None:
                    rates = self.member_rates if is_decoupled else self.member_rates**2
                    strength *= rates.to(self.flat)[:, None]
                spans.append((slice(begin, end), strength))
        return spans

    def _set_factors(self) -> None:
        for name, (begin, end) in self._spans.items():
            if begin >= self._from:
                self._factors[:, begin - self._from : end - self._from] = self._factor_of(name)
        if self.member_rates is not None:
            self._factors *= self.member_rates.to(self._factors)[:, None]
