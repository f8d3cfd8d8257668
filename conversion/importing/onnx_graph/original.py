"""The foreign model's own answers: ONNX Runtime runs the graph, or ONNX's reference if that is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain, count
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from conversion.importing.affine_features import TableColumns
from conversion.importing.imported_model import ImportRefused, Row
from conversion.importing.onnx_graph.double import in_double, run_in_double
from conversion.importing.onnx_graph.graph import GraphInput
from models.columns.cell_text import category_of
from models.columns.column import CategoricalColumn, Column

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], Array]
Form = Literal["probabilities", "logarithms", "second_probability", "logits", "logit", "scores", "value"]

_RUNTIME, _REFERENCE = "ONNX Runtime", "the reference implementation of ONNX"
_UNKNOWN_NUMBER = 987_654_321  # for a category that the model does not know, among whole numbers


@dataclass(frozen=True, kw_only=True)
class Original:
    """A function that asks the graph for its answers to rows of cells.

    Attributes:
        model: model with the nodes that the answers need, and no others.
        tensor: name of the tensor with the answers.
        form: form of these answers.
        inputs: inputs of the graph.
        table: columns of the table, as the graph's operators read them.
        columns: columns of a row's cells, in order.
    """

    model: onnx.ModelProto
    tensor: str
    form: Form
    inputs: Sequence[GraphInput]
    table: TableColumns
    columns: Sequence[Column]
    _run: list[Run] = field(default_factory=list)

    @property
    def engine(self) -> str:
        """Name of the program that runs the graph."""
        runtime = _runtime()
        return f"{_REFERENCE} {onnx.__version__}" if runtime is None else f"{_RUNTIME} {runtime.__version__}"

    def __call__(self, rows: Sequence[Row]) -> Array:
        """Returns the answers to rows of cells, float64 `(rows, outputs)`.

        Args:
            rows: rows with the cells of `columns`.
        """
        feeds = self._feeds(rows)
        if not self._run:
            self._run.append(_runner(self.model, self.tensor))
        run, batch = self._run[0], next((given.batch for given in self.inputs if given.batch is not None), None)
        if batch is None:
            answers = np.asarray(run(feeds), dtype=np.float64)
        else:
            answers = np.concatenate(
                [
                    np.asarray(run(_part(feeds, at, batch)), dtype=np.float64).reshape(batch, -1)
                    for at in range(0, len(rows), batch)
                ]
            )[: len(rows)]
        return _answers(answers.reshape(len(rows), -1), self.form)

    def in_double(self, rows: Sequence[Row]) -> Array:
        """Returns the answers that the graph gives in 64-bit numbers, float64 `(rows, outputs)`.

        Args:
            rows: rows with the cells of `columns`.
        """
        model = in_double(self.model)
        answers = run_in_double(model, self.tensor, self._feeds(rows))
        return _answers(np.asarray(answers, dtype=np.float64).reshape(len(rows), -1), self.form)

    def _feeds(self, rows: Sequence[Row]) -> dict[str, Array]:
        cells = {column.name: [row[place] for row in rows] for place, column in enumerate(self.columns)}
        feeds = {}
        for given in self.inputs:
            kind = onnx.helper.tensor_dtype_to_np_dtype(given.element)
            columns = [self._column(cells.get(name), name, kind, len(rows)) for name in given.columns]
            feeds[given.name] = np.column_stack(columns).reshape(len(rows), *given.dims)
        return feeds

    def _column(self, cells: list[Any] | None, name: str, kind: np.dtype[Any], rows: int) -> Array:
        is_text = kind.kind in "OUS"
        if cells is None:  # the model does not read the column
            return np.full(rows, "" if is_text else 0, dtype=object if is_text else kind)
        if self.table.kind_of(name) == "category":
            values = self.table.values(name)
            mark = self.table.gap_mark(name)
            needs_unknown = not is_text and any(category_of(cell) not in values for cell in cells)
            unknown = _unknown_number(values.values(), kind, name) if needs_unknown else None
            # A graph of numbers has no mark of a gap: Axon's gap has no category, as an unknown number has none.
            missing = mark if isinstance(mark, str) else "" if is_text else unknown
            fill = next((c.fill for c in self.columns if c.name == name and isinstance(c, CategoricalColumn)), None)
            stands_for_gap = fill if isinstance(fill, str) and fill not in values else None
            cells = [_category(cell, values, missing, stands_for_gap, unknown) for cell in cells]
        if is_text:
            return np.array([str(cell) for cell in cells], dtype=object)
        if kind.kind == "b":
            return np.array([category_of(cell) == "true" for cell in cells])
        numbers = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
        if kind.kind == "f":
            with np.errstate(over="ignore"):
                return numbers.astype(kind)
        if not np.array_equal(numbers, np.rint(numbers)):
            raise ImportRefused(f"column {name!r} of the graph takes whole numbers only.")
        return numbers.astype(kind)


def whole_limits(kind: np.dtype[Any]) -> tuple[float, float]:
    """Returns the least and the greatest float64 number that a type of whole numbers holds."""
    info = np.iinfo(kind)
    least, most = float(info.min), float(info.max)
    return least, most if most <= info.max else float(np.nextafter(most, 0))


def _unknown_number(values: Iterable[Any], kind: np.dtype[Any], name: str) -> int:
    """Returns a number of a type that is none of a column's categories.

    Raises:
        ImportRefused: The type has no other number.
    """
    known = set(values)
    if kind.kind not in "iu":
        return next(number for number in count(_UNKNOWN_NUMBER) if number not in known)
    info = np.iinfo(kind)
    candidates = chain([_UNKNOWN_NUMBER], range(int(info.max), int(info.min) - 1, -1))
    for number in candidates:
        if info.min <= number <= info.max and number not in known:
            return number
    raise ImportRefused(f"column {name!r} of the graph has all numbers of its type as categories: make the type wider.")


def _category(cell: Any, values: Mapping[str, Any], missing: Any, stands_for_gap: str | None, unknown: Any) -> Any:
    """Returns the graph's value of a cell of categories; an unknown text stays unchanged."""
    text = category_of(cell)
    if text is None or text == stands_for_gap:
        return missing
    if text in values:
        return values[text]
    return cell if unknown is None else unknown


def _part(feeds: Mapping[str, Array], at: int, batch: int) -> dict[str, Array]:
    """Returns one batch of rows; the last row fills an incomplete batch."""
    parts = {}
    for name, array in feeds.items():
        part = array[at : at + batch]
        parts[name] = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
    return parts


def _answers(given: Array, form: Form) -> Array:
    match form:
        case "logarithms":
            return np.exp(given)
        case "second_probability":
            return np.column_stack([1 - given[:, 0], given[:, 0]])
        case "logits":
            shares = np.exp(given - given.max(axis=1, keepdims=True))
            probabilities: Array = shares / shares.sum(axis=1, keepdims=True)
            return probabilities
        case "logit":
            second = 0.5 * (1 + np.tanh(0.5 * given[:, 0]))
            return np.column_stack([1 - second, second])
        case _:
            return given


def reduced(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], tensor: str) -> onnx.ModelProto:
    """Returns the model with some nodes and one output, so that nothing else of the file is ever run.

    Args:
        model: model of the file.
        nodes: nodes that the output needs.
        tensor: name of the output.
    """
    made = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    made.opset_import.extend({o.domain: o for o in model.opset_import}.values())
    used = {name for node in nodes for name in node.input} | {tensor}
    made.graph.name = "imported"
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(one for one in model.graph.initializer if one.name in used)
    constants = {one.name for one in model.graph.initializer}
    made.graph.input.extend(one for one in model.graph.input if one.name not in constants)
    made.graph.output.append(onnx.ValueInfoProto(name=tensor))
    return made


def _runtime() -> Any:
    """Returns the module of ONNX Runtime; None if ONNX Runtime, which no extra of Axon has, is not installed."""
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError:
        return None


def _runner(model: onnx.ModelProto, tensor: str) -> Run:
    runtime = _runtime()
    if runtime is None:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(model)
        return lambda feeds: _first(evaluator.run([tensor], dict(feeds)))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: _first(session.run([tensor], dict(feeds)))


def _first(results: Any) -> Array:
    return np.asarray(results[0])
