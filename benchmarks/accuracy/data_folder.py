"""The benchmark's cache folder, with extracted data sets and their fingerprints.

Run as a module in the environment of the data sets, this file extracts the data sets that the arguments name. Each
becomes a Parquet file of strings and 64-bit floats, and a small JSON file with its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy.datasets import Dataset
from benchmarks.accuracy.more_datasets import ALL_DATASETS


def cache_folder() -> Path:
    """Returns `AXON_BENCH_CACHE`, or `axon-bench/accuracy` in the user's cache folder."""
    given = os.environ.get("AXON_BENCH_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "axon-bench", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """One data set in the cache.

    Attributes:
        path: path of the Parquet file.
        fingerprint: SHA-256 of the column names, kinds and values.
        rows: number of rows of the whole table.
        numeric, categorical: names of the feature columns of each kind.
    """

    path: Path
    fingerprint: str
    rows: int
    numeric: int
    categorical: int


def extracted(name: str) -> Extracted | None:
    """Returns a data set of the cache, or None if the cache has no data set of this name."""
    path = cache_folder() / "data" / f"{name}.parquet"
    described = path.with_suffix(".json")
    return Extracted(path=path, **json.loads(described.read_text())) if described.exists() else None


def typed(frame: pd.DataFrame, *, target: str, is_classes: bool) -> pd.DataFrame:
    """Returns the table with each column as strings with None or as float64 with NaN, the target last.

    Args:
        frame: the table.
        target: name of the target column.
        is_classes: True if the target holds classes, which become strings.
    """
    columns = {}
    for name in [*(str(c) for c in frame.columns if c != target), target]:
        column = frame[name]
        if (is_classes and name == target) or not pd.api.types.is_numeric_dtype(column):
            columns[name] = column.astype(str).astype(object).where(column.notna(), None)
        else:
            columns[name] = pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return pd.DataFrame(columns)


def fingerprint(frame: pd.DataFrame) -> str:
    """Returns the SHA-256 of the names, kinds and values of a typed table."""
    sha = hashlib.sha256()
    for name in frame.columns:
        column = frame[name]
        is_number = column.dtype == np.float64
        sha.update(f"{name}\0{'number' if is_number else 'name'}\0".encode())
        if is_number:
            values = column.to_numpy()
            sha.update(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes())  # one NaN, one zero
        else:
            sha.update("\0".join("\1" if cell is None else str(cell) for cell in column).encode())
    return sha.hexdigest()


def extract(dataset: Dataset) -> None:
    """Writes a data set to the cache: first the Parquet file, then the JSON file as the mark of completeness."""
    frame = typed(dataset.load(), target=dataset.target, is_classes=dataset.task == "classification")
    path = cache_folder() / "data" / f"{dataset.name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    features = [name for name in frame.columns if name != dataset.target]
    numeric = sum(frame[name].dtype == np.float64 for name in features)
    described = {
        "fingerprint": fingerprint(frame),
        "rows": len(frame),
        "numeric": numeric,
        "categorical": len(features) - numeric,
    }
    path.with_suffix(".json").write_text(json.dumps(described))


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        extract(ALL_DATASETS[wanted])
