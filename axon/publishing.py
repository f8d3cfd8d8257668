"""Publishing a model that was made elsewhere: of torch, of scikit-learn, or an ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from axon.loading import store_of
from conversion.importing.affine_features import NumberStatistics
from conversion.importing.agreement import agreed
from conversion.importing.imported_model import ImportedModel, ImportRefused, Row
from models.alias_file import LATEST, is_alias
from models.checkpoint import Checkpoint
from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.frame_rows import is_arrow, rows_of
from models.columns.labels import Label
from models.columns.schema import ClassTarget, NumericTarget, Schema, ValuesTarget
from models.errors import InvalidName
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.network.config import Task

_COLUMN_TYPES = (NumericColumn, CategoricalColumn, DateColumn)


def publish(
    model: Any,
    *,
    name: str,
    columns: Sequence[str] | Sequence[Column] | None = None,
    labels: Sequence[Label] | None = None,
    target: str | Sequence[str] | ClassTarget | NumericTarget | ValuesTarget = "target",
    rows: Any = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    activation: str = "relu",
    layer_sizes: Sequence[int] | None = None,
    task: Task | None = None,
    output: str | None = None,
    alias: str | None = None,
    store: ModelStore | Path | str | None = None,
) -> ModelVersion:
    """Publishes a model that was made elsewhere, after a check that Axon's network answers as the model does.

    Both answer 1,000 rows, or up to 10,000 of `rows`, before anything is published. Probabilities may differ by 1e-6,
    values by 1e-5 of the spread of their target.

    Args:
        model: torch module; state dict, or path of its `.safetensors` file; fitted model of scikit-learn; or ONNX
            model, or path of its `.onnx` file.
        name: name to publish under.
        columns: names of the columns in the model's order, or columns of Axon's for a torch module that takes encoded
            rows. If None: the names with which scikit-learn trained the model, or the columns of `rows`.
        labels: labels of a torch module's outputs, in order, or two for one output; None for a regression.
            scikit-learn's models know their labels.
        target: name of the target; names of several, in the order of the model's values; or the target itself.
        rows: data frame, array or list of real rows, to compare the answers on and to describe the columns; rows are
            drawn if None.
        mean: number for each column that was subtracted before a torch module took the rows, as in `(x - mean)/std`; 0
            if None.
        std: number for each column by which the difference was divided; 1 if None.
        activation: function between the layers of a state dict.
        layer_sizes: widths of a state dict's layers, from input to output, for a check; unchecked if None.
        task: `classification` or `regression`, where an ONNX graph leaves this open; None otherwise.
        output: output of an ONNX graph to answer, if there are several; None otherwise.
        alias: alias to point at the new version; none if None.
        store: store, path of its folder, or URL such as `s3://BUCKET/PREFIX`; AXON_STORE, else `checkpoints`, if None.

    Raises:
        ImportRefused: The model is not an MLP or a linear model; the message names the layer or the step.
        Disagreement: An answer differs; the message has the row that differs most.
        RowError: Cells of `rows` are not valid; the message names row and column.
        StoreError: The name is not valid, or the store cannot be written.
    """
    opened = store_of(store)
    opened.try_publishing(name)
    if alias is not None and (not is_alias(alias) or alias == LATEST):
        raise InvalidName(f"alias= {alias!r:.100} cannot be an alias: letters, digits, . _ - after a letter.")
    request = _Request(columns=columns, labels=labels, target=target, rows=rows, mean=mean, std=std)
    if _is_onnx(model):
        checkpoint = request.onnx_checkpoint(model, task, output, name)
    elif task is not None or output is not None:
        raise ImportRefused("task= and output= are for ONNX graphs.")
    else:
        is_torch = isinstance(model, str | Path) or _is_torch(model)
        imported = request.torch_model(model, activation, layer_sizes) if is_torch else request.sklearn_model(model)
        found = agreed(imported, request.sample(imported.schema), name=name)
        if found.note:
            warnings.warn(found.note, stacklevel=2)
        checkpoint = found.checkpoint
    published = opened.publish(name, checkpoint)
    if alias is not None:
        opened.set_alias(name, alias, published.version)
    return published


def _is_onnx(model: Any) -> bool:
    """Returns True for an ONNX model and for the path of one, without importing ONNX."""
    if isinstance(model, str | Path):
        return Path(model).suffix.lower() == ".onnx"
    return type(model).__name__ == "ModelProto" and type(model).__module__.partition(".")[0] in ("onnx", "google")


def _is_torch(model: Any) -> bool:
    """Returns True for a module or a state dict, without importing torch."""
    if isinstance(model, Mapping):
        return True
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(model).__mro__)


class _Request:
    """The arguments of `publish` that say what a model's columns and answers are."""

    def __init__(
        self,
        *,
        columns: Sequence[Any] | None,
        labels: Sequence[Label] | None,
        target: str | Sequence[str] | ClassTarget | NumericTarget | ValuesTarget,
        rows: Any,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        if isinstance(columns, str):
            raise ImportRefused(f"columns= is a list of names, and not the text {columns!r}.")
        self._columns = None if columns is None else list(columns)
        self._labels = labels
        self._target = target
        self._rows = rows
        self._mean, self._std = mean, std
        self._names: Sequence[str] = ()

    def sample(self, schema: Schema) -> list[Row] | None:
        """Returns the rows that the user gave, with the columns of the model's schema; None without such rows."""
        if self._rows is None:
            return None
        places = [self._names.index(name) for name in schema.names]
        ordered = _in_order(self._rows, self._names, schema.categorical, schema.numeric)
        return [[row[place] for place in places] for row in ordered]

    def sklearn_model(self, model: Any) -> ImportedModel:
        """Imports a model of scikit-learn."""
        from conversion.importing.sklearn_model import import_sklearn, is_sklearn, names_of

        if not is_sklearn(model):
            raise ImportRefused(
                f"a {type(model).__name__} is no model that Axon can import: it takes torch modules, state dicts, "
                ".safetensors files and fitted models of scikit-learn."
            )
        for argument, value in (("labels", self._labels), ("mean", self._mean), ("std", self._std)):
            if value is not None:
                raise ImportRefused(f"{argument}= is for torch modules; a model of scikit-learn knows it.")
        target = self._target_names()
        if target is None:
            raise ImportRefused("target= is the name of the target for a model of scikit-learn.")
        if any(not isinstance(column, str) for column in self._columns or ()):
            raise ImportRefused("columns= are names for a model of scikit-learn, whose pipeline knows the rest.")
        self._names = names = names_of(model, self._columns or self._names_of_rows(), told=self._columns is not None)
        return import_sklearn(
            model, names=names, target=target, sample=self._statistics(names), truth=self._truth(names)
        )

    def onnx_checkpoint(self, model: Any, task: Task | None, output: str | None, name: str) -> Checkpoint:
        """Imports an ONNX graph, and compares the network with the graph."""
        from conversion.importing.onnx_agreement import agreed_onnx
        from conversion.importing.onnx_model import read_onnx

        for argument, value in (("mean", self._mean), ("std", self._std)):
            if value is not None:
                raise ImportRefused(f"{argument}= is for torch modules; an ONNX graph scales its columns.")
        target = self._target_names()
        if target is None or any(not isinstance(column, str) for column in self._columns or ()):
            raise ImportRefused("target= and columns= are names for an ONNX graph, which knows the rest.")
        told: dict[str, Any] = {"labels": self._labels, "task": task, "output": output}
        told["target"] = None if target == "target" else target
        read = read_onnx(model, columns=self._columns, **told)
        if self._columns is None and read.has_made_up_names and (names := self._names_of_rows()):
            self._columns = names
            read = read_onnx(model, columns=names, **told)
        self._names = [column for given in read.inputs for column in given.columns]
        if self._rows is not None:
            sample = self._statistics(self._names)
            read = read_onnx(model, columns=self._columns, **told, sample=sample)
        compared = agreed_onnx(read, self.sample(read.imported.schema), name=name)
        if compared.note:
            warnings.warn(compared.note, stacklevel=3)
        return compared.agreement.checkpoint

    def torch_model(self, model: Any, activation: str, layer_sizes: Sequence[int] | None) -> ImportedModel:
        """Imports a module or a state dict of torch."""
        from conversion.importing.torch_model import import_torch
        from conversion.importing.torch_state import is_state_dict, module_of, read_state_dict

        source: dict[str, Any] = {}
        if isinstance(model, str | Path):
            source = {"imported_from": Path(model).name}
            model = read_state_dict(Path(model))
        if isinstance(model, Mapping):
            if not is_state_dict(model):
                raise ImportRefused("the mapping is no state dict: its keys are names, and its values tensors.")
            source = {"imported_from": "state dict", **source}
            model = module_of(model, activation=activation, layer_sizes=layer_sizes)
        columns = self._torch_columns()
        self._names = [column.name for column in columns]
        return import_torch(model, columns=columns, target=self._target, labels=self._labels, source=source)

    def _target_names(self) -> str | list[str] | None:
        """Returns the name of the target, or the names of several; None for a target of Axon's."""
        if isinstance(self._target, str) or not isinstance(self._target, Sequence):
            return self._target if isinstance(self._target, str) else None
        names = list(self._target)
        return names if names and all(isinstance(name, str) for name in names) else None

    def _torch_columns(self) -> list[Column]:
        given = self._columns or self._names_of_rows()
        if not given:
            raise ImportRefused("a torch module does not know its columns: name them with columns=[…], or give rows=.")
        if all(isinstance(column, _COLUMN_TYPES) for column in given):
            if self._mean is not None or self._std is not None:
                raise ImportRefused("mean= and std= are for columns given by name; a column of Axon's has its own.")
            return cast(list[Column], given)
        if not all(isinstance(column, str) for column in given):
            raise ImportRefused("columns= are all names, or all columns of Axon's.")
        mean = self._numbers("mean", self._mean, len(given), 0.0)
        std = self._numbers("std", self._std, len(given), 1.0)
        known = self._statistics(given)
        columns: list[Column] = []
        for place, column in enumerate(given):
            center, scale = mean[place], std[place]
            if not scale > 0:
                raise ImportRefused(f"std= of column {column!r} must be above 0, got {scale!r}.")
            own = known.get(column) or NumberStatistics(mean=center, std=scale, minimum=None, maximum=None)
            columns.append(
                NumericColumn(
                    name=column,
                    mean=own.mean,
                    std=own.std,
                    minimum=own.minimum,
                    maximum=own.maximum,
                    center=None if own.mean == center else center,
                    scale=None if own.std == scale else scale,
                )
            )
        return columns

    def _numbers(self, argument: str, given: Any, count: int, otherwise: float) -> list[float]:
        numbers = np.asarray(otherwise if given is None else given, dtype=np.float64)
        if numbers.shape not in ((), (count,)):
            raise ImportRefused(f"{argument}= has the shape {numbers.shape}, and there are {count} columns.")
        return [float(number) for number in np.broadcast_to(numbers, (count,))]

    def _names_of_rows(self) -> list[str] | None:
        named = self._rows.column_names if is_arrow(self._rows) else getattr(self._rows, "columns", None)
        return None if named is None else [str(name) for name in named]

    def _truth(self, names: Sequence[str]) -> list[str]:
        """Returns the columns of `rows` that hold true and false only, gaps aside."""
        if self._rows is None:
            return []
        columns = zip(names, zip(*_in_order(self._rows, names), strict=True), strict=True)
        return [name for name, cells in columns if {type(cell) for cell in cells} - {type(None)} == {bool}]

    def _statistics(self, names: Sequence[str]) -> dict[str, NumberStatistics]:
        """Returns the statistics of the columns of `rows` that hold numbers only, gaps aside.

        Truth values of a frame are 1 and 0, as in `rows_of` for a column of numbers.
        """
        if self._rows is None:
            return {}
        known: dict[str, NumberStatistics] = {}
        ordered = _in_order(self._rows, names, numeric=names)
        for name, cells in zip(names, zip(*ordered, strict=True), strict=False):
            present = [cell for cell in cells if cell is not None]
            if not present or not all(type(cell) in (int, float) for cell in present):
                continue
            values = np.array(present, dtype=np.float64)
            spread = float(values.std())
            known[name] = NumberStatistics(
                mean=float(values.mean()),
                std=spread if spread > 0 else 1.0,
                minimum=float(values.min()),
                maximum=float(values.max()),
            )
        return known


def _in_order(
    rows: Any, names: Sequence[str], categorical: Collection[str] = (), numeric: Collection[str] = ()
) -> list[Row]:
    """Returns rows as lists of cells in the order of the names.

    Args:
        rows: rows of the user.
        names: names of the columns.
        categorical: names of the columns of categories, in which short floats are spelled as training spells them.
        numeric: names of the columns of numbers, in which truth values of a frame are 1 and 0.
    """
    ordered = []
    for place, row in enumerate(rows_of(rows, names, categorical=categorical, numeric=numeric)):
        if isinstance(row, Mapping):
            if lacking := [name for name in names if name not in row]:
                raise ImportRefused(f"row {place} of rows= lacks column {lacking[0]!r}.")
            row = [row[name] for name in names]
        if not isinstance(row, list) or len(row) != len(names):
            raise ImportRefused(f"row {place} of rows= is not a row of {len(names)} cells.")
        ordered.append(row)
    if not ordered:
        raise ImportRefused("rows= has no row.")
    return ordered
