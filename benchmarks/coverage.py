"""The coverage of intervals and sets: the share of unseen rows whose true value or class is covered.

    python -m benchmarks.coverage                  # the linear engine, 100 splits of each table, about a minute
    python -m benchmarks.coverage --engine torch --splits 20

Five tables of scikit-learn, with fewer columns where the model would otherwise be right more often than the level asks.
For each split, a quarter of the rows is put aside before `axon.fit` sees the table, and the coverage is counted on it.
The table shows the mean over the splits and the standard error of the mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

import axon

LEVELS = (0.8, 0.9)
SPLIT = (0.5, 0.2, 0.3)  # the tables are small, and the test part has to calibrate


@dataclass(frozen=True)
class RealTable:
    """A table whose target a model cannot predict with certainty.

    Attributes:
        name: name in the report.
        target: column to predict.
        load: function that returns the table, with classes as texts.
    """

    name: str
    target: str
    load: Callable[[], pd.DataFrame]

    @property
    def has_classes(self) -> bool:
        """True if the target is a class."""
        return self.target == "target" and self.name != "diabetes"


@dataclass(frozen=True)
class Coverage:
    """The coverage of one model on rows that its run never saw.

    Attributes:
        share: share of rows whose truth is in the interval or the set.
        size: mean width of the intervals in standard deviations of the target, or mean number of labels of a set.
        calibration_rows: number of calibration rows of the model.
        accuracy: share of rows whose class is predicted correctly; NaN for values.
    """

    share: float
    size: float
    calibration_rows: int
    accuracy: float


def _frame(loader: str, columns: list[str] | None = None, *, classes: bool = True) -> pd.DataFrame:
    options: dict[str, Any] = {"scaled": False} if loader == "load_diabetes" else {}
    frame: pd.DataFrame = getattr(datasets, loader)(as_frame=True, **options).frame
    if columns is not None:
        frame = frame[[*columns, "target"]]
    return frame.assign(target=frame["target"].map("class {}".format)) if classes else frame


TABLES = (
    RealTable("diabetes", "target", lambda: _frame("load_diabetes", classes=False)),
    RealTable("wine", "alcohol", lambda: _frame("load_wine", classes=False)),
    RealTable("iris", "target", lambda: _frame("load_iris", ["sepal length (cm)", "sepal width (cm)"])),
    RealTable(
        "breast cancer",
        "target",
        lambda: _frame("load_breast_cancer", ["mean texture", "mean smoothness", "mean symmetry"]),
    ),
    RealTable("digits", "target", lambda: _frame("load_digits", [f"pixel_{i}_3" for i in range(8)])),
)


def coverages(table: RealTable, seed: int, levels: tuple[float, ...] = LEVELS, **settings: Any) -> Iterator[Coverage]:
    """Trains a model on three quarters of a table, and yields the coverage of each level on the other rows.

    Args:
        table: table of the model.
        seed: seed of the split and of the training.
        levels: levels of the intervals or sets.
        settings: further settings of `axon.fit`.
    """
    frame = table.load()
    known, others = train_test_split(frame, test_size=0.25, random_state=seed)
    model = axon.fit(known, target=table.target, name="table", seed=seed, split=SPLIT, threads=1, **settings)
    truth, rows = others[table.target].to_numpy(), others.drop(columns=table.target)
    support = model.checkpoint.conformal
    for level in levels:
        found = model.predict(rows, intervals=level)
        if found.intervals is not None:
            low, high = found.intervals.T
            share, size = ((low <= truth) & (truth <= high)).mean(), (high - low).mean() / frame[table.target].std()
            accuracy = np.nan
        else:
            sets = found.sets or []
            share = np.mean([label in labels for label, labels in zip(truth, sets, strict=True)])
            size, accuracy = np.mean([len(labels) for labels in sets]), np.mean(np.array(found.predictions) == truth)
        yield Coverage(float(share), float(size), 0 if support is None else support.rows, float(accuracy))


def main() -> None:
    """Prints the coverage of each table and level."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--engine", choices=("linear", "numpy", "torch"), default="linear")
    parser.add_argument("--splits", type=int, default=100, metavar="N", help="splits of each table (%(default)s)")
    arguments = parser.parse_args()
    print("| table | target | calibration rows | asked | covered | size | accuracy |\n|---|---|--:|--:|--:|--:|--:|")
    for table in TABLES:
        runs = [list(coverages(table, seed, engine=arguments.engine)) for seed in range(arguments.splits)]
        for level, of_level in zip(LEVELS, zip(*runs, strict=True), strict=True):
            shares = np.array([run.share for run in of_level])
            error = shares.std(ddof=1) / np.sqrt(len(shares))
            size = f"{np.mean([run.size for run in of_level]):.2f} {'labels' if table.has_classes else 'σ'}"
            accuracy = np.mean([run.accuracy for run in of_level])
            rows = f"{np.mean([run.calibration_rows for run in of_level]):.0f}"
            covered = f"{100 * shares.mean():.1f} ± {100 * error:.1f} %"
            right = f"{100 * accuracy:.0f} %" if table.has_classes else ""
            kind = "class" if table.has_classes else table.target
            print(f"| {table.name} | {kind} | {rows} | {level:.0%} | {covered} | {size} | {right} |", flush=True)


if __name__ == "__main__":
    main()
