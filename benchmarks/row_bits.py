"""The share of matrix products that are not batch-invariant, by memory layout of the rows, as a Markdown table.

    python -m benchmarks.row_bits --shapes 80

Each product is computed for 32 rows alone, and then with the rows at random places of batches of many sizes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch

PROBES = 32
BATCHES = (2, 3, 7, 15, 16, 17, 31, 33, 48, 64, 65, 100, 129, 144, 200, 256, 300, 400, 512, 777, 1000, 1024)
MAX_MULTIPLY_ADDS = 2 * 10**9


@dataclass(frozen=True)
class Layout:
    """The memory layout of the rows: multiples to which their number and each row's width are padded."""

    name: str
    row_multiple: int
    stride_multiple: int


LAYOUTS = (
    Layout("as they come", 1, 1),
    Layout("padded to a multiple of 16 rows", 16, 1),
    Layout("the same, each row on a 64-byte boundary", 16, 16),
)


def product(layout: Layout, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Computes `x Wᵀ + b` for (rows, in) rows: (rows, out)."""
    rows, width = x.shape
    padded = torch.zeros(_up(rows, layout.row_multiple), _up(width, layout.stride_multiple))[:, :width]
    padded[:rows] = x
    return torch.addmm(bias, padded, weight.t())[:rows]


def depends_on_batch(layout: Layout, in_features: int, out_features: int, rng: np.random.Generator) -> bool:
    """Returns True if some probe row's answer has other bits in some batch than alone."""
    weight = torch.from_numpy(rng.normal(size=(out_features, in_features)).astype(np.float32) / in_features**0.5)
    bias = torch.from_numpy(rng.normal(size=out_features).astype(np.float32))
    x = torch.from_numpy(rng.normal(size=(max(BATCHES), in_features)).astype(np.float32))
    probes = x[:PROBES].clone()
    alone = torch.cat([product(layout, probe[None], weight, bias) for probe in probes])
    for rows in BATCHES:
        if rows * in_features * out_features > MAX_MULTIPLY_ADDS:
            break
        batch, places = x[:rows].clone(), rng.permutation(rows)[:PROBES]
        batch[places] = probes[: len(places)]
        if not torch.equal(product(layout, batch, weight, bias)[places], alone[: len(places)]):
            return True
    return False


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shapes", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    wide = [(int(2 ** rng.uniform(0, 11)), int(2 ** rng.uniform(0, 11))) for _ in range(arguments.shapes // 2)]
    narrow = [(int(rng.integers(1, 500)), int(rng.integers(1, 25))) for _ in range(arguments.shapes - len(wide))]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"\n| rows | 1 thread: wide (of {len(wide)}) | narrow (of {len(narrow)}) | 2 threads: wide | narrow |")
    print("|---|--:|--:|--:|--:|")
    for layout in LAYOUTS:
        counts: list[int] = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            counts += [sum(depends_on_batch(layout, *shape, rng) for shape in shapes) for shapes in (wide, narrow)]
        print(f"| {layout.name} | {' | '.join(map(str, counts))} |", flush=True)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


if __name__ == "__main__":
    main()
