"""Counts and amounts of real tables, learned by their deviance and by squared error, beside boosted trees.

    python -m benchmarks.deviances [--seeds 0 1] [--tables bikeshare abalone]

Prints the mean deviance, the RMSE and the CPU seconds of `fit` on the test parts of the same splits. The tables come
with packages of the environment of `make bench-accuracy`. Answers below half a unit count as half a unit, since a
deviance needs answers above 0, and squared error gives others too. Trees learn from training and validation part.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.accuracy.datasets import DATASETS, Dataset
from training.data.split import Split
from training.fit import fit
from training.metrics import DEVIANCES

TABLES = {"bikeshare": "poisson", "abalone": "poisson", "wage": "gamma"}
_LEAST = 0.5


def main() -> None:
    """Trains and evaluates all models, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    print(f"{'table':10} {'model':26} {'deviance':>9} {'RMSE':>9} {'CPU s':>7}")
    for name in arguments.tables:
        dataset = DATASETS[name]
        found: dict[str, list[tuple[float, float, float]]] = {}
        for seed in arguments.seeds:
            for model, figures in _figures(dataset, TABLES[name], seed).items():
                found.setdefault(model, []).append(figures)
        for model, rows in found.items():
            deviance, rmse, seconds = np.mean(rows, axis=0)
            print(f"{name:10} {model:26} {deviance:9.4f} {rmse:9.4f} {seconds:7.1f}", flush=True)


def _figures(dataset: Dataset, metric: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """Returns deviance, RMSE and CPU seconds by model, on one split."""
    frame = dataset.load()
    truth = frame[dataset.target].to_numpy(dtype=np.float64)
    features = frame.drop(columns=dataset.target)
    found: dict[str, tuple[float, float, float]] = {}
    split: Split | None = None

    def add(name: str, answers: Any, begin: float, test: NDArray[np.int64]) -> None:
        values = np.asarray(answers, dtype=np.float64)
        deviance = DEVIANCES[f"{metric}_deviance"](np.maximum(values, _LEAST), truth[test]).mean()
        rmse = float(np.sqrt(np.square(values - truth[test]).mean()))
        found[name] = (float(deviance), rmse, time.process_time() - begin)

    for aim in (None, metric):
        begin = time.process_time()
        model = fit(frame, target=dataset.target, task="regression", threads=1, seed=seed, metric=aim)
        split = model.split
        add(f"axon, {aim or 'squared error'}", model.predict(features.iloc[split.test]), begin, split.test)
    assert split is not None
    names = [str(name) for name in features if not pd.api.types.is_numeric_dtype(features[str(name)])]
    features[names] = features[names].astype("category")
    learned = np.concatenate((split.train, split.validation))
    for loss in ("squared_error", metric):
        begin = time.process_time()
        trees = HistGradientBoostingRegressor(
            loss=loss, categorical_features="from_dtype", random_state=seed, early_stopping=False
        )
        trees.fit(features.iloc[learned], truth[learned])
        add(f"boosted trees, {loss}", trees.predict(features.iloc[split.test]), begin, split.test)
    return found


if __name__ == "__main__":
    main()
