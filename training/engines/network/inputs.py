"""The input stage of several networks at once: periodic embedding, category embedding, scale, and the derivatives.

Standardisation and clip have no parameters; they are applied once, before training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.network.inputs import InputConfig
from training.engines.network.host_calls import cos, sin_, small_products
from training.engines.network.parameters import Parameters
from training.engines.network.workspace import Workspace


class Inputs:
    """The input stage: (k, b, numbers + flags) features and (k, b, indices) table row numbers → (k, b, width)."""

    def __init__(
        self, config: InputConfig, parameters: Parameters, work: Workspace, *, statistics: Tensor | None = None
    ) -> None:
        """Binds the stage to its parameters.

        Args:
            config: description of the stage.
            parameters: parameters of all members.
            work: memory of the intermediate results.
            statistics: (k, table_rows, s) last columns of the embedding tables, which are not learned; None without.
        """
        self._config = config
        self._statistics = statistics
        self._learned = config.embedding_size - (0 if statistics is None else statistics.shape[2])
        self._values = {name: v for name, v in parameters.values.items() if name.startswith("inputs.")}
        self._gradients = {name: g for name, g in parameters.gradients.items() if name.startswith("inputs.")}
        self._row, self._scaled, self._by_scale = work.buffer(), work.buffer(), work.buffer()
        self._cosines, self._factors = work.buffer(), work.buffer()
        self._numbers = len(config.numbers)
        self._has_waves = config.periodic_width > 0
        if config.indices:
            offsets = torch.tensor(config.table_offsets(), device=work.device)
            members = self._values["inputs.embedding.weight"].shape[0]
            starts = torch.arange(members, device=work.device)[:, None] * config.table_rows
            self._zero_rows = offsets
            self._member_starts = starts[:, :, None]  # (k, 1, 1)

    def forward(
        self, dense: Tensor, rows: Tensor | None, *, training: bool, statistics: Tensor | None = None
    ) -> Tensor:
        """Computes the input of the first Linear, (k, b, width).

        Args:
            dense: (k, b, numbers + flags) numbers, standardised and clipped, then flags.
            rows: (k, b, indices) row numbers in a member's embedding table; None without embeddings.
            training: True in training, where `statistics` are read.
            statistics: (k, b, indices, t) first t statistics of the rows' categories in training; None for those of
                the table.
        """
        config, n = self._config, self._numbers
        k, b, _ = dense.shape
        out = self._row.of((k, b, config.width))
        at = n + config.periodic_width
        flags = len(config.flags)
        out[..., :n] = dense[..., :n]
        if flags:
            out[..., at : at + flags] = dense[..., n:]
        if self._has_waves:
            self._embed_numbers(dense[..., :n], out[..., n:at])
        if rows is not None:
            table = self._values["inputs.embedding.weight"]  # (k, table_rows, learned columns)
            self._places = (rows + self._member_starts).flatten()  # (k·b·indices,)
            embedded = torch.index_select(table.reshape(-1, self._learned), 0, self._places)
            if self._statistics is None:
                out[..., at + flags :] = embedded.view(k, b, -1)
            else:
                by_index = out[..., at + flags :].view(k, b, len(config.indices), config.embedding_size)
                by_index[..., : self._learned] = embedded.view(k, b, -1, self._learned)
                by_index[..., self._learned :] = self._statistics_of(rows, statistics if training else None)
        self._x = out
        if not config.scale:
            return out
        scale = self._values["inputs.scale.weight"][:, None]  # (k, 1, width)
        return torch.mul(out, scale, out=self._scaled.of(out.shape))

    def backward(self, gradient: Tensor) -> None:
        """Computes the gradients of the parameters from ∂loss/∂output, (k, b, width)."""
        config, n = self._config, self._numbers
        if config.scale:
            by_scale = torch.mul(gradient, self._x, out=self._by_scale.of(gradient.shape))
            torch.sum(by_scale, dim=1, out=self._gradients["inputs.scale.weight"])
            gradient = gradient.mul_(self._values["inputs.scale.weight"][:, None])
        at = n + config.periodic_width
        if self._has_waves:
            self._embed_numbers_backward(gradient[..., n:at])
        if config.indices:
            by_rows = gradient[..., at + len(config.flags) :].reshape(-1, config.embedding_size)[:, : self._learned]
            by_table = self._gradients["inputs.embedding.weight"]  # (k, table_rows, learned columns)
            total = torch.zeros(by_table.shape, device=by_rows.device, dtype=by_rows.dtype)
            total.view(-1, self._learned).index_add_(0, self._places, by_rows)
            by_table.copy_(total)
            # Not by assignment, which copies the 0 from the host, and that ends the capture of a CUDA graph.
            by_table.index_fill_(1, self._zero_rows, 0)  # docs/decisions/0023: a learned row is less accurate

    def _statistics_of(self, rows: Tensor, of_rows: Tensor | None) -> Tensor:
        """Returns the statistics of the rows' categories, (k, b, indices, s).

        Args:
            rows: (k, b, indices) row numbers in a member's embedding table.
            of_rows: (k, b, indices, t) values for the first t of known categories; None for those of the table.
        """
        assert self._statistics is not None  # noqa: S101
        size = self._statistics.shape[2]
        found = torch.index_select(self._statistics.reshape(-1, size), 0, self._places).view(*rows.shape, size)
        if of_rows is not None:
            is_known = (rows != self._zero_rows)[..., None]
            found[..., : of_rows.shape[-1]] = of_rows * is_known
        return found

    def _embed_numbers(self, x: Tensor, out: Tensor) -> None:
        """Computes PBLD, W·cos(2πfx + φ) + b, of each number; x: (k, b, n), out: (k, b, n·size)."""
        size, frequencies = self._config.periodic_size, self._config.frequencies
        k, b, n = x.shape
        values = self._values
        # An angle φ + 2πf·x is the product of (1, x) and (φ, 2πf), and these are its derivatives by each other.
        one_and_x = self._one_and_x = self._factors.of((k * n, 2, b))
        one_and_x[:, 0].fill_(1)
        one_and_x.view(k, n, 2, b)[:, :, 1].copy_(x.transpose(1, 2))
        by_x = torch.stack([values["inputs.periodic.phase"], 2 * math.pi * values["inputs.periodic.frequency"]], dim=2)
        self._angle = small_products(one_and_x.transpose(1, 2), by_x.view(k * n, 2, frequencies))  # (k·n, b, freq.)
        self._waves = cos(self._angle, self._cosines.of(self._angle.shape))
        weight = values["inputs.periodic.weight"].reshape(k * n, size, frequencies)
        embedded = small_products(self._waves, weight.transpose(1, 2))  # (k·n, b, size)
        bias = values["inputs.periodic.bias"][:, None]  # (k, 1, n, size)
        out_by_number = out.view(k, b, n, size)
        torch.add(embedded.view(k, n, b, size).transpose(1, 2), bias, out=out_by_number)

    def _embed_numbers_backward(self, gradient: Tensor) -> None:
        """Computes the gradients of PBLD's parameters from ∂loss/∂out, (k, b, n·size)."""
        size, frequencies = self._config.periodic_size, self._config.frequencies
        k, b, _ = gradient.shape
        n = self._numbers
        by_out = gradient.view(k, b, n, size).transpose(1, 2).reshape(k * n, b, size)
        values, gradients = self._values, self._gradients
        by_weight = small_products(by_out.transpose(1, 2), self._waves)
        gradients["inputs.periodic.weight"].copy_(by_weight.view(k, n, size, frequencies))
        torch.sum(by_out.view(k, n, b, size), dim=2, out=gradients["inputs.periodic.bias"])
        weight = values["inputs.periodic.weight"].reshape(k * n, size, frequencies)
        by_angle = small_products(by_out, weight).mul_(sin_(self._angle))  # without the minus of cos' = -sin
        by_both = small_products(self._one_and_x, by_angle).view(k, n, 2, frequencies)
        torch.neg(by_both[:, :, 0], out=gradients["inputs.periodic.phase"])
        torch.mul(by_both[:, :, 1], -2 * math.pi, out=gradients["inputs.periodic.frequency"])
