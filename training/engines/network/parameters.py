"""All parameters of all members as one tensor, with a view for each name, and the gradients likewise.

A parameter may have its own factor f on the learning rate. Adam's step does not depend on the scale of a gradient (up
to Adam's ε). So if Adam moves θ' and the parameter is θ = f·θ', then θ learns f times as fast: one learning rate and
one call serve all parameters. The flat tensor holds θ'; the views show θ.
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
        flat: (members, size) parameters θ', which the optimiser moves.
        gradient: (members, size) gradient of `flat`.
        values: views (members, *shape) of the parameters θ by name, which the layers read.
        gradients: views (members, *shape) by name, into which the layers write ∂loss/∂θ.
        member_rates: (members,) factor on the learning rate of each member, float64 on the CPU; None for no factors.
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
        """Allocates the memory, filled with 0.

        Args:
            shapes: shapes of one member's parameters, by name.
            members: number of members.
            factor: function from the name of a parameter to the factor f on its learning rate.
            member_rates: (members,) factor on the learning rate of each member; None for no factors.
            device: torch device of all tensors.
            dtype: element type of all tensors.
        """
        # Parameters with the factor 1 come first: they need no second, scaled copy.
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
        self._unscaled, self._unscaled_gradient = self.flat[:, self._from :], self.gradient[:, self._from :]
        self.values: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        for name, (begin, end) in self._spans.items():
            shape = (members, *shapes[name])
            is_scaled = begin >= self._from
            source = self._scaled[:, begin - self._from : end - self._from] if is_scaled else self.flat[:, begin:end]
            self.values[name] = source.view(shape)
            self.gradients[name] = self.gradient[:, begin:end].view(shape)

    def set(self, name: str, value: Tensor) -> None:
        """Sets a parameter θ to a value, (members, *shape)."""
        begin, end = self._spans[name]
        flat = value.reshape(self.members, -1).to(self.flat)
        if begin >= self._from:
            flat = flat / self._factors[:, begin - self._from : end - self._from]
        self.flat[:, begin:end] = flat

    def refresh(self) -> None:
        """Computes the scaled values from the flat tensor."""
        if self._from < self.size:
            torch.mul(self._unscaled, self._factors, out=self._scaled)

    def finish_gradient(self) -> None:
        """Turns the gradients of θ, which the layers wrote, into the gradient of θ'."""
        if self._from < self.size:
            self._unscaled_gradient.mul_(self._factors)

    def exploit(self, parents: Tensor, member_rates: Tensor) -> Tensor:
        """Copies a parent into each member and sets new factors on the learning rates.

        The values θ stay those of the parent, up to rounding, so θ' = θ/f changes with the factor.

        Args:
            parents: (members,) index of the member that each member copies.
            member_rates: (members,) new factor on the learning rate of each member.

        Returns:
            (members, 1) factor by which the parent's θ' was multiplied; the gradient of θ' has its reciprocal.

        Raises:
            ConfigError: the parameters were allocated without `member_rates`.
        """
        if self.member_rates is None:
            raise ConfigError("members that were set out to learn alike cannot be given rates of their own.")
        wanted = member_rates.to(self.member_rates)
        scale = (self.member_rates[parents.cpu()] / wanted).to(self.flat)[:, None]
        self.flat.copy_(self.flat[parents] * scale)
        self.set_member_rates(wanted)
        return scale

    def set_member_rates(self, member_rates: Tensor) -> None:
        """Sets new factors on the members' learning rates; θ' stays, so the values θ change."""
        self.member_rates = member_rates.to("cpu", torch.float64)
        self._set_factors()
        self.refresh()

    def decay_rates(
        self, decays: Callable[[str], bool], *, is_decoupled: bool, member_decays: Tensor | None = None
    ) -> list[tuple[slice, Tensor | None]]:
        """Returns the spans of the flat tensor with weight decay, and the relative strength in each.

        Decoupled weight decay is proportional to the learning rate of a parameter, and to its factor f once more:
        RealMLP's code multiplies both the rate and the decay by the factor, and its constants were tuned that way. An
        L2 penalty on θ is part of the gradient of θ', and proportional to f².

        Args:
            decays: function from the name of a parameter to True if it decays.
            is_decoupled: True for decoupled weight decay (AdamW), False for an L2 penalty in the gradient.
            member_decays: (members,) factor on the weight decay of each member; None for no factors.

        Returns:
            Spans of the flat tensor, each with strengths (members, span) or (members, 1), or None for 1. The parameters
            with factors are one span, in which those that do not decay have the strength 0: a call costs more than
            their arithmetic.
        """
        spans: list[tuple[slice, Tensor | None]] = []
        strengths = torch.zeros_like(self._factors)
        for name, (begin, end) in self._spans.items():
            if not decays(name):
                continue
            if begin >= self._from:
                strengths[:, begin - self._from : end - self._from] = self._factor_of(name) ** 2
            elif spans and spans[-1][0].stop == begin:
                spans[-1] = slice(spans[-1][0].start, end), None
            else:
                spans.append((slice(begin, end), None))
        if self.member_rates is not None:
            rates = self.member_rates if is_decoupled else self.member_rates**2
            strengths *= rates.to(strengths)[:, None]
        if member_decays is not None:
            by_member = member_decays.to(strengths)[:, None]
            strengths *= by_member
            spans = [(span, by_member) for span, _ in spans]
        if strengths.any():
            spans.append((slice(self._from, self.size), strengths))
        return spans

    def _set_factors(self) -> None:
        for name, (begin, end) in self._spans.items():
            if begin >= self._from:
                self._factors[:, begin - self._from : end - self._from] = self._factor_of(name)
        if self.member_rates is not None:
            self._factors *= self.member_rates.to(self._factors)[:, None]
