"""A model as one picklable callable, for Ray's `map_batches`, Dask's `map_partitions` and Spark's `mapInArrow`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.column import Column, NumericColumn
from models.columns.named_columns import Cells
from models.columns.row_names import RowNames
from models.errors import ConfigError, DataError, RowError, StoreError
from models.model_store import ModelStore
from models.open_store import open_store
from models.signing import trusted
from scoring.answer_columns import AnswerColumns, check_members
from scoring.cells import cells_of, wrong_type

if TYPE_CHECKING:
    from scoring.answering import BatchAnswerer

_BATCH_CELLS = 1 << 21  # cells of a batch, encoded: 8 MB
_LEAST_ROWS, _MOST_ROWS = 64, 1 << 16
_ERRORS = ("refuse", "skip", "null")


class _Model(NamedTuple):
    """A model in the memory of a process."""

    answerer: BatchAnswerer
    columns: AnswerColumns


class _Key(NamedTuple):
    """The key of a model in memory."""

    store: str
    reference: str
    digest: str
    device: str
    members: int | None
    prefix: str
    intervals: float | None


# Of the process: engines unpickle a callable for each task, and each copy finds the model here.
_models: dict[_Key, _Model] = {}
_lock = threading.Lock()


class Scorer:
    """A model of a store that answers tables, one batch after another.

    The version is resolved once, where the scorer is made. A pickled scorer has the version and its digest, and no
    network: each process loads the model from the store at the first batch, and refuses another file of that version.

    A batch is an Arrow table or record batch, a pandas frame, or a mapping of arrays by name, and the answers are of
    the same kind, with the columns `prediction` and `probability LABEL`, and with intervals `low` and `high`, or
    `set`, the JSON list of the labels. Several targets have the columns `prediction_TARGET`, and with intervals
    `prediction_TARGET_low` and `prediction_TARGET_high`. An iterator of record batches gives an iterator. Any number of
    threads may call a scorer.

    Args:
        reference: `name`, `name@version` or `name@alias`.
        store: store, path of its folder or URL, which all processes can read; AXON_STORE, else `checkpoints`, if None.
        keep: columns of a batch to give back before the answers.
        errors: treatment of rows that do not fit: `refuse` (an error), `skip` (left out) or `null` (null answers; NaN
            or None in frames and arrays).
        members: number of members of an ensemble that answer, the first ones; None for all.
        device: `cpu`, `cuda` or another name of torch; `auto` takes a GPU where there is one.
        prefix: beginning of the answers' names.
        threads: number of threads of one matrix product, set for torch in the whole process at the first batch.
        intervals: level, such as 0.9, of intervals or sets of labels, which contain the truth in this share of rows
            (`models.conformal`); None for answers without.

    Attributes:
        reference: `name@version` of the model.

    Raises:
        ModelNotFound, StoreError, CheckpointError: the store has no such model, or it cannot be read.
        ConfigError: a setting is not one of those above, or the model has no intervals of that level.
    """

    def __init__(
        self,
        reference: str,
        store: ModelStore | Path | str | None = None,
        *,
        keep: Sequence[str] = (),
        errors: Literal["refuse", "skip", "null"] = "refuse",
        members: int | None = None,
        device: str = "auto",
        prefix: str = "",
        threads: int = 1,
        intervals: float | None = None,
    ) -> None:
        if errors not in _ERRORS:
            raise ConfigError(f"errors must be one of {', '.join(_ERRORS)}, got {errors!r}.")
        if isinstance(keep, str):
            raise ConfigError(f"keep must be a list of names, got the text {keep!r}.")
        if threads < 1:
            raise ConfigError(f"threads must be 1 or more, got {threads}.")
        opened = open_store(_default_store() if store is None else store)
        version = trusted(opened.resolve(reference))
        loaded = version.load()
        self.reference = str(version)
        check_members(loaded.checkpoint, members, intervals=intervals)
        columns = AnswerColumns(loaded.checkpoint, prefix=prefix, intervals=intervals)
        columns.check_free(keep)
        self._columns: AnswerColumns | None = columns
        self._keep = tuple(keep)
        self._errors = errors
        self._threads = threads
        self._key = _Key(_address(opened), self.reference, loaded.digest, device, members, prefix, intervals)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the answers, without the columns that are kept."""
        return (self._columns or self._model().columns).schema

    def __repr__(self) -> str:
        return f"Scorer({self.reference!r}, store={self._key.store!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Returns the settings alone: neither the network nor the labels travel."""
        return {"key": self._key, "keep": self._keep, "errors": self._errors, "threads": self._threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes the settings; the model is loaded at the first batch."""
        self._key, self._keep = state["key"], state["keep"]
        self._errors, self._threads = state["errors"], state["threads"]
        self.reference = self._key.reference
        self._columns = None

    def __call__(self, batch: Any) -> Any:
        """Returns the answers to a batch, of the batch's kind.

        Args:
            batch: Arrow table or record batch, pandas frame, mapping of arrays by name, or an iterator of record
                batches, for which the result is one too.

        Raises:
            RowError: rows do not fit, and `errors` is `refuse`.
            DataError: the batch is not a table, lacks a column, or has a column of a wrong type.
            StoreError, CheckpointError: the model cannot be loaded in this process, or the version was replaced.
        """
        if isinstance(batch, pa.Table):
            return self._table(batch)
        if isinstance(batch, pa.RecordBatch):
            return self._record_batch(batch)
        if isinstance(batch, Mapping):
            return self._arrays(batch)
        if hasattr(batch, "columns") and hasattr(batch, "iloc"):
            return self._frame(batch)
        if isinstance(batch, Iterator):
            return self._record_batches(batch)
        raise DataError(
            f"a {type(batch).__name__} is no batch: give an Arrow table, a record batch, a pandas frame, a mapping of "
            "arrays by name, or an iterator of record batches."
        )

    def _record_batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield self(batch)

    def _record_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        answered = self._table(pa.Table.from_batches([batch])).combine_chunks()
        columns = [
            column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in answered.itercolumns()
        ]
        return pa.record_batch(columns, schema=answered.schema)

    def _table(self, table: pa.Table) -> pa.Table:
        model = self._model()
        places = _places(table.column_names, model.answerer.schema.names, self._keep)
        columns, fields = [], []
        for place, column in zip(places, model.answerer.schema.columns, strict=True):
            given = table.column(place)
            if words := wrong_type(given.type, column):
                raise DataError(f"column {column.name!r} {words}.")
            columns.append(given)
            fields.append(table.schema.field(place))
        pieces, masks = self._answered(model, columns, table.num_rows, fields)
        kept = table.select(list(self._keep))
        answers = pa.Table.from_batches(pieces, model.columns.schema)
        if masks is not None and self._errors == "skip":
            if not self._keep:  # a table without columns has a number of rows, and no filter
                return answers
            kept = kept.filter(pa.array(masks))
        for field, column in zip(answers.schema, answers.itercolumns(), strict=True):
            kept = kept.append_column(field, column)
        return kept

    def _frame(self, frame: Any) -> Any:
        """Answers a pandas frame; the rows keep their index."""
        import pandas as pd

        model = self._model()
        names = [str(label) for label in frame.columns]
        places = _places(names, model.answerer.schema.names, self._keep)
        columns = [
            _arrow_of(frame.iloc[:, place], column)
            for place, column in zip(places, model.answerer.schema.columns, strict=True)
        ]
        pieces, masks = self._answered(model, columns, len(frame))
        index = frame.index[masks] if masks is not None and self._errors == "skip" else frame.index
        answers = pa.Table.from_batches(pieces, model.columns.schema).to_pandas()
        answers.index = index
        kept = frame.iloc[:, [names.index(name) for name in self._keep]]
        if masks is not None and self._errors == "skip":
            kept = kept[masks]
        return pd.concat([kept, answers], axis=1) if self._keep else answers

    def _arrays(self, batch: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Answers a mapping of arrays."""
        model = self._model()
        names = list(batch)
        places = _places(names, model.answerer.schema.names, self._keep)
        arrays = {name: np.asarray(batch[name]) for name in [*(names[place] for place in places), *self._keep]}
        lengths = {name: array.shape[:1] for name, array in arrays.items()}
        if len(set(lengths.values())) > 1 or () in lengths.values():
            shown = ", ".join(f"{name!r} {array.shape}" for name, array in list(arrays.items())[:10])
            raise DataError(f"the arrays of a batch must have one value a row, got the shapes {shown}.")
        columns = [
            _arrow_of(arrays[names[place]], column)
            for place, column in zip(places, model.answerer.schema.columns, strict=True)
        ]
        rows = len(arrays[names[places[0]]])
        pieces, masks = self._answered(model, columns, rows)
        answers = pa.Table.from_batches(pieces, model.columns.schema)
        kept = {name: arrays[name] for name in self._keep}
        if masks is not None and self._errors == "skip":
            kept = {name: array[masks] for name, array in kept.items()}
        return kept | {
            name: column.combine_chunks().to_numpy(zero_copy_only=False) if column.num_chunks else _empty(column.type)
            for name, column in zip(answers.column_names, answers.itercolumns(), strict=True)
        }

    def _answered(
        self, model: _Model, columns: Sequence[Any], rows: int, fields: Sequence[pa.Field] | None = None
    ) -> tuple[list[pa.RecordBatch], NDArray[np.bool_] | None]:
        """Answers columns of Arrow arrays, or of arrays of numbers.

        Returns:
            The answers, and `(rows,)` True for each row with an answer; None if all have one.
        """
        schema = model.answerer.schema
        known: Sequence[pa.Field | None] = fields or [None] * len(columns)
        size = min(max(_BATCH_CELLS // schema.width, _LEAST_ROWS), _MOST_ROWS)
        pieces, masks = [], []
        for start in range(0, rows, size):
            count = min(size, rows - start)
            cells: list[Cells] = [
                given[start : start + count]
                if isinstance(given, np.ndarray)
                else cells_of(given.slice(start, count), column, field=field)
                for given, column, field in zip(columns, schema.columns, known, strict=True)
            ]
            answered = model.answerer.answer(cells, count)
            if answered.faults and self._errors == "refuse":
                raise RowError([replace(fault, row=start + fault.row) for fault in answered.faults])
            arrays = model.columns.of(answered, with_gaps=self._errors == "null")
            pieces.append(pa.record_batch(arrays, schema=model.columns.schema))
            masks.append(np.ones(count, np.bool_) if answered.is_answered is None else answered.is_answered)
        mask = np.concatenate(masks) if masks else None
        return pieces, None if mask is None or mask.all() else mask

    def _model(self) -> _Model:
        """Returns the model, which the first call of a process loads."""
        found = _models.get(self._key)
        if found is not None:
            return found
        with _lock:
            if self._key not in _models:
                _models[self._key] = self._load()
            return _models[self._key]

    def _load(self) -> _Model:
        import torch

        from scoring.answering import BatchAnswerer

        key = self._key
        loaded = trusted(open_store(key.store).resolve(key.reference)).load()
        if loaded.digest != key.digest:
            raise StoreError(f"{key.reference} was replaced in {key.store} since the scorer was made: make a new one.")
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        device = key.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        answerer = BatchAnswerer(loaded.checkpoint, device=device, members=key.members)
        return _Model(answerer, AnswerColumns(loaded.checkpoint, prefix=key.prefix, intervals=key.intervals))


def _address(store: ModelStore) -> str:
    """Returns the address of a store for other processes, whose working folder may be another one."""
    return store.address if store.folder is None else str(store.folder.absolute())


def _default_store() -> str:
    import os

    return os.environ.get("AXON_STORE") or "checkpoints"


def _places(present: Sequence[str], names: Sequence[str], keep: Sequence[str]) -> list[int]:
    """Returns the place in a batch of each column of the model.

    Raises:
        DataError: the batch lacks a column, or has one twice.
    """
    known = RowNames(names)
    found: dict[str, int] = {}
    for place, column in enumerate(present):
        name = known.find(column)
        if name is not None and name in found:
            raise DataError(f"the batch has column {name!r} twice: as {present[found[name]]!r} and as {column!r}.")
        if name is not None:
            found[name] = place
    there = ", ".join(map(repr, present[:10])) + (", …" if len(present) > 10 else "")
    if lacking := [name for name in names if name not in found]:
        raise DataError(f"the batch lacks {', '.join(map(repr, lacking[:10]))}, of the model; its columns are {there}.")
    if unknown := [name for name in keep if name not in present]:
        raise DataError(f"the batch lacks {unknown[0]!r}, which is to be kept; its columns are {there}.")
    return [found[name] for name in names]


def _arrow_of(values: Any, column: Column) -> Any:
    """Returns an array of numbers unchanged, and other values as an Arrow array.

    Raises:
        DataError: the values have no type of Arrow, such as numbers and texts in one column.
    """
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise DataError(f"column {column.name!r} has shape {values.shape}, where one value a row is expected.")
    if isinstance(column, NumericColumn) and getattr(values.dtype, "kind", "O") in "iuf" and values.dtype.itemsize > 2:
        if isinstance(values, np.ndarray):
            return values
        if isinstance(values.dtype, np.dtype):
            return values.to_numpy()
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DataError(f"column {column.name!r} cannot be read: {error}") from error
    if words := wrong_type(array.type, column):
        raise DataError(f"column {column.name!r} {words}.")
    return array


def _empty(kind: pa.DataType) -> NDArray[Any]:
    empty: NDArray[Any] = pa.array([], kind).to_numpy(zero_copy_only=False)
    return empty
