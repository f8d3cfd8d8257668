"""The modules that torch does not have, and the reader of a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.network.inputs import FAR


class Mixed(nn.Module):
    """A learned activation x + a·(f(x) - x), where each unit has its own a: (rows, width) to the same."""

    def __init__(self, function: nn.Module, width: int) -> None:
        super().__init__()
        self.function = function
        self.mix = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the activation of `x` with `x`."""
        activated: Tensor = self.function(x)
        return x + self.mix * (activated - x)


class HardSigmoid(nn.Module):
    """The activation slope·x + shift, kept within 0 to 1."""

    def __init__(self, slope: float, shift: float) -> None:
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(self, x: Tensor) -> Tensor:
        """Activates `x`."""
        return (self.slope * x + self.shift).clamp(0, 1)


class InputStage(nn.Module):
    """The stage before the first Linear: numbers, their waves, flags and embeddings side by side.

    A number is standardised and clipped smoothly; its waves are cos(fx + φ). A flag passes unchanged. An index is
    looked up in its part of the table. The places are positions in an encoded row.
    """

    def __init__(
        self,
        *,
        numbers: Sequence[int],
        flags: Sequence[int],
        indices: Sequence[int],
        offsets: Sequence[int],
        clip: float | None,
        frequencies: int,
        table: tuple[int, int],
    ) -> None:
        super().__init__()
        self.numbers, self.flags, self.indices, self.clip = list(numbers), list(flags), list(indices), clip
        self.offsets = torch.tensor(offsets, dtype=torch.int64)
        self.shift = nn.Parameter(torch.zeros(len(numbers)))
        self.divisor = nn.Parameter(torch.ones(len(numbers)))
        self.frequency = nn.Parameter(torch.zeros(len(numbers), frequencies))
        self.phase = nn.Parameter(torch.zeros(len(numbers), frequencies))
        self.table = nn.Parameter(torch.zeros(table))

    def forward(self, x: Tensor) -> Tensor:
        """Maps encoded rows, (rows, width), to the input of the first Linear."""
        x_numbers = ((x[:, self.numbers] - self.shift) / self.divisor).clamp(-FAR, FAR)  # (rows, numbers)
        if self.clip is not None:
            x_numbers = x_numbers / (1 + (x_numbers / self.clip).square()).sqrt()
        x_waves = torch.cos(x_numbers[:, :, None] * self.frequency + self.phase)  # (rows, numbers, frequencies)
        places = x[:, self.indices].long() + self.offsets.to(x.device)
        embedded = self.table[places]  # (rows, indices, embedding size)
        return torch.cat([x_numbers, x_waves.flatten(1), x[:, self.flags], embedded.flatten(1)], dim=1)


class Ensemble(nn.Module):
    """Several networks of one architecture: (rows, width) to (members, rows, outputs)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output of every member."""
        return torch.stack([member(x) for member in self.members])


def read_tensors(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Reads the float32 tensors of a safetensors file: a length, a JSON header, and the values.

    Raises ValueError if the file was exported from a model with another digest.
    """
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    about = json.loads(header.get("__metadata__", {}).get("axon", "{}"))
    if digest is not None and about.get("digest", digest) != digest:
        raise ValueError(f"{path.name} has the tensors of {about.get('model')}, another model: export both files again")
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, end = entry["data_offsets"]
            values = np.frombuffer(data[begin + first : begin + end], dtype="<f4")
            tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return tensors
