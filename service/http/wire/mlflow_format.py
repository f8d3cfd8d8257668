"""MLflow's scoring protocol over HTTP: `POST /invocations` in JSON. A body in CSV is read by `CsvFormat`.

The model is the default model, or the one that the query names (`?model=ID`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.columns.cells import MAX_ECHO, listed, sendable, shown
from models.columns.encoding import NamedColumns, RowEncoder
from models.errors import Fault, RowError
from service.answer_form import AnswerForm, members_of
from service.batching.served_version import ServedVersion
from service.errors import InvalidRequest
from service.http.error_forms import as_400, mlflow_error
from service.http.problems import problem_of
from service.http.wire.bulk_json import NumberReader
from service.http.wire.document_reader import DocumentReader, ReadDocument
from service.http.wire.json_document import Path
from service.http.wire.large_array import LargeArray
from service.http.wire.mlflow_answers import MlflowWriter
from service.http.wire.model_query import model_in_query
from service.http.wire.small_json import parse_small
from service.http.wire.tensor_json import (
    ListSteps,
    RowSteps,
    checked_keys,
    chunks_of,
    has_b64,
    only_key,
    read_array,
    read_tensor,
    rows_at_once,
)
from service.http.wire.wire_format import AnswerWriter, Body, Head, ReadRequest, WireFormat, WrittenError

_LARGE_BODY_BYTES = 8192  # a smaller body is read in a fraction of a millisecond
_MANY_NUMBERS_BYTES = 2048  # from this size on, a matrix of numbers is read in less time than lists of them
_FIELDS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_SPLIT, _RECORDS = _FIELDS[:2]
_SPLIT_KEYS = ("columns", "data", "index")


class MlflowFormat(WireFormat):
    """MLflow's JSON: a data frame by rows or by records, or tensors as in TensorFlow Serving."""

    content_type = b"application/json"
    in_steps_from = _LARGE_BODY_BYTES
    large: Sequence[Path] = (
        (_SPLIT, "data"),
        (_SPLIT, "index"),
        (_RECORDS,),
        ("instances",),
        ("instances", "*"),
        ("inputs",),
        ("inputs", "*"),
    )

    def __init__(self) -> None:
        self.numbers = NumberReader()

    def model_in_head(self, head: Head) -> str | None:
        """Returns the reference of the model in the query, or None.

        Raises:
            InvalidRequest: the query has a parameter other than `model`, or two models.
        """
        return model_in_query(head.query) if head.query else None

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a small body; a matrix of plain numbers by the fast reader."""
        if len(body) >= _MANY_NUMBERS_BYTES:
            request = self.numbers.read_request(body, may_name_model=False)
            if request is not None:
                return named, request[1], False, None
        steps, form = self.read_document(parse_small(body), decodes=has_b64(body))
        return named, rows_at_once(steps), b"true" in body or b"false" in body, form

    def read_document(self, document: Any, *, decodes: bool) -> ReadDocument:
        """Returns the steps that read the rows of a document, and the form of the answer, None for the usual one.

        Args:
            document: content of the body; a large array of a large body is a `LargeArray`.
            decodes: True if a cell of a tensor may be a text in base64.

        Raises:
            InvalidRequest: the document is not a request of this format.
        """
        checked_keys(document, (*_FIELDS, "params"))
        form = _form_of(document.get("params"))
        field = only_key(document, _FIELDS)
        value = document[field]
        if field == _SPLIT:
            return _read_split(value), form
        if field == _RECORDS:
            return _read_records(value), form
        return read_tensor(field, value, decodes=decodes), form

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> DocumentReader:
        """Returns a reader of a large body."""
        return DocumentReader(self, body, reference, encoder)

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return MlflowWriter(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes `{"error_code": …, "message": …}`."""
        problem = as_400(problem_of(error))
        body, media_type = mlflow_error(problem, request_id)
        return WrittenError(
            int(problem.status), problem.code, problem.detail, media_type.encode(), body, problem.raw_headers()
        )


def _form_of(params: Any) -> AnswerForm | None:
    """Returns the form of the answer that the parameters ask for; None for the usual one.

    Raises:
        InvalidRequest: there is a parameter other than `members`, or the number is not valid.
    """
    if params in (None, {}):
        return None
    if type(params) is not dict or list(params) != ["members"]:
        raise InvalidRequest("params has to be empty, or has members: how many members of an ensemble answer.")
    return AnswerForm(members=members_of(params["members"]))


def _read_split(frame: Any) -> RowSteps:
    """Reads a data frame in pandas' form "split"; without `columns`, the model's order counts.

    Raises:
        InvalidRequest: the value is not such a data frame.
        RowError: a row is not a list with a value for each column.
    """
    if type(frame) is not dict:
        raise InvalidRequest(f"{_SPLIT} has to be an object with columns and data, not {shown(frame)}.")
    for key in frame:
        if key not in _SPLIT_KEYS:
            raise InvalidRequest(f"{_SPLIT} has the key {shown(key)}; its keys may be {listed(_SPLIT_KEYS)}.")
    data, index = frame.get("data"), frame.get("index")
    if not isinstance(data, list | LargeArray):
        raise InvalidRequest(f"{_SPLIT}.data has to be a list of rows, not {shown(data)}.")
    if index is not None and (not isinstance(index, list | LargeArray) or len(index) != len(data)):
        raise InvalidRequest(f"{_SPLIT}.index has to be a list with a label for each of the {len(data):,} rows.")
    rows = read_array(f"{_SPLIT}.data", data, decodes=False)
    return rows if frame.get("columns") is None else _named(rows, _column_names(frame["columns"]))


def _column_names(columns: Any) -> list[str]:
    """Returns the names of a data frame's columns; pandas numbers columns without names."""
    if type(columns) is not list or not columns:
        raise InvalidRequest(f"{_SPLIT}.columns has to be a list of names.")
    names = []
    for name in columns:
        if type(name) not in (str, int):
            raise InvalidRequest(f"{_SPLIT}.columns: {shown(name)} is not a name.")
        names.append(str(name))
    if len(set(names)) != len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InvalidRequest(f"{_SPLIT}.columns: {shown(twice)} stands twice.")
    return names


def _named(slices: ListSteps, names: Sequence[str]) -> RowSteps:
    """Yields rows as columns by name."""
    first = 0
    for rows in slices:
        if rows is None:
            yield None
            continue
        if isinstance(rows, np.ndarray) and rows.shape[1] == len(names):
            yield NamedColumns(dict(zip(names, rows.T, strict=True)), len(rows), ignores_others=True)
        else:
            yield None  # to make the rows was a step
            listed_rows = rows.tolist() if isinstance(rows, np.ndarray) else rows
            _check_widths(listed_rows, len(names), first)
            columns = map(list, zip(*listed_rows, strict=True))
            yield NamedColumns(dict(zip(names, columns, strict=True)), len(rows), ignores_others=True)
        first += len(rows)


def _check_widths(rows: Sequence[Any], width: int, first: int) -> None:
    """Refuses rows that are no lists, or have another number of values."""
    if set(map(type, rows)) == {list} and set(map(len, rows)) == {width}:
        return
    for number, row in enumerate(rows, first):
        if type(row) is not list:
            raise RowError([Fault(number, None, f"{shown(row)} where a list of {width} values is expected")])
        if len(row) != width:
            values = "1 value" if len(row) == 1 else f"{len(row)} values"
            raise RowError([Fault(number, None, f"{values} where {_SPLIT}.columns names {width}")])


def _read_records(records: Any) -> RowSteps:
    """Reads a data frame in pandas' form "records".

    Raises:
        InvalidRequest: the value is not a list of records.
        RowError: a record is not an object, or has other columns than the first.
    """
    if not isinstance(records, list | LargeArray):
        raise InvalidRequest(f"{_RECORDS} has to be a list of objects, not {shown(records)}.")
    if not len(records):
        raise InvalidRequest(f"{_RECORDS} has no rows.")
    return _columns_of(records)


def _columns_of(records: list[Any] | LargeArray) -> RowSteps:
    """Yields records as columns by name."""
    first = 0
    names: Mapping[str, Any] | None = None
    for chunk in chunks_of(records):
        if chunk is None:
            yield None
            continue
        yield None  # parsing the chunk was a step
        rows = chunk.tolist() if isinstance(chunk, np.ndarray) else chunk
        for number, record in enumerate(rows, first):
            if type(record) is not dict:
                raise RowError([Fault(number, None, f"{shown(record)} where an object by column name is expected")])
            if names is None:
                names = record
            if record.keys() != names.keys():
                raise _other_columns(number, record, names)
        assert names is not None  # noqa: S101 -- no chunk is empty
        if not names:
            raise RowError([Fault(first, None, "an object without columns")])
        by_name = {name: [row[name] for row in rows] for name in names}
        yield None
        yield NamedColumns(by_name, len(rows), ignores_others=True)
        first += len(rows)


def _other_columns(number: int, record: Mapping[str, Any], names: Mapping[str, Any]) -> RowError:
    """Returns the error for a record with other columns than the first record."""
    for name in names:
        if name not in record:
            message = "this column is missing, and record 0 has it; a missing value is null"
            return RowError([Fault(number, sendable(name[:MAX_ECHO]), message)])
    name = next(name for name in record if name not in names)
    return RowError([Fault(number, sendable(name[:MAX_ECHO]), "record 0 does not have this column")])
