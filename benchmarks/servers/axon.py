"""Axon: the same weights as a checkpoint in a store of its own; one API process, one worker, all else as delivered."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.model import LAYER_SIZES, make_model, server_arguments
from models.checkpoint import Checkpoint
from models.config import MLPConfig
from models.schema import ClassTarget, NumericColumn, Schema
from models.store import Store


def publish(name: str, folder: Path) -> None:
    """Writes the model as a checkpoint whose columns need no standardisation."""
    sizes = LAYER_SIZES[name]
    linears = [module for module in make_model(name) if hasattr(module, "weight")]
    tensors = {
        f"layers.{i}.{part}": getattr(linear, part).detach().numpy()
        for i, linear in enumerate(linears)
        for part in ("weight", "bias")
    }
    columns = tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-4.0, maximum=4.0) for i in range(sizes[0]))
    labels = tuple(str(i) for i in range(sizes[-1]))
    Store(folder).publish(
        "mlp",
        Checkpoint(
            config=MLPConfig(layer_sizes=sizes),
            schema=Schema(columns=columns, target=ClassTarget(name="y", labels=labels)),
            tensors=tensors,
        ),
    )


if __name__ == "__main__":
    arguments = server_arguments()
    folder = tempfile.mkdtemp(prefix="axon-bench-store-")  # the benchmark's own temporary folder, which it removes
    publish(arguments.model, Path(folder))
    os.environ |= {"AXON_STORE": folder, "AXON_HOST": "127.0.0.1", "AXON_PORT": str(arguments.port)}
    os.environ |= {"AXON_LOG_LEVEL": "warning", "AXON_DEVICE": "cpu"}
    os.execv(sys.executable, [sys.executable, "-m", "service"])
