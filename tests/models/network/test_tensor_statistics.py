"""Statistics of tensors against NumPy over the whole tensor in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.network.tensor_statistics import BINS, tensor_statistics

SHAPES = [(1,), (3, 4), (2, 5, 7), (1 << 15,), ((1 << 15) + 1,), (3, 40_000)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 3e37])
def test_the_pieces_add_up_to_the_whole_tensor(shape: tuple[int, ...], scale: float) -> None:
    tensor = (np.random.default_rng(0).normal(size=shape) * scale).astype(np.float32)
    tensor.reshape(-1)[:: max(2, tensor.size // 5)] = 0
    found = tensor_statistics(tensor)
    whole = tensor.astype(np.float64).reshape(-1)
    assert found.mean == pytest.approx(whole.mean(), rel=1e-12, abs=1e-12 * scale)
    assert found.std == pytest.approx(whole.std(), rel=1e-12)
    assert (found.minimum, found.maximum) == (whole.min(), whole.max())
    assert found.zeros == int((whole == 0).sum())
    if whole.min() < whole.max():
        counts, edges = np.histogram(whole, BINS)
        assert found.counts == tuple(counts)
        assert found.edges == tuple(edges)


def test_torch_says_the_same() -> None:
    tensor = torch.randn(300, 200, generator=torch.Generator().manual_seed(1))
    found = tensor_statistics(tensor.numpy())
    exact = tensor.to(torch.float64)
    assert found.mean == pytest.approx(exact.mean().item(), rel=1e-12)
    assert found.std == pytest.approx(exact.std(correction=0).item(), rel=1e-12)
    counts = torch.histc(exact, BINS, found.minimum, found.maximum)
    assert sum(found.counts) == tensor.numel()
    assert max(abs(a - b) for a, b in zip(found.counts, counts.tolist(), strict=True)) <= 1  # a value on an edge


def test_equal_values_are_one_bin() -> None:
    found = tensor_statistics(np.full((5, 6), 0.25, dtype=np.float32))
    assert (found.mean, found.std, found.minimum, found.maximum, found.zeros) == (0.25, 0.0, 0.25, 0.25, 0)
    assert (found.edges, found.counts) == ((0.25, 0.25), (30,))
