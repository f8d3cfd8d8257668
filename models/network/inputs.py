"""The input stage of a network, as data: clip, embed, look up and scale an encoded row before the first Linear.

An encoded row (`models.columns.encoding`) has three kinds of features: standardised numbers; flags, which pass
unchanged; and indices of categories, which are looked up. They become one row of `width` features, in this order:

    numbers, clipped | for each number its periodic embedding | flags | for each index its embedding

Sources: the smooth clip and the learned scale are RealMLP's (Holzmüller et al. 2024, Better by default). The periodic
embedding is Gorishniy et al.'s (2022, On embeddings for numerical features) in RealMLP's form, PBLD, which keeps the
number beside `Wcos(2πfx + φ) + b`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from models.errors import ConfigError

MAX_CATEGORIES = 10_000_000
MAX_SIZE = 10_000
# A standardised number is clamped to ±FAR: beyond that, the square of the clip or the angle of a wave would overflow.
FAR = 1e15


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """The input stage between an encoded row and the first Linear.

    Attributes:
        numbers: positions of the numbers in the encoded row.
        flags: positions of the flags in the encoded row.
        indices: positions of the indices in the encoded row.
        categories: number of categories of each index; an index of 0 means no category, i + 1 means category i.
        clip: bound of the smooth clip x/√(1 + (x/clip)²) on numbers; None for no clip.
        frequencies: number of frequencies in a number's periodic embedding; 0 for no embedding.
        periodic_size: number of features of a number's periodic embedding.
        embedding_size: number of features of an index's embedding.
        scale: True to give each feature a learned scale.

    Raises:
        ConfigError: A field has a value that cannot be built; the message names the field.
    """

    numbers: tuple[int, ...]
    flags: tuple[int, ...] = ()
    indices: tuple[int, ...] = ()
    categories: tuple[int, ...] = ()
    clip: float | None = None
    frequencies: int = 0
    periodic_size: int = 3
    embedding_size: int = 8
    scale: bool = False

    def __post_init__(self) -> None:
        for name in ("numbers", "flags", "indices", "categories"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or not all(_is_whole(value) for value in values):
                raise ConfigError(f"inputs: {name} must be whole numbers, got {values!r:.200}.")
            object.__setattr__(self, name, tuple(values))
        positions = (*self.numbers, *self.flags, *self.indices)
        if sorted(positions) != list(range(len(positions))) or not positions:
            raise ConfigError("inputs: numbers, flags and indices must be the positions of a row, each once.")
        if len(self.categories) != len(self.indices):
            raise ConfigError(f"inputs: {len(self.indices)} indices need as many categories, got {self.categories!r}.")
        if any(not 1 <= count <= MAX_CATEGORIES for count in self.categories):
            raise ConfigError(f"inputs: categories must be 1 to {MAX_CATEGORIES:,}, got {self.categories!r:.200}.")
        for name in ("frequencies", "periodic_size", "embedding_size"):
            value = getattr(self, name)
            if not _is_whole(value) or not (0 if name == "frequencies" else 1) <= value <= MAX_SIZE:
                raise ConfigError(f"inputs: {name} must be a whole number up to {MAX_SIZE:,}, got {value!r}.")
        if self.clip is not None:
            if isinstance(self.clip, bool) or not isinstance(self.clip, int | float) or not 0 < self.clip < 1e30:
                raise ConfigError(f"inputs: clip must be above 0, got {self.clip!r}.")
            object.__setattr__(self, "clip", float(self.clip))
        if not isinstance(self.scale, bool):
            raise ConfigError(f"inputs: scale must be true or false, got {self.scale!r}.")

    @property
    def row_width(self) -> int:
        """Number of features of an encoded row."""
        return len(self.numbers) + len(self.flags) + len(self.indices)

    @property
    def periodic_width(self) -> int:
        """Number of features of all periodic embeddings together."""
        return len(self.numbers) * self.periodic_size if self.frequencies else 0

    @property
    def width(self) -> int:
        """Number of input features of the first Linear."""
        return len(self.numbers) + self.periodic_width + len(self.flags) + len(self.indices) * self.embedding_size

    @property
    def table_rows(self) -> int:
        """Rows of the embedding table: one per category, and one of zeros per index for a cell without category."""
        return sum(self.categories) + len(self.categories)

    def table_offsets(self) -> tuple[int, ...]:
        """Returns the first table row of each index, which is the row of zeros."""
        offsets, at = [], 0
        for count in self.categories:
            offsets.append(at)
            at += count + 1
        return tuple(offsets)

    def parts(self) -> Iterator[tuple[str, str, int, int, dict[str, tuple[int, ...]]]]:
        """Yields name, type, width in, width out and parameters' shapes of each part, in the order of the pass."""
        n = len(self.numbers)
        if self.clip is not None and n:
            yield "inputs.clip", "SmoothClip", n, n, {}
        if self.frequencies and n:
            yield (
                "inputs.periodic",
                "PeriodicEmbedding",
                n,
                self.periodic_width,
                {
                    "frequency": (n, self.frequencies),
                    "phase": (n, self.frequencies),
                    "weight": (n, self.periodic_size, self.frequencies),
                    "bias": (n, self.periodic_size),
                },
            )
        if self.indices:
            size = self.embedding_size
            shapes: dict[str, tuple[int, ...]] = {"weight": (self.table_rows, size)}
            yield "inputs.embedding", "Embedding", len(self.indices), len(self.indices) * size, shapes
        if self.scale:
            yield "inputs.scale", "Scale", self.width, self.width, {"weight": (self.width,)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON types, for `from_dict`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, raw: object) -> InputConfig:
        """Builds a config from the result of `to_dict`.

        Raises:
            ConfigError: A field is unknown or missing, or has a value that cannot be built.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(raw, Mapping) or "numbers" not in raw:
            raise ConfigError("inputs must be an object with numbers.")
        if unknown := sorted(set(raw) - known):
            raise ConfigError(f"inputs: unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}.")
        return cls(**cast(dict[str, Any], raw))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
