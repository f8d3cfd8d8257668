"""The schema of a stream: where in each batch the columns of a model are, and of which types."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from service.arrow.flat_reader import Malformed, Table
from service.arrow.types import ArrowType, Meaning, Unread, arrow_type, buffers_of, integer_type, type_name

_STEP_FIELDS = 64  # fields that are read in one step, in about half a millisecond


@dataclass(frozen=True, slots=True)
class StreamColumn:
    """A column of a stream that the model has.

    Attributes:
        name: name of the model's column.
        kind: type of the cells; None if the type is not read.
        type_name: name of the type in messages.
        node: position of the column among the nodes of a batch.
        buffer: position of the first buffer of the column, without the buffers of views before.
        views: number of columns of views before, whose numbers of buffers differ from batch to batch.
        dictionary: identifier of the dictionary; None for a column without one.
        codes: element type of the codes of a dictionary, or of the ends of runs.
        values: type of the values of runs; None for other columns.
    """

    name: str
    kind: ArrowType | None
    type_name: str
    node: int
    buffer: int
    views: int
    dictionary: int | None = None
    codes: np.dtype[np.generic] | None = None
    values: ArrowType | None = None


@dataclass(frozen=True, slots=True)
class StreamSchema:
    """The part of a stream's schema that a model needs.

    Attributes:
        columns: columns that the model has, in the order of the stream.
        names: the first names of all columns of the stream.
        nodes: number of nodes of a batch.
        buffers: number of buffers of a batch, without those of views.
        views: number of columns of views.
    """

    columns: tuple[StreamColumn, ...]
    names: tuple[str, ...]
    nodes: int
    buffers: int
    views: int


def read_schema(
    schema: Table, find_name: Callable[[str], str | None], version: int
) -> Generator[None, None, StreamSchema]:
    """Reads a schema in steps.

    Args:
        schema: table of the schema.
        find_name: function that returns the model's column that a name means, or None.
        version: version of the metadata.

    Returns:
        The schema, as the generator's value.

    Raises:
        Malformed: the schema is not valid, or of a machine with another byte order.
    """
    if schema.short(0):
        raise Malformed("its numbers are big-endian, and only little-endian ones are read")
    columns: list[StreamColumn] = []
    names: list[str] = []
    nodes = buffers = views = 0
    left = _STEP_FIELDS
    for place in schema.tables(1):
        field = schema.at(place)
        name = field.text(0)
        if len(names) < _STEP_FIELDS:
            names.append(name)
        if (found := find_name(name)) is not None:
            columns.append(_column(field, found, nodes, buffers, views))
        waiting = [field]
        while waiting:  # children in any order, since only their numbers of nodes and buffers count
            one = waiting.pop()
            more, seen = _size(one, version, waiting)
            nodes, buffers, views = nodes + 1, buffers + more, views + seen
            left -= 1
            if not left:
                left = _STEP_FIELDS
                yield
    return StreamSchema(tuple(columns), tuple(names), nodes, buffers, views)


def _size(field: Table, version: int, waiting: list[Table]) -> tuple[int, int]:
    """Returns the numbers of buffers and of views of a field, and adds the field's children to those that wait."""
    if field.table(4) is not None:  # a dictionary: the batch has the codes
        return 2, 0
    waiting += [field.at(child) for child in field.tables(5)]
    return buffers_of(field, type_name(field), version)


def _column(field: Table, name: str, node: int, buffer: int, views: int) -> StreamColumn:
    """Returns a column that the model has."""
    kind, values, codes = None, None, None
    dictionary = field.table(4)
    try:
        kind = arrow_type(field)
        called = kind.name
        if kind.meaning is Meaning.RUNS:
            codes, values = _runs(field)
            called = f"run_end_encoded({values.name})"
            if dictionary is not None:
                raise Unread(f"dictionary({called})")
    except Unread as unread:
        kind, called = None, str(unread)
    if dictionary is None:
        return StreamColumn(name, kind, called, node, buffer, views, codes=codes, values=values)
    about = dictionary.table(1)
    codes = np.dtype("<i4") if about is None else integer_type(about)
    return StreamColumn(name, kind, f"dictionary({called})", node, buffer, views, dictionary.long(0), codes)


def _runs(field: Table) -> tuple[np.dtype[np.generic], ArrowType]:
    """Returns the element type of the ends of runs, and the type of their values."""
    children: Sequence[Table] = [field.at(place) for place in field.tables(5)[:2]]
    if len(children) < 2 or type_name(children[0]) != "integer":
        raise Malformed("a column of runs does not say where they end")
    values = arrow_type(children[1])
    if children[1].table(4) is not None or values.meaning is Meaning.RUNS:
        raise Unread(f"run_end_encoded(dictionary({values.name}))")
    return integer_type(children[0].needed(3)), values
