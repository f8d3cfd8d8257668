"""The statistics of a tensor: mean, spread, range and a histogram, computed in pieces.

Each operation takes a small piece, so a thread that computes the statistics of a large network holds the interpreter's
lock for less than a millisecond at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 24
_PIECE = 1 << 15  # values in one operation, about 0.1 ms


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorStatistics:
    """The statistics of all values of a tensor.

    Attributes:
        mean, std: mean and standard deviation (of the whole population, divisor n).
        minimum, maximum: smallest and greatest value.
        zeros: number of values that are exactly 0.
        edges: bounds of the histogram's bins, `(BINS + 1,)` ascending; the one value twice if all values are equal.
        counts: number of values in each bin, `(len(edges) - 1,)`; the last bin contains its upper bound.
    """

    mean: float
    std: float
    minimum: float
    maximum: float
    zeros: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def tensor_statistics(tensor: NDArray[np.floating[Any]]) -> TensorStatistics:
    """Computes the statistics of a tensor in float64.

    Args:
        tensor: finite values, one or more, in any shape.
    """
    values = tensor.reshape(-1)
    count = values.size
    mean = math.fsum(float(piece.sum()) for piece in _pieces(values)) / count
    minimum = min(float(piece.min()) for piece in _pieces(values))
    maximum = max(float(piece.max()) for piece in _pieces(values))
    variance = math.fsum(float(np.square(piece - mean).sum()) for piece in _pieces(values)) / count
    zeros = sum(piece.size - int(np.count_nonzero(piece)) for piece in _pieces(values))
    edges: tuple[float, ...] = (minimum, maximum)
    counts: tuple[int, ...] = (count,)
    if minimum < maximum:
        bounds = np.linspace(minimum, maximum, BINS + 1)  # the edges that np.histogram uses
        sums = sum(np.histogram(piece, BINS, (minimum, maximum))[0] for piece in _pieces(values))
        edges, counts = tuple(bounds.tolist()), tuple(np.asarray(sums).tolist())
    return TensorStatistics(
        mean=mean,
        std=math.sqrt(variance),
        minimum=minimum,
        maximum=maximum,
        zeros=zeros,
        edges=edges,
        counts=counts,
    )


def _pieces(values: NDArray[np.floating[Any]]) -> Iterator[NDArray[np.float64]]:
    """Yields the values piece by piece, as float64."""
    return (values[at : at + _PIECE].astype(np.float64) for at in range(0, values.size, _PIECE))
