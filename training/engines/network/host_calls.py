"""Functions that NumPy computes in a third to two thirds of torch's time on one CPU thread.

These are exponentials, cosines and batches of small matrix products. On several threads torch divides the work, and on
other devices only torch computes. `python -m benchmarks.training.host_calls` measures both libraries.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Without AVX-512, NumPy computes expm1 value by value.
_HAS_FAST_EXPM1 = any(
    not kernel["current"].startswith("baseline")
    for kernel in np.lib.introspect.opt_func_info(func_name="^expm1$")["expm1"].values()
)


def _is_for_numpy(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.get_num_threads() == 1


def exp_(x: Tensor) -> Tensor:
    """Computes eˣ in place."""
    if not _is_for_numpy(x):
        return x.exp_()
    np.exp(values := x.numpy(), out=values)
    return x


def expm1_(x: Tensor) -> Tensor:
    """Computes eˣ - 1 in place."""
    if not (_HAS_FAST_EXPM1 and _is_for_numpy(x)):
        return x.expm1_()
    np.expm1(values := x.numpy(), out=values)
    return x


def sin_(x: Tensor) -> Tensor:
    """Computes sin x in place."""
    if not _is_for_numpy(x):
        return x.sin_()
    np.sin(values := x.numpy(), out=values)
    return x


def cos(x: Tensor, out: Tensor) -> Tensor:
    """Computes cos x."""
    if not _is_for_numpy(x):
        return torch.cos(x, out=out)
    np.cos(x.numpy(), out=out.numpy())
    return out


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """Computes tanh x."""
    if not _is_for_numpy(x):
        return torch.tanh(x, out=out)
    np.tanh(x.numpy(), out=out.numpy())
    return out


def small_products(a: Tensor, b: Tensor) -> Tensor:
    """Computes a batch of small matrix products: (n, i, j), (n, j, k) → (n, i, k)."""
    if not _is_for_numpy(a):
        return torch.bmm(a, b)
    return torch.from_numpy(np.matmul(a.numpy(), b.numpy()))
