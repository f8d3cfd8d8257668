"""The columns of a schema as ONNX inputs and operators: cells in, encoded rows out.

Each column is one input of shape (rows, 1): float64 for numbers, strings for categories, int64 for dates. Numbers alone
may also come as one matrix, since ONNX Runtime takes long to match hundreds of inputs with their names. A graph cannot
raise an error, so cells that the server refuses set a flag of their row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import onnx
from onnx import TensorProto, helper

from conversion.exporting.graph import Graph
from conversion.exporting.onnx_dates import MICROSECONDS_A_DAY, add_circle_points
from models.columns.cell_text import MISSING_TEXTS, category_of
from models.columns.cells import category_numbers
from models.columns.column import FLOAT32_LIMIT, CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.dates import FIRST_DAY, LAST_DAY
from models.columns.gaps import CategoryGaps, NumberGaps

MATRIX = "rows"  # the name of the input with all columns
NO_DATE = -(2**63)  # NumPy's NaT as an integer
_ML = "ai.onnx.ml"


@dataclass(frozen=True)
class EncodedRows:
    """The result of the columns' operators.

    Attributes:
        inputs: descriptions of the graph's inputs, one for each column.
        x: encoded rows, (rows, width) float32.
        refused: flags of rows with a cell that the server refuses, (rows, 1) booleans each.
        unknown: flags of cells with an unknown category that the model answers, (rows, 1) booleans each.
    """

    inputs: list[onnx.ValueInfoProto]
    x: str
    refused: list[str]
    unknown: list[str]


class ColumnsGraph:
    """The operators that encode the columns of a schema."""

    def __init__(self, graph: Graph, columns: Sequence[Column], *, matrix: bool = False) -> None:
        """Prepares the operators.

        Args:
            graph: graph to add to.
            columns: columns of the schema.
            matrix: True for one input with all columns, which are numbers; False for an input for each column.
        """
        self._matrix = matrix
        self._graph = graph
        self._columns = columns
        self._parts: list[str] = []  # (rows, k) float32 each
        self._places: list[int] = []  # positions of the parts' features in an encoded row
        self._refused: list[str] = []
        self._unknown: list[str] = []

    def add(self) -> EncodedRows:
        """Adds the operators and returns the encoded rows."""
        starts = np.cumsum([0, *(column.width for column in self._columns)]).tolist()
        numeric = [(at, c) for at, c in zip(starts, self._columns, strict=False) if isinstance(c, NumericColumn)]
        if numeric:
            self._add_numbers([at for at, _ in numeric], [column for _, column in numeric])
        for at, column in zip(starts, self._columns, strict=False):
            if isinstance(column, CategoricalColumn):
                self._add_category(at, column)
            elif isinstance(column, DateColumn):
                self._add_date(at, column)
        x = self._graph.concat(self._parts)
        if self._places != list(range(len(self._places))):
            order = np.argsort(self._places).astype(np.int64)
            x = self._graph.op("Gather", x, self._graph.constant(order), axis=1)
        inputs = [_matrix_input(self._columns)] if self._matrix else [_input(column) for column in self._columns]
        return EncodedRows(inputs, x, self._refused, self._unknown)

    def _take(self, part: str, places: Sequence[int]) -> None:
        self._parts.append(part)
        self._places += places

    def _add_numbers(self, starts: list[int], columns: list[NumericColumn]) -> None:
        """Adds all columns of numbers at once, since an operator costs the same for one column and for many."""
        graph = self._graph
        cells = MATRIX if self._matrix else graph.concat([column.name for column in columns])  # (rows, columns)
        missing = graph.op("IsNaN", cells)
        gaps = [NumberGaps(column.gaps) for column in columns]
        for row in zip_longest(*(own.numbers for own in gaps), fillvalue=np.nan):  # NaN equals no number
            missing = graph.op("Or", missing, graph.op("Equal", cells, graph.constant(np.array(row, dtype=np.float64))))
        rounded = graph.op("Cast", cells, to=TensorProto.FLOAT) if any(len(own.float32) for own in gaps) else cells
        for row in zip_longest(*(own.float32 for own in gaps), fillvalue=np.nan):
            is_gap = graph.op("Equal", rounded, graph.constant(np.array(row, dtype=np.float32)))
            missing = graph.op("Or", missing, is_gap)
        shifted = cells
        if any(column.origin for column in columns):
            shifted = graph.op("Sub", cells, graph.constant(np.array([column.origin for column in columns])))
        fill = graph.constant(np.array([column.shift for column in columns], dtype=np.float64))
        filled = graph.op("Where", missing, fill, shifted)
        sound = graph.op("Less", graph.op("Abs", filled), graph.constant(np.float64(FLOAT32_LIMIT)))
        refused = graph.op("Not", sound)
        refuses = np.array([column.missing == "refuse" for column in columns])
        if refuses.any():
            refused = graph.op("Or", refused, graph.op("And", missing, graph.constant(refuses)))
        self._refused.append(graph.any_of_row(refused))
        self._take(graph.op("Cast", filled, to=TensorProto.FLOAT), starts)
        flagged = [i for i, column in enumerate(columns) if column.missing == "indicator"]
        if flagged:
            flags = graph.op("Gather", missing, graph.constant(np.array(flagged, dtype=np.int64)), axis=1)
            self._take(graph.op("Cast", flags, to=TensorProto.FLOAT), [starts[i] + 1 for i in flagged])

    def _add_category(self, at: int, column: CategoricalColumn) -> None:
        graph, known = self._graph, len(column.categories)
        unknown, missing = known, known + 1  # in place of the position of a category
        positions = spellings(column)
        index = graph.op(
            "LabelEncoder",
            column.name,
            domain=_ML,
            keys_strings=list(positions),
            values_int64s=[missing if position is None else position for position in positions.values()],
            default_int64=unknown,
        )
        is_unknown = graph.op("Equal", index, graph.constant(np.int64(unknown)))
        (self._refused if column.unknown == "refuse" else self._unknown).append(is_unknown)
        if column.missing == "refuse":
            self._refused.append(graph.op("Equal", index, graph.constant(np.int64(missing))))
        if column.encoding == "one_hot":
            flags = graph.op("Equal", index, graph.constant(np.arange(known)))
            self._take(graph.op("Cast", flags, to=TensorProto.FLOAT), range(at, at + known))
        else:
            numbers = np.array([*category_numbers(column), 0.0, 0.0], dtype=np.float32)
            self._take(graph.op("Gather", graph.constant(numbers), index, axis=0), [at])

    def _add_date(self, at: int, column: DateColumn) -> None:
        graph, moments = self._graph, column.name  # (rows, 1) microseconds since 1970
        first, end = (graph.constant(np.int64(int(day) * MICROSECONDS_A_DAY)) for day in (FIRST_DAY, LAST_DAY))
        missing = graph.op("Equal", moments, graph.constant(np.int64(NO_DATE)))
        for gap in column.gaps:
            moment = np.int64(round(gap * MICROSECONDS_A_DAY))
            missing = graph.op("Or", missing, graph.op("Equal", moments, graph.constant(moment)))
        beyond = graph.op("Or", graph.op("Less", moments, first), graph.op("GreaterOrEqual", moments, end))
        if column.missing != "refuse":
            beyond = graph.op("And", beyond, graph.op("Not", missing))
        elif column.gaps:
            beyond = graph.op("Or", beyond, missing)
        self._refused.append(beyond)  # NaT is before the first moment
        microseconds = graph.op("Cast", moments, to=TensorProto.DOUBLE)
        days = graph.op("Div", microseconds, graph.constant(np.float64(MICROSECONDS_A_DAY)))
        days = graph.op("Where", missing, graph.constant(np.float64(column.fill)), days)
        elapsed = graph.op("Sub", days, graph.constant(np.float64(column.origin)))
        parts = [graph.op("Cast", elapsed, to=TensorProto.FLOAT)]
        parts += [add_circle_points(graph, part, moments, missing) for part in column.parts]
        if column.missing == "indicator":
            parts.append(graph.op("Cast", missing, to=TensorProto.FLOAT))
        self._take(graph.concat(parts), range(at, at + column.width))


def spellings(column: CategoricalColumn) -> dict[str, int | None]:
    """Returns the position of the category for each text that a graph can look up; None for a missing cell.

    A graph cannot normalise a text, so that the usual spellings of a category are keys of their own: `true`, `True` and
    `TRUE`, `3` and `3.0`. The order of precedence is that of `models.columns.cells.category_finder`.
    """
    found: dict[str, int | None] = {category: i for i, category in enumerate(column.categories)}
    for i, category in enumerate(column.categories):
        if (spelled := category_of(category)) is not None:
            found.setdefault(spelled, i)
    known = dict(found)
    position = None if column.fill is None else found[column.fill]
    for text in (*MISSING_TEXTS, *column.gaps):
        found.setdefault(text, position)
    for text in sorted(CategoryGaps(column.gaps).texts):
        found.setdefault(text, position)
        known[text] = position
    for text, position in known.items():
        for other in (text.capitalize(), text.upper(), f"{text}.0"):
            if category_of(other) == text:
                found.setdefault(other, position)
    return found


def _matrix_input(columns: Sequence[Column]) -> onnx.ValueInfoProto:
    """Describes the input with all columns."""
    names = ", ".join(column.name for column in columns)
    about = f"numbers in the order of the columns, NaN for a gap: {names}"
    return helper.make_tensor_value_info(MATRIX, TensorProto.DOUBLE, ["rows", len(columns)], doc_string=about)


def _input(column: Column) -> onnx.ValueInfoProto:
    """Describes the input of a column."""
    if isinstance(column, NumericColumn):
        kind, about = TensorProto.DOUBLE, "number, NaN for a gap"
    elif isinstance(column, CategoricalColumn):
        kind, about = TensorProto.STRING, "category as text, an empty text for a gap"
    else:
        kind = TensorProto.INT64
        about = f"microseconds since 1970-01-01T00:00Z (NumPy's datetime64[us] as int64), {NO_DATE} (NaT) for a gap"
    is_filled = isinstance(column, CategoricalColumn) and column.fill is not None
    gap = "refused" if column.missing == "refuse" and not is_filled else "answered"
    about += f"; a gap is {gap}"
    if isinstance(column, CategoricalColumn):
        about += f"; an unknown category is {'refused' if column.unknown == 'refuse' else 'answered'}"
    return helper.make_tensor_value_info(column.name, kind, ["rows", 1], doc_string=about)
