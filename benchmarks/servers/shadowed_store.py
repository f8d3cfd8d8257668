"""A store for `benchmarks.shadow`: the benchmark's model twice, alone, with a shadow of its size, and split."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.servers.axon_store import publish
from models.store import Store

if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    for _ in range(2):
        publish(name, folder)
    store = Store(folder)
    for alias in ("plain", "shadowed"):
        store.set_alias("mlp", alias, 1)
    store.set_shadow("mlp", "shadowed", 2)
    store.split("mlp", "split", {1: 90, 2: 10})
