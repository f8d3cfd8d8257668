"""NumPy's and torch's time for the functions of `training/engines/network/host_calls.py`, on one thread.

python -m benchmarks.training.host_calls
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

_CALLS = 200
_ROUNDS = 7


def main() -> None:
    """Prints a line for each function: 256 × 256 numbers, and products as in 100 periodic embeddings."""
    torch.set_num_threads(1)
    x = torch.randn(256, 256)
    out = torch.empty_like(x)
    a, b = torch.randn(100, 256, 16), torch.randn(100, 16, 3)
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        name: (
            partial(getattr(np, name), x.numpy(), out=out.numpy()),
            partial(getattr(torch, name), x, out=out),
        )
        for name in ("exp", "expm1", "sin", "cos", "tanh")
    }
    calls["100 products"] = partial(np.matmul, a.numpy(), b.numpy()), partial(torch.bmm, a, b)
    with threadpool_limits(limits=1), torch.inference_mode():
        for name, (by_numpy, by_torch) in calls.items():
            print(f"{name:<14} NumPy {_microseconds(by_numpy):7.1f} µs   torch {_microseconds(by_torch):7.1f} µs")


def _microseconds(call: Callable[[], object]) -> float:
    """Returns the least CPU time of a call over some rounds."""
    times = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        for _ in range(_CALLS):
            call()
        times.append(time.process_time() - begun)
    return min(times) / _CALLS * 1e6


if __name__ == "__main__":
    main()
