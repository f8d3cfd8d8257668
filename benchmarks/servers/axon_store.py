"""Axon's store for a run: the benchmark's weights as a checkpoint whose columns need no standardisation.

The code of the working folder writes the store, since that tree will serve it.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":  # run as a file, for a server of another tree
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.model import LAYER_SIZES, make_model
from benchmarks.table_model import TABLE, make_checkpoint

if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    if not Path("models/network").is_dir():  # a tree from before `models` had rooms
        for room, name in (("columns", "schema"), ("network", "config"), ("network", "inputs")):
            sys.modules[f"models.{room}.{name}"] = import_module(f"models.{name}")

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.errors import DataError
from models.network.config import MLPConfig
from models.store import Store


def publish(name: str, folder: Path) -> None:
    """Publishes the model `name` (of `benchmarks.model`) as `mlp` in the store `folder`."""
    if name == TABLE:
        Store(folder).publish("mlp", make_checkpoint())
        return
    sizes = LAYER_SIZES[name]
    linears = [module for module in make_model(name) if hasattr(module, "weight")]
    tensors = {
        f"layers.{i}.{part}": getattr(linear, part).detach().numpy()
        for i, linear in enumerate(linears)
        for part in ("weight", "bias")
    }
    columns = tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-4.0, maximum=4.0) for i in range(sizes[0]))
    labels = tuple(range(sizes[-1]))  # the other servers answer with the index of a class
    try:
        target = ClassTarget(name="y", labels=labels)
    except DataError:  # a tree that is older than typed labels
        target = ClassTarget(name="y", labels=tuple(map(str, labels)))  # type: ignore[arg-type]
    Store(folder).publish(
        "mlp",
        Checkpoint(
            config=MLPConfig(layer_sizes=sizes),
            schema=Schema(columns=columns, target=target),
            tensors=tensors,
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=LAYER_SIZES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    publish(arguments.model, arguments.folder)
