"""The built-in datasets: tables without a file, each with settings with which an MLP learns well.

The measured datasets are part of scikit-learn; this module makes the others. Nothing is downloaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from models.errors import DataError
from training.data.table import Table
from training.data.training_table import ColumnChoices
from training.recipes import Engine

PARITY_BITS = 4
_CLUSTER_ROWS = 150  # per cluster
_CLUSTER_CENTRES = {"left": (-2.0, 0.0), "right": (2.0, 0.0), "top": (0.0, 3.0)}

# Settings for datasets without their own: small networks that learn well and that a person can inspect. They do not
# apply to the default recipe.
_SMALL: Mapping[str, Any] = {"recipe": "classic", "normalization": "none", "dropout": 0.0, "scaling": "standard"}
_SMALL_TORCH: Mapping[str, Any] = {"optimizer": "adamw", "learning_rate": 0.003, "weight_decay": 0.01}

# Settings for truth tables: training on all rows, without an early stop.
_TRUTH_TABLE: Mapping[str, Any] = {
    "split": None,
    "hidden_sizes": (16,),
    "activation": "tanh",
    "initialization": "xavier",
    "epochs": 300,
    "patience": None,
}
_TRUTH_TABLE_TORCH: Mapping[str, Any] = {"learning_rate": 0.03, "weight_decay": 0.0}
_TRUTH_TABLE_NUMPY: Mapping[str, Any] = {"learning_rate": 0.2, "epochs": 1000}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A built-in dataset.

    Attributes:
        name: name for `fit`.
        about: description on one line.
        target: column to predict.
        load: function that makes the table.
        settings: fields of `TrainConfig` for an MLP of the torch and the numpy engine.
        engine_settings: fields of `TrainConfig` for one engine only, by engine.
        choices: decisions about the columns.
    """

    name: str
    about: str
    target: str
    load: Callable[[], Table]
    settings: Mapping[str, Any] = field(default_factory=dict)
    engine_settings: Mapping[Engine, Mapping[str, Any]] = field(default_factory=dict)
    choices: ColumnChoices = field(default_factory=ColumnChoices)

    def settings_for(self, engine: Engine) -> dict[str, Any]:
        """Returns the settings for an engine by field of `TrainConfig`; only the split for perceptron and linear."""
        own = self.engine_settings.get(engine, {})
        match engine:
            case "torch":
                return {**_SMALL, **_SMALL_TORCH, **self.settings, **own}
            case "numpy":
                return {**_SMALL, **self.settings, **own}
            case _:
                return {name: value for name, value in self.settings.items() if name == "split"} | {**own}


def dataset(name: str) -> Dataset:
    """Returns a built-in dataset by name.

    Raises:
        DataError: no built-in dataset has that name.
    """
    if name not in DATASETS:
        raise DataError(f"{name!r} is not a built-in dataset; there are {', '.join(DATASETS)}.")
    return DATASETS[name]


def _truth_table(name: str, bits: int, truth: Callable[..., bool]) -> Table:
    """Makes a table of all rows of `bits` truth values as numbers 0 and 1, with the result of `truth`."""
    rows = list(itertools.product((0, 1), repeat=bits))
    columns = {f"x{i + 1}": pa.array([row[i] for row in rows]) for i in range(bits)}
    columns["y"] = pa.array([int(truth(*row)) for row in rows])
    return Table(source=name, columns=columns)


def _clusters() -> Table:
    """Makes three round clusters in the plane that touch each other a little."""
    rng = np.random.default_rng(0)
    points = [rng.normal(centre, 0.6, (_CLUSTER_ROWS, 2)) for centre in _CLUSTER_CENTRES.values()]
    x1, x2 = np.concatenate(points).round(3).T  # three decimals: easy to copy
    labels = np.repeat(list(_CLUSTER_CENTRES), _CLUSTER_ROWS)
    return Table(source="clusters", columns={"x1": pa.array(x1), "x2": pa.array(x2), "cluster": pa.array(labels)})


def _measured(name: str, target: str, *, label: Callable[[str], str | int] | None) -> Table:
    """Loads a dataset of scikit-learn with column names in snake_case without units; `label` is None for values."""
    # Imported here: the import takes a second, and a user's own table does not need it.
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    columns = {
        _column_name(str(column)): pa.array(np.asarray(values, dtype=np.float64))
        for column, values in zip(bunch.feature_names, bunch.data.T, strict=True)
    }
    values = bunch.target if label is None else [label(str(bunch.target_names[i])) for i in bunch.target]
    return Table(source=name, columns={**columns, target: pa.array(values)})


def _column_name(name: str) -> str:
    """Returns a name in snake_case: `sepal length (cm)` → `sepal_length`, `od280/od315_of …` → `od280_od315_of …`."""
    return name.partition(" (")[0].strip().replace(" ", "_").replace("/", "_").lower()


DATASETS: Mapping[str, Dataset] = {
    entry.name: entry
    for entry in (
        Dataset(
            name="xor",
            about="exclusive or: the truth table that no perceptron learns",
            target="y",
            load=lambda: _truth_table("xor", 2, lambda a, b: a != b),
            settings=_TRUTH_TABLE,
            engine_settings={"torch": _TRUTH_TABLE_TORCH, "numpy": _TRUTH_TABLE_NUMPY},
        ),
        Dataset(
            name="and",
            about="logical and",
            target="y",
            load=lambda: _truth_table("and", 2, lambda a, b: a and b),
            settings=_TRUTH_TABLE,
            engine_settings={"torch": _TRUTH_TABLE_TORCH, "numpy": _TRUTH_TABLE_NUMPY},
        ),
        Dataset(
            name="or",
            about="logical or",
            target="y",
            load=lambda: _truth_table("or", 2, lambda a, b: a or b),
            settings=_TRUTH_TABLE,
            engine_settings={"torch": _TRUTH_TABLE_TORCH, "numpy": _TRUTH_TABLE_NUMPY},
        ),
        Dataset(
            name="parity",
            about=f"whether {PARITY_BITS} bits hold an odd number of ones",
            target="y",
            load=lambda: _truth_table("parity", PARITY_BITS, lambda *bits: sum(bits) % 2 == 1),
            settings={**_TRUTH_TABLE, "hidden_sizes": (32,)},
            engine_settings={"torch": _TRUTH_TABLE_TORCH, "numpy": {**_TRUTH_TABLE_NUMPY, "epochs": 2000}},
        ),
        Dataset(
            name="clusters",
            about="three clouds of points in the plane",
            target="cluster",
            load=_clusters,
            settings={"hidden_sizes": (32, 32), "epochs": 60, "batch_size": 32},
            engine_settings={"torch": {"learning_rate": 0.01}},
        ),
        Dataset(
            name="iris",
            about="three species of iris by the size of sepals and petals",
            target="species",
            load=lambda: _measured("iris", "species", label=str),
            settings={"hidden_sizes": (16,), "epochs": 120, "batch_size": 16},
            engine_settings={"torch": {"learning_rate": 0.005, "weight_decay": 0.1}},
        ),
        Dataset(
            name="wine",
            about="three cultivars by the chemistry of their wine",
            target="cultivar",
            load=lambda: _measured("wine", "cultivar", label=str),
            settings={"hidden_sizes": (32, 32), "epochs": 80, "batch_size": 16},
        ),
        Dataset(
            name="breast_cancer",
            about="malignant or benign by the shape of cell nuclei",
            target="diagnosis",
            load=lambda: _measured("breast_cancer", "diagnosis", label=str),
            settings={"hidden_sizes": (32, 32), "epochs": 60, "batch_size": 32},
        ),
        Dataset(
            name="digits",
            about="handwritten digits, 8 by 8 pixels",
            target="digit",
            load=lambda: _measured("digits", "digit", label=int),
            settings={"hidden_sizes": (128, 64), "epochs": 60, "batch_size": 64},
            engine_settings={"torch": {"dropout": 0.2}},
            choices=ColumnChoices(keep_constant=True),  # the corners are 0 in all rows
        ),
        Dataset(
            name="diabetes",
            about="the progression of diabetes after a year, a regression",
            target="progression",
            load=lambda: _measured("diabetes", "progression", label=None),
            settings={"hidden_sizes": (64,), "epochs": 100, "batch_size": 32},
            # Half of the variance is noise: over eight splits, the mean test R² was 0.46, and 0.41 of ridge regression.
            engine_settings={"torch": {"dropout": 0.4, "weight_decay": 0.1}},
        ),
    )
}

# Datasets of the command `demo`, one of each kind: it fills a new store with their models.
DEMO = ("iris", "digits", "diabetes", "xor", "clusters")
# Models without hidden layers beside two of them, which show over the plane what hidden layers are for.
BESIDE: Mapping[str, Engine] = {"xor": "perceptron", "clusters": "linear"}
