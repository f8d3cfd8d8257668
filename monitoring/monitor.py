"""The quality of logged answers over time: labels joined, metrics by period and by version, drift by period."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import listed
from models.columns.schema import ValuesTarget
from models.distributions.evaluation import Evaluation
from models.distributions.window import Window
from models.errors import DataError
from models.model_store import ModelStore
from models.network.config import Output
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from monitoring.labels import Labels, read_label_table, read_labels
from monitoring.periods import By, starts_of
from monitoring.selection import Selection
from monitoring.training_facts import TrainingFacts, training_facts, training_notation
from training.data.text_format import TextFormat
from training.data.text_reading import TextReading, read_as
from training.metrics import Metrics, evaluate


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """The source of labels.

    Attributes:
        path: path of the file; None for a report on drift alone.
        column: name of the column of labels; None to find it.
        on: input column to join by; None for the request id.
        target: name of the one of several targets whose labels these are; None for a model with one target, and if the
            column has the name of a target.
        text_format: the user's description of a CSV file.
        reading: the user's choices of how its texts are read.
    """

    path: Path | None = None
    column: str | None = None
    on: str | None = None
    target: str | None = None
    text_format: TextFormat = field(default_factory=TextFormat)
    reading: TextReading = field(default_factory=TextReading)

    def read(self, path: Path, version: LoggedVersion, *, store: ModelStore | Path | str) -> Labels:
        """Reads the labels of a file, whose numbers are read as those of the training table unless the user says how.

        Args:
            path: path of the file.
            version: version whose target the labels are of.
            store: store, path of its folder, or URL of a bucket, which knows how the training table wrote numbers.

        Raises:
            DataError: The file cannot be used; the message says why.
        """
        written = read_label_table(path, self.text_format)
        return read_labels(
            read_as(written, self.reading, training_notation(store, version)),
            path,
            written=written,
            target=version.target.names[self.place_in(version) or 0],
            is_of_values=not version.labels,
            column=self.column,
            on=self.on,
        )

    def check_task(self, version: LoggedVersion, first: LoggedVersion) -> None:
        """Refuses labels for versions of which one predicts classes and the other one values.

        Args:
            version: version of the log.
            first: version whose labels were read.

        Raises:
            DataError: the versions have different tasks.
        """
        if self.path is None or bool(version.labels) == bool(first.labels):
            return
        classes, values = (version, first) if version.labels else (first, version)
        raise DataError(
            f"{classes} predicts classes and {values} predicts values, and {self.path} has labels of one of the two: "
            f"name that version (--model {classes} or --model {values}), or its time (--since, --until)."
        )

    def place_in(self, version: LoggedVersion) -> int | None:
        """Returns the place of the labels' target among several; None for one target, and without labels.

        Raises:
            DataError: the version has several targets and none is named, lacks the named one, or the labels are
                those of another one.
        """
        target = version.target
        if not isinstance(target, ValuesTarget):
            if self.target is not None and self.target != target.name:
                raise DataError(f"{version} predicts {target.name!r}, and not {self.target!r}.")
            return None
        if self.path is None:
            return None
        chosen = self.target or (self.column if self.column in target.names else None)
        if chosen is None:
            raise DataError(
                f"{version} predicts several targets: name the one whose labels {self.path} has (--target), out of "
                f"{listed(target.names)}."
            )
        if chosen not in target.names:
            raise DataError(f"{version} does not predict {chosen!r}; its targets are {listed(target.names)}.")
        if self.column in target.names and self.column != chosen:
            raise DataError(
                f"the labels {self.column!r} (--label) are those of another target than {chosen!r} (--target): "
                "name one of both."
            )
        return target.names.index(chosen)


@dataclass(kw_only=True)
class Answers:
    """Answers with labels.

    Attributes:
        output: output of the network, which decides about the metrics.
        values: `(rows, classes)` probabilities, or `(rows, 1)` values.
        truth: `(rows,)` class indices, or values.
    """

    output: Output
    values: NDArray[Any]
    truth: NDArray[Any]

    def metrics(self) -> Metrics:
        """Returns all metrics that apply; at least one row."""
        return evaluate(self.output, self.values, self.truth)


@dataclass(kw_only=True)
class PeriodReport:
    """The rows of one version in one period.

    Attributes:
        start: start of the period, in seconds since 1970.
        rows: number of logged rows.
        labelled: answers with labels; None without one.
        drift: evaluation against training; None if drift is not known.
    """

    start: int
    rows: int
    labelled: Answers | None
    drift: Evaluation | None


@dataclass(kw_only=True)
class VersionReport:
    """One version.

    Attributes:
        version: version of the log.
        rows: number of logged rows.
        labelled: answers with labels; None without one.
        periods: periods in their order.
        drift: evaluation of all rows; None if drift is not known.
        test_metrics: metrics of the test part, by name.
        first, last: times of the first and of the last row, in seconds since 1970.
    """

    version: LoggedVersion
    rows: int
    labelled: Answers | None
    periods: list[PeriodReport]
    drift: Evaluation | None
    test_metrics: dict[str, float]
    first: float
    last: float


@dataclass(kw_only=True)
class MonitorReport:
    """The report on one model.

    Attributes:
        model: name of the model.
        by: length of the periods.
        versions: versions by number.
        remarks: sentences on what was left out.
        has_labels: True if labels were given.
    """

    model: str
    by: By
    versions: list[VersionReport]
    remarks: list[str]
    has_labels: bool

    @property
    def rows(self) -> int:
        """Number of logged rows."""
        return sum(version.rows for version in self.versions)

    @property
    def labelled_rows(self) -> int:
        """Number of rows with a label."""
        return sum(len(version.labelled.truth) for version in self.versions if version.labelled is not None)


@dataclass
class _Gathered:
    """Parts of one version that are kept while the log is read."""

    version: LoggedVersion
    facts: TrainingFacts | None
    place: int | None = None  # of the target whose labels are given, among several
    names: list[NDArray[np.int64]] = field(default_factory=list)  # hashes of request id and row number
    starts: list[NDArray[np.int64]] = field(default_factory=list)
    values: list[NDArray[Any]] = field(default_factory=list)
    truth: list[NDArray[Any]] = field(default_factory=list)
    windows: dict[int, Window] = field(default_factory=dict)
    first: float = np.inf
    last: float = -np.inf

    def add(self, rows: LoggedRows, truth: NDArray[Any], by: By) -> None:
        pairs = zip(rows.request_ids, rows.places.tolist(), strict=True)
        self.names.append(np.fromiter(map(hash, pairs), dtype=np.int64, count=len(rows)))
        starts = starts_of(rows.times, by)
        self.starts.append(starts)
        values = rows.values()
        self.values.append(values if self.place is None else values[:, self.place, np.newaxis])
        self.truth.append(truth)
        self.first, self.last = min(self.first, float(rows.times.min())), max(self.last, float(rows.times.max()))
        if self.facts is None:
            return
        for start in np.unique(starts).tolist():
            if start not in self.windows:
                self.windows[start] = self.facts.window()
            self.facts.count(self.windows[start], rows.taken(np.flatnonzero(starts == start)))

    def drop_labels(self, names: NDArray[np.int64]) -> int:
        """Removes the labels of the rows with some names; returns the number of removed labels."""
        removed = 0
        for own, truth in zip(self.names, self.truth, strict=True):
            chosen = np.isin(own, names)
            removed += int(_has_label(self.version, truth[chosen]).sum())
            truth[chosen] = -1 if self.version.labels else np.nan
        return removed


def monitor(selection: Selection, source: LabelSource, *, store: ModelStore | Path | str, by: By) -> MonitorReport:
    """Reads a log, joins labels, and computes all figures.

    Args:
        selection: rows of the log.
        source: file of labels, and how to join.
        store: store, path of its folder, or URL of a bucket, for the distributions of training.
        by: length of the periods.

    Raises:
        DataError: The log or the labels cannot be used; the message says why.
    """
    gathered: dict[tuple[int, str], _Gathered] = {}
    remarks: list[str] = []
    labels: Labels | None = None
    first: LoggedVersion | None = None
    partial = 0
    for rows in selection.rows():
        version = rows.version
        first = version if first is None else first
        source.check_task(version, first)
        if labels is None and source.path is not None:
            try:
                labels = source.read(source.path, version, store=store)
            except DataError:  # the labels may be those of a version with another task
                for others in selection.rows():
                    source.check_task(others.version, version)
                raise
            if (place := source.place_in(version)) is not None:
                names_of_targets = version.target.names
                remarks.append(
                    f"The labels and the metrics are those of {names_of_targets[place]!r}, one of "
                    f"{listed(names_of_targets)}."
                )
        truth = _no_labels(rows) if labels is None else labels.of(rows)
        is_whole = np.array([members is None for members in rows.members], dtype=np.bool_)
        if not is_whole.all():
            partial += int((~is_whole).sum())
            rows, truth = rows.taken(np.flatnonzero(is_whole)), truth[is_whole]
            if not len(rows):
                continue
        key = version.version, version.digest
        if key not in gathered:
            place = source.place_in(version)
            target = None if place is None else version.target.names[place]
            facts, reason = training_facts(store, version, target=target)
            remarks += [] if reason is None else [reason]
            gathered[key] = _Gathered(version, facts, place)
        gathered[key].add(rows, truth, by)
    if not gathered:
        raise DataError(
            f"{selection.folder}: all {partial:,} chosen rows were answered by a part of an ensemble, and a report is "
            "on the answers of all members: choose other rows (--since, --model)."
        )
    if partial:
        remarks.append(f"{partial:,} rows were answered by a part of an ensemble, and are left out.")
    is_by_id = labels is not None and labels.on is None
    doubled, removed = _without_doubled(gathered.values(), is_by_id=is_by_id)
    if doubled:
        remarks.append(
            f"{doubled:,} rows have the request id and the row number of another row of their version: clients sent an "
            f"id twice{', and none of these rows gets a label' if is_by_id else ''}."
        )
    found = [_version_report(one) for _, one in sorted(gathered.items(), key=lambda item: item[0])]
    report = MonitorReport(
        model=found[0].version.name, by=by, versions=found, remarks=remarks, has_labels=labels is not None
    )
    if labels is not None:
        if not report.labelled_rows:
            if removed:
                raise DataError(
                    f"{labels.path}: all {removed:,} rows with a label have the request id and the row number of "
                    "another row, since clients sent an id twice: send each request with an id of its own, or join by "
                    "an input column (--on)."
                )
            labels.check_classes(found[0].version)
            what = "request ids" if source.on is None else f"values of {source.on!r}"
            raise DataError(f"{labels.path}: none of its {len(labels.by_key):,} {what} is in the log.")
        report.remarks += labels.remarks()
    return report


def _without_doubled(gathered: Collection[_Gathered], *, is_by_id: bool) -> tuple[int, int]:
    """Counts the rows with the request id and the row number of another row of their version, and removes their labels.

    A label of such a row may be that of the other row. A client that asks two versions with one id means one row.

    Args:
        gathered: rows of each version.
        is_by_id: True if the labels were joined by the request id; otherwise, the labels stay.

    Returns:
        Number of such rows, and number of removed labels.
    """
    rows = removed = 0
    for one in gathered:
        names, counts = np.unique(np.concatenate(one.names), return_counts=True)
        is_doubled = counts > 1
        rows += int(counts[is_doubled].sum())
        if is_by_id and is_doubled.any():
            removed += one.drop_labels(names[is_doubled])
    return rows, removed


def _no_labels(rows: LoggedRows) -> NDArray[Any]:
    return np.full(len(rows), -1, dtype=np.int64) if rows.version.labels else np.full(len(rows), np.nan)


def _has_label(version: LoggedVersion, truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns True for each row with a label, `(rows,)`."""
    has_label: NDArray[np.bool_] = truth >= 0 if version.labels else ~np.isnan(truth)
    return has_label


def _version_report(one: _Gathered) -> VersionReport:
    starts, values, truth = (np.concatenate(parts) for parts in (one.starts, one.values, one.truth))
    version = one.version
    output: Output = "softmax" if version.has_probabilities else "step" if version.labels else "linear"
    is_labelled = _has_label(version, truth)

    def answers(chosen: NDArray[np.bool_]) -> Answers | None:
        some = chosen & is_labelled
        return Answers(output=output, values=values[some], truth=truth[some]) if some.any() else None

    periods = []
    whole: Window | None = None
    for start in np.unique(starts).tolist():
        window = one.windows.get(start)
        if window is not None and one.facts is not None:
            whole = one.facts.window() if whole is None else whole
            whole.merge(window.snapshot())
        periods.append(
            PeriodReport(
                start=start,
                rows=int((starts == start).sum()),
                labelled=answers(starts == start),
                drift=None if window is None or one.facts is None else one.facts.evaluation(window),
            )
        )
    return VersionReport(
        version=version,
        rows=len(starts),
        labelled=answers(np.ones(len(starts), dtype=np.bool_)),
        periods=periods,
        drift=None if whole is None or one.facts is None else one.facts.evaluation(whole),
        test_metrics={} if one.facts is None else one.facts.test_metrics,
        first=one.first,
        last=one.last,
    )
