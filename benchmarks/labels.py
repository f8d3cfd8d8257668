"""Several labels of a row: Axon by log loss and by squared error, beside scikit-learn's MLP, as a Markdown table.

    python -m benchmarks.labels

The tables are scikit-learn's `make_multilabel_classification`. Each method sees the same 1,500 rows and answers the
same 500; the figures are means over the labels. One thread.
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import axon

LABELS = [f"label{i}" for i in range(5)]
FEATURES = [f"x{i}" for i in range(20)]
_LEARNED_ROWS = 1_500
_LEAST = 1e-3  # squared error may answer 0 or 1, and one wrong answer of that kind would decide the log loss


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark and prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="[0 1 2]")
    print("| seed | method | log loss | ROC AUC |\n|--:|---|--:|--:|")
    for seed in parser.parse_args(argv).seeds:
        x, y = make_multilabel_classification(2_000, len(FEATURES), n_classes=len(LABELS), random_state=seed)
        table = pd.DataFrame(x, columns=FEATURES).assign(**dict(zip(LABELS, y.T, strict=True)))
        learned, asked = table.iloc[:_LEARNED_ROWS], table.iloc[_LEARNED_ROWS:]
        for method, answers in _answers(learned, asked[FEATURES], seed).items():
            loss, area = _figures(answers, asked[LABELS].to_numpy())
            print(f"| {seed} | {method} | {loss:.4f} | {area:.4f} |", flush=True)
    return 0


def _answers(learned: pd.DataFrame, asked: pd.DataFrame, seed: int) -> dict[str, NDArray[np.float64]]:
    """Returns the answers of each method, `(rows, labels)`."""
    found = {}
    for method, settings in (("Axon, `--metric bernoulli`", {"metric": "bernoulli"}), ("Axon, squared error", {})):
        model = axon.fit(learned, target=LABELS, seed=seed, progress=False, **settings)
        found[method] = np.array(model.predict(asked))
    network = make_pipeline(StandardScaler(), MLPClassifier(early_stopping=True, max_iter=500, random_state=seed))
    network.fit(learned[FEATURES], learned[LABELS])
    return {**found, "scikit-learn's MLP": network.predict_proba(asked)}


def _figures(answers: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, float]:
    """Returns mean log loss and mean area under the ROC curve of the labels."""
    shares = np.clip(answers, _LEAST, 1 - _LEAST)
    losses = [log_loss(true, own, labels=[0, 1]) for true, own in zip(truth.T, shares.T, strict=True)]
    return float(np.mean(losses)), float(roc_auc_score(truth, shares))


if __name__ == "__main__":
    sys.exit(main())
