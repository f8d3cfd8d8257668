"""Models and studies for tests of the views that try, draw, watch and explain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from browsing import HOSTILE, HOSTILE_MODEL, hostile_table
from serving import CHECKPOINTS

import axon
from models.store import Store
from training.cli import main
from training.fit import fit

MIXED = "mixed"  # dates, names, numbers with gaps
RISE = "rise"  # a regression of two numbers


def mixed_table() -> pd.DataFrame:
    """Returns a table with dates, names, and numbers with gaps."""
    rng = np.random.default_rng(3)
    rows = 300
    days = rng.integers(0, 700, rows)
    size = rng.normal(10, 3, rows).round(2)
    colour = rng.choice(["red", "green", "a, \"b\" & 'c'"], rows)
    late = days + 40 * size + 100 * (colour == "red") > 750
    return pd.DataFrame(
        {
            "when": (np.datetime64("2024-01-01") + days).astype(str),
            "colour": colour,
            "size": np.where(rng.random(rows) < 0.1, np.nan, size),
            "late": np.where(late, "yes", "no"),
        }
    )


def train_viewed_models(store: Store) -> None:
    """Publishes models of planes and of mixed columns, with a perceptron and a linear model beside."""
    for name in ("iris", "xor", "clusters"):
        fit(name, threads=1).publish(store)
    fit("xor", engine="perceptron").publish(store, "xor-perceptron")
    fit("clusters", engine="linear").publish(store, "clusters-linear")
    rng = np.random.default_rng(1)
    plane = pd.DataFrame(rng.normal(size=(200, 2)).round(3), columns=["x1", "x2"])
    rise = plane.assign(y=plane.x1 + 2 * plane.x2)
    small = {"recipe": "classic", "hidden_sizes": (5,), "epochs": 5, "progress": False}
    axon.fit(rise, target="y", name=RISE, **small).publish(store)
    axon.fit(mixed_table(), target="late", name=MIXED, epochs=8, progress=False).publish(store)
    axon.fit(hostile_table(), target=HOSTILE[3], name=HOSTILE_MODEL, epochs=5, progress=False).publish(store)
    store.publish("plain", CHECKPOINTS["price"])  # without distributions


def publish_studies(store: Store, folder: Path) -> None:
    """Runs two studies, and publishes the results beside the models.

    Args:
        store: store of the models.
        folder: folder for the plots.
    """
    for name in ("xor", "neuron"):
        plot = str(folder / f"{name}.svg")
        assert main(["study", name, "--quick", "--plot", plot, "--publish", "--store", str(store.root)]) in (0, None)
