"""The model that every server serves: a ReLU MLP whose weights come from a seed, and rows for requests."""

from __future__ import annotations

import argparse
import itertools

import torch
from torch import nn

LAYER_SIZES = {
    "tab": (30, 128, 64, 2),
    "mnist": (784, 512, 256, 10),
    "table": (42, 128, 64, 2),
    "wide": (1024, 4096, 4096, 100),
}


def make_model(name: str) -> nn.Sequential:
    """Returns the network in evaluation mode: logits for (rows, in_features)."""
    torch.manual_seed(0)
    sizes = LAYER_SIZES[name]
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def make_rows(name: str, rows: int) -> list[list[float]]:
    """Makes rows of standard normal numbers with four decimals."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, LAYER_SIZES[name][0], generator=generator, dtype=torch.float64)
    return [[round(value, 4) for value in row] for row in x.tolist()]


def server_arguments() -> argparse.Namespace:
    """Parses the arguments that each server is started with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", choices=LAYER_SIZES, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args()
