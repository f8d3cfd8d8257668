"""Logged rows answered again by another version, and the differences from what was answered."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.device_network import DeviceNetwork
from models.at_once import at_once
from models.checkpoint import Checkpoint
from models.columns.cells import listed
from models.columns.column import CategoricalColumn, Column, DateColumn
from models.columns.encoding import RowEncoder
from models.columns.extreme_rows import overflow
from models.columns.labels import Label, label_text
from models.columns.named_columns import Cells
from models.columns.schema import ClassTarget, NumericTarget, ValuesTarget
from models.errors import DataError, Fault, RowError
from models.model_store import ModelStore
from models.network.inference_network import in_unit
from models.open_store import open_store
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from models.signing import trusted
from monitoring.periods import By, starts_of
from monitoring.refusals import Refusals
from monitoring.selection import Selection

MAX_BATCH_ROWS = 4096
SHOWN_ROWS = 20
CLOSE = 0.01  # of values that agree, in standard deviations of the target in training
DEVIATIONS = "standard deviations"
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, kw_only=True)
class DifferentRow:
    """A row whose answers differ much.

    Attributes:
        request_id, row, time: identifier of the request, position in it, and time of the answer.
        version: version that answered.
        before, now: labels or values.
        difference: size of the difference.
        inputs: cells by column, as texts.
    """

    request_id: str
    row: int
    time: float
    version: str
    before: str
    now: str
    difference: float
    inputs: dict[str, str]


@dataclass(kw_only=True)
class ReplayReport:
    """The comparison of logged answers with those of another version.

    Attributes:
        reference: version that answered again.
        versions: versions of the log, with their numbers of rows.
        by: length of the periods.
        is_classifier: True for classes, False for values.
        differences: `(rows,)` differences of the values, new minus logged; of several targets, the difference of the
            one that differs most, in its standard deviations; or the largest absolute difference of a class's
            probability.
        agrees: `(rows,)` True where the labels are equal, or the values close.
        starts: `(rows,)` starts of the periods, in seconds since 1970.
        classes: number of rows by logged and new label; empty for values.
        most_different: rows that differ most, the first one most.
        refused: numbers of rows that the version refuses, by kind.
        left_out: number of rows that were answered by a part of an ensemble, and are not compared.
        unit: name of the target, or words for the one of several.
        close: difference up to which values agree; 0 for classes.
        in_deviations: True for several targets, whose differences are in standard deviations.
        has_probabilities: True if both versions give probabilities.
    """

    reference: str
    versions: dict[str, int]
    by: By
    is_classifier: bool
    differences: NDArray[np.float64]
    agrees: NDArray[np.bool_]
    starts: NDArray[np.int64]
    classes: dict[tuple[str, str], int]
    most_different: list[DifferentRow]
    refused: Refusals
    left_out: int
    unit: str
    close: float
    has_probabilities: bool
    in_deviations: bool = False

    @property
    def rows(self) -> int:
        """Number of compared rows."""
        return len(self.agrees)

    def by_period(self) -> list[tuple[int, int, float]]:
        """Returns start, number of rows and share of equal answers of each period."""
        found = []
        for start in np.unique(self.starts).tolist():
            some = self.starts == start
            found.append((start, int(some.sum()), float(self.agrees[some].mean())))
        return found


class ReplayedVersion:
    """A version that answers logged rows, with the bits of the server.

    Args:
        reference: version, `name@version`.
        checkpoint: checkpoint of the version.
    """

    def __init__(self, reference: str, checkpoint: Checkpoint) -> None:
        self.reference = reference
        self.schema = checkpoint.schema
        self.has_probabilities = checkpoint.config.has_probabilities
        fused = checkpoint.inference_network()
        self._origin = fused.origin
        self._network = DeviceNetwork(fused, torch.device("cpu"), max_batch_rows=MAX_BATCH_ROWS)
        self._network.warm_up()
        self._encoder = RowEncoder(checkpoint.schema)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels of a classifier; empty for a regressor."""
        target = self.schema.target
        return target.labels if isinstance(target, ClassTarget) else ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of several targets; empty for one."""
        target = self.schema.target
        return target.names if isinstance(target, ValuesTarget) else ()

    def check(self, version: LoggedVersion) -> None:
        """Refuses rows of a version that this one cannot answer.

        Raises:
            DataError: a column is not in the log, or of another kind; or the tasks differ.
        """
        if bool(self.labels) != bool(version.labels):
            tasks = ("values", "classes")
            raise DataError(
                f"{self.reference} predicts {tasks[bool(self.labels)]}, and {version} in the log "
                f"{tasks[bool(version.labels)]}: these answers cannot be compared."
            )
        targets = version.target.names if isinstance(version.target, ValuesTarget) else ()
        if self.targets != targets:  # of one target each, the names may differ
            one, other = (
                f"the targets {listed(names)}" if names else "one target" for names in (self.targets, targets)
            )
            raise DataError(
                f"{self.reference} predicts {one}, and {version} in the log {other}: these answers cannot be compared."
            )
        logged = {column.name: column for column in version.columns}
        missing = [column.name for column in self.schema.columns if column.name not in logged]
        if missing:
            why = "AXON_PREDICTION_LOG_OMIT left it out, or" if version.left_out else "since"
            raise DataError(
                f"{self.reference} needs {_columns(missing)}, which the log of {version} does not have: {why} "
                f"{version} has no such column."
            )
        for column in self.schema.columns:
            before = logged[column.name]
            if _kind(before) != _kind(column):
                raise DataError(
                    f"column {column.name!r} is {_kind(column)} for {self.reference}, and {_kind(before)} in the log "
                    f"of {version}: these rows cannot be answered again."
                )

    def answer(self, rows: LoggedRows) -> tuple[NDArray[np.intp], NDArray[Any], list[Fault]]:
        """Answers rows.

        Returns:
            Positions of the answered rows; their answers, in the unit of the target; and the first fault of each
            refused row.
        """
        by_name = {column.name: cells for column, cells in zip(rows.version.columns, rows.columns, strict=True)}
        columns: list[Cells] = [by_name[column.name] for column in self.schema.columns]
        places = np.arange(len(rows))
        refused: list[Fault] = []
        try:
            encoded = self._encode(columns, len(rows))
        except RowError:
            first = {fault.row: fault for fault in reversed(self._encoder.column_faults(columns))}
            refused = list(first.values())
            places = np.setdiff1d(places, np.array(list(first), dtype=np.intp))
            encoded = self._encode([_taken(cells, places) for cells in columns], len(places))
        finally:
            self._encoder.unknown.take()
        answers = self._network.forward(encoded)
        finite = np.isfinite(answers).all(axis=1)
        if not finite.all():  # the server refuses such a row, too
            infinite = np.flatnonzero(~finite).tolist()
            refused += [overflow(self.schema.columns, encoded[at], int(places[at])) for at in infinite]
            places, answers = places[finite], answers[finite]
        return places, in_unit(answers, self._origin), refused

    def _encode(self, columns: Sequence[Cells], rows: int) -> NDArray[np.float32]:
        if not rows:
            return np.empty((0, self._encoder.width), dtype=np.float32)
        compact = at_once(self._encoder.encode_columns_in_steps(columns, rows))
        return self._encoder.compact.expand(compact)


def replay(selection: Selection, reference: str, *, store: ModelStore | Path | str, by: By) -> ReplayReport:
    """Answers the rows of a log again, and compares. With AXON_TRUSTED_KEYS, the version's signature is verified.

    Args:
        selection: rows of the log.
        reference: version that answers, `NAME`, `NAME@VERSION` or `NAME@ALIAS`.
        store: store, path of its folder, or URL of a bucket.
        by: length of the periods.

    Raises:
        DataError: The log cannot be used, or the version cannot answer its rows.
        StoreError: the store has no such version.
        SignatureError: the version is not signed by a key that AXON_TRUSTED_KEYS names.
    """
    version = trusted(open_store(store).resolve(reference))
    replayed = ReplayedVersion(str(version), version.load().checkpoint)
    comparison = _Comparison(replayed, by)
    for rows in selection.rows():
        comparison.add(rows)
    return comparison.report()


@dataclass
class _Comparison:
    """The comparison, part by part."""

    replayed: ReplayedVersion
    by: By
    versions: Counter[str] = field(default_factory=Counter)
    differences: list[NDArray[np.float64]] = field(default_factory=list)
    agrees: list[NDArray[np.bool_]] = field(default_factory=list)
    starts: list[NDArray[np.int64]] = field(default_factory=list)
    classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    most: list[tuple[float, int, DifferentRow]] = field(default_factory=list)
    refused: Refusals = field(init=False)
    left_out: int = 0
    pushed: int = 0
    has_probabilities: bool = True
    checked: set[tuple[int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.refused = Refusals(self.replayed.schema.columns)

    def add(self, rows: LoggedRows) -> None:
        version = rows.version
        if (version.version, version.digest) not in self.checked:
            self.replayed.check(version)
            self.checked.add((version.version, version.digest))
        whole = np.array([members is None for members in rows.members], dtype=np.bool_)
        self.left_out += int((~whole).sum())
        if not whole.all():
            rows = rows.taken(np.flatnonzero(whole))
        places, now, faults = self.replayed.answer(rows)
        for fault in faults:
            self.refused.add(fault)
        rows = rows.taken(places)
        self.versions[str(version)] += len(rows)
        if version.labels:
            self._add_classes(rows, now)
        else:
            self._add_values(rows, now)

    def _add_values(self, rows: LoggedRows, now: NDArray[Any]) -> None:
        before, names = rows.values(), None
        differences = now.astype(np.float64) - before.astype(np.float64)
        places = np.zeros((len(rows), 1), dtype=np.intp)
        if self.replayed.targets:
            differences /= [target.std for target in self.replayed.schema.values]
            places = np.abs(differences).argmax(axis=1)[:, np.newaxis]
            names = np.array(self.replayed.targets, dtype=object)[places[:, 0]]
        one, other, apart = (np.take_along_axis(array, places, axis=1)[:, 0] for array in (before, now, differences))
        self._keep(rows, apart, np.abs(apart) <= self._close, one, other, names)

    def _add_classes(self, rows: LoggedRows, now: NDArray[Any]) -> None:
        before, labels = rows.values(), rows.version.labels
        one, other = _typed(labels), _typed(self.replayed.labels)
        union = {label: place for place, label in enumerate(dict.fromkeys((*one, *other)))}
        matrices = []
        for matrix, own in ((before, one), (now, other)):
            spread = np.zeros((len(rows), len(union)))
            spread[:, [union[label] for label in own]] = matrix
            matrices.append(spread)
        guesses = [matrix.argmax(axis=1) for matrix in matrices]
        names = [label_text(label) for _, label in union]
        pairs, counts = np.unique(np.stack(guesses), axis=1, return_counts=True)
        for pair, count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            self.classes[names[pair[0]], names[pair[1]]] += count
        has_both = rows.version.has_probabilities and self.replayed.has_probabilities
        self.has_probabilities &= has_both
        agrees = guesses[0] == guesses[1]
        differences = np.abs(matrices[0] - matrices[1]).max(axis=1) if has_both else (~agrees).astype(np.float64)
        texts = np.array(names, dtype=object)
        self._keep(rows, differences, agrees, texts[guesses[0]], texts[guesses[1]])

    def _keep(
        self,
        rows: LoggedRows,
        differences: NDArray[np.float64],
        agrees: NDArray[np.bool_],
        before: NDArray[Any],
        now: NDArray[Any],
        targets: NDArray[Any] | None = None,
    ) -> None:
        self.differences.append(differences)
        self.agrees.append(agrees)
        self.starts.append(starts_of(rows.times, self.by))
        sizes = np.abs(differences)
        for place in np.argsort(-sizes, kind="stable")[:SHOWN_ROWS].tolist():
            size = float(sizes[place])
            if size and (len(self.most) < SHOWN_ROWS or size > self.most[0][0]):
                self.pushed += 1
                one, other = before[place], now[place]
                if targets is not None:
                    one, other = (f"{targets[place]} {float(value):.7g}" for value in (one, other))
                self.most.append((size, self.pushed, _different(rows, place, one, other, size)))
                heapq.heapify(self.most)
                while len(self.most) > SHOWN_ROWS:
                    heapq.heappop(self.most)

    @property
    def _close(self) -> float:
        target = self.replayed.schema.target
        if isinstance(target, ValuesTarget):
            return CLOSE
        return CLOSE * target.std if isinstance(target, NumericTarget) else 0.0

    def report(self) -> ReplayReport:
        if not sum(self.versions.values()):
            reasons = ", ".join(f"{kind} ({kind.rows:,} rows)" for kind in self.refused.most_frequent(3))
            why = f"it refuses all of them: {reasons}" if reasons else "all were answered by a part of an ensemble"
            raise DataError(f"{self.replayed.reference} can answer no row of the log again: {why}.")
        return ReplayReport(
            reference=self.replayed.reference,
            versions=dict(sorted(self.versions.items())),
            by=self.by,
            is_classifier=bool(self.replayed.labels),
            differences=np.concatenate(self.differences),
            agrees=np.concatenate(self.agrees),
            starts=np.concatenate(self.starts),
            classes=dict(self.classes),
            most_different=[row for _, _, row in sorted(self.most, key=lambda one: (-one[0], one[2].time))],
            refused=self.refused,
            left_out=self.left_out,
            unit=f"the target that differs most, in {DEVIATIONS}"
            if self.replayed.targets
            else self.replayed.schema.target.name,
            close=self._close,
            has_probabilities=self.has_probabilities,
            in_deviations=bool(self.replayed.targets),
        )


def _different(rows: LoggedRows, place: int, before: Any, now: Any, size: float) -> DifferentRow:
    inputs = {
        column.name: _cell_text(cells[place]) for column, cells in zip(rows.version.columns, rows.columns, strict=True)
    }
    return DifferentRow(
        request_id=rows.request_ids[place],
        row=int(rows.places[place]),
        time=float(rows.times[place]),
        version=str(rows.version),
        before=before if isinstance(before, str) else f"{float(before):.7g}",
        now=now if isinstance(now, str) else f"{float(now):.7g}",
        difference=size,
        inputs=inputs,
    )


def _cell_text(cell: Any) -> str:
    if cell is None or cell != cell:  # NaN and NaT differ from themselves
        return ""
    if isinstance(cell, np.datetime64):
        return str(cell.astype("datetime64[s]")).removesuffix("T00:00:00")
    return cell if isinstance(cell, str) else f"{cell:.7g}"


def _taken(cells: Cells, places: NDArray[np.intp]) -> Cells:
    if isinstance(cells, np.ndarray):
        return cells[places]
    assert isinstance(cells, list)  # noqa: S101 -- the log has no dictionaries
    return [cells[place] for place in places.tolist()]


def _typed(labels: tuple[Label, ...]) -> list[tuple[type, Label]]:
    """Returns labels with their types, because `1`, `1.0` and `True` are equal."""
    return [(type(label), label) for label in labels]


def _kind(column: Column) -> str:
    if isinstance(column, CategoricalColumn):
        return "a column of categories"
    return "a column of dates" if isinstance(column, DateColumn) else "a column of numbers"


def _columns(names: Sequence[str]) -> str:
    return f"column {listed(names)}" if len(names) == 1 else f"columns {listed(names)}"
