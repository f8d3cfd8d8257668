"""Distributions and test metrics of a checkpoint, for rows that may lack some of the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.at_once import at_once
from models.columns.encoding import NamedColumns, RowEncoder
from models.columns.schema import Schema
from models.distributions.distributions import Distributions
from models.distributions.evaluation import Evaluation, evaluate
from models.distributions.row_counter import RowCounter
from models.distributions.window import BLOCK_ROWS, Window
from models.errors import AxonError
from models.model_store import ModelStore
from models.open_store import open_store
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from models.signing import trusted
from training import predictions
from training.data.notation import Precedent


@dataclass(frozen=True)
class TrainingFacts:
    """The training of one version, for comparison with the log.

    Attributes:
        encoder: encoder of the logged columns.
        distributions: distributions of these columns and of the predictions.
        counter: counter in the bins of training.
        test_metrics: metrics of the test part, by name.
    """

    encoder: RowEncoder
    distributions: Distributions
    counter: RowCounter
    test_metrics: dict[str, float]

    def window(self) -> Window:
        """Returns a window without rows."""
        return Window(0, self.counter.slots)

    def count(self, window: Window, rows: LoggedRows) -> None:
        """Adds rows, in the order of their answers, to a window."""
        names = [column.name for column in rows.version.columns]
        for start in range(0, len(rows), BLOCK_ROWS[0]):
            some = rows.taken(np.arange(start, min(start + BLOCK_ROWS[0], len(rows))))
            given = NamedColumns(dict(zip(names, some.columns, strict=True)), len(some))
            encoded = np.frombuffer(self.encoder.encode_any(given), dtype="<f4").reshape(len(some), -1)
            counts = self.counter.count(encoded, some.answers)
            self.counter.move_unknown(counts, {**self.encoder.unknown.take()})
            began = window.began
            is_first = not window.rows
            window.add(counts, len(some))
            window.began = float(some.times[0]) if is_first else began
            window.ended = float(some.times[-1])

    def evaluation(self, window: Window) -> Evaluation:
        """Evaluates a window as the server does."""
        return at_once(evaluate(self.counter, self.distributions, window.snapshot()))


def training_facts(
    store: ModelStore | Path | str, version: LoggedVersion, *, target: str | None = None
) -> tuple[TrainingFacts | None, str | None]:
    """Reads the training distributions and the test metrics of a version.

    With AXON_TRUSTED_KEYS, its signature is verified.

    Args:
        store: store, path of its folder, or URL of a bucket.
        version: version of the log.
        target: one of several targets, whose metrics are read; None for those of all.

    Returns:
        The facts, or None with the reason.
    """
    try:
        header = _header(store, version)
    except (AxonError, OSError) as error:
        return None, f"Drift of {version} is not known: {error}"
    if header["digest"] != version.digest:
        return None, f"Drift of {version} is not known: the store has another checkpoint under this number."
    if header.get("distributions") is None:
        return None, f"Drift of {version} is not known: the checkpoint carries no distributions of its training data."
    if not version.columns:
        return None, f"Drift of {version} is not known: the log leaves out all columns."
    whole = Schema.from_dict(header)
    distributions = Distributions.from_dict(header["distributions"], whole)
    logged = {column.name for column in version.columns}
    kept = [
        counts for column, counts in zip(whole.columns, distributions.columns, strict=False) if column.name in logged
    ]
    part = Distributions(rows=distributions.rows, columns=tuple(kept), predictions=distributions.predictions)
    schema = Schema(columns=version.columns, target=version.target)
    return TrainingFacts(RowEncoder(schema), part, RowCounter(schema, part), _test_metrics(header, target)), None


def training_notation(store: ModelStore | Path | str, version: LoggedVersion) -> Precedent | None:
    """Returns how the training table of a version wrote numbers; None if the store does not know.

    Args:
        store: store, path of its folder, or URL of a bucket.
        version: version of the log.

    Raises:
        DataError: the checkpoint says it in a way that this version of Axon does not read.
    """
    try:
        header = _header(store, version)
    except (AxonError, OSError):
        return None
    data = header.get("data") if header["digest"] == version.digest else None
    return predictions.training_notation(data) if isinstance(data, Mapping) else None


def _header(store: ModelStore | Path | str, version: LoggedVersion) -> Mapping[str, Any]:
    return trusted(open_store(store).resolve(str(version))).read_header()


def _test_metrics(header: Mapping[str, Any], target: str | None) -> dict[str, float]:
    metrics = header.get("metrics")
    test = metrics.get("test") if isinstance(metrics, Mapping) else None
    if isinstance(test, Mapping) and target is not None:
        targets = test.get("targets")
        test = targets.get(target) if isinstance(targets, Mapping) else None
    if not isinstance(test, Mapping):
        return {}
    return {name: float(value) for name, value in test.items() if type(value) in (int, float)}
