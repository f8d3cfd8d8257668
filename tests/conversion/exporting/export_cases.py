"""Models to export, rows, and the answers of the server's own code: the oracle of the tests of exports."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from conversion.exporting.export import export_model
from conversion.exporting.source_model import SourceModel
from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.cell_text import is_missing
from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.dates import parse
from models.columns.schema import ClassTarget, NumericTarget, Schema, Target, ValuesTarget
from models.errors import RowError
from models.network.architecture import Architecture
from models.network.config import MLPConfig
from models.network.inputs import InputConfig

NO_DATE = np.iinfo(np.int64).min
KINDS = ClassTarget(name="kind", labels=("red", "green", "blue"))
PRICE = NumericTarget(name="price", mean=250, std=90, minimum=50, maximum=900)
VISITS = NumericTarget(name="visits", mean=0, std=7.5, minimum=0, maximum=60)
FAR_PRICE = NumericTarget(name="price", mean=1.7e9 + 3, std=20, minimum=1.7e9 - 60, maximum=1.7e9 + 70, origin=1.7e9)


def number(name: str, **options: Any) -> NumericColumn:
    return NumericColumn(**{"name": name, "mean": 3.0, "std": 2.0, "minimum": -5, "maximum": 9, **options})


def day(name: str, **options: Any) -> DateColumn:
    """Returns a column of dates with an origin, as training gives each such column."""
    usual = {
        "mean": 19_000.0,
        "std": 300.0,
        "minimum": 18_000.0,
        "maximum": 20_000.0,
        "missing": "indicator",
        "origin": 19_000.25,
    }
    return DateColumn(**{"name": name, **usual, **options})


def mixed_columns() -> tuple[Column, ...]:
    """Returns columns of every kind and treatment, with a number of features that do not stand in groups."""
    return (
        number("age", missing="indicator", gaps=(-99.0, 1e20)),
        CategoricalColumn(
            name="town",
            categories=("Ulm", "Bonn", "é", "true", "3"),
            unknown="ignore",
            missing="ignore",
            gaps=("?", "-9"),
        ),
        number("height", center=2.5, scale=0.7, missing="mean", gaps=(0.0,)),
        day(
            "joined",
            parts=("month", "day", "weekday", "hour"),
            origin=18_900.25,
            center=18_950.5,
            scale=211.0,
            gaps=(0.0, 11_111.5),
        ),
        CategoricalColumn(
            name="member", categories=("false", "true"), encoding="sign", unknown="ignore", missing="ignore"
        ),
        number("stamp", mean=1.7e9 + 5, std=40, minimum=1.7e9 - 90, maximum=1.7e9 + 90, origin=1.7e9),
        CategoricalColumn(name="class", categories=("a", "b b", 'c"', "d'")),
        day("left", parts=("day", "month"), form="%d/%m/%Y", missing="mean"),
        number("x"),
        day("seen", parts=("hour",), form="epoch-seconds", missing="refuse"),
    )


def embedded_columns() -> tuple[Column, ...]:
    """Returns columns in the encoding of the default recipe: a look-up of categories."""
    return (
        number("age", missing="indicator", center=2.0, scale=1.3),
        CategoricalColumn(name="town", categories=("Ulm", "Bonn", "Kiel"), encoding="index", unknown="ignore"),
        day("joined", parts=("weekday", "month")),
        CategoricalColumn(
            name="colour", categories=("r", "g", "b", "w"), encoding="index", unknown="ignore", missing="ignore"
        ),
        number("weight", missing="mean"),
    )


def inputs_of(columns: Sequence[Column], **options: Any) -> InputConfig:
    """Returns the input stage for columns."""
    features = [feature for column in columns for feature in column.features]
    places = {kind: tuple(i for i, f in enumerate(features) if f.kind == kind) for kind in ("number", "flag", "index")}
    return InputConfig(
        numbers=places["number"],
        flags=places["flag"],
        indices=places["index"],
        categories=tuple(features[i].categories for i in places["index"]),
        **options,
    )


def made(columns: Sequence[Column], target: Target, *hidden: int, seed: int = 0, **architecture: Any) -> Checkpoint:
    """Makes a checkpoint with weights that are drawn from a seed, so that layers keep their variance."""
    schema = Schema(columns=tuple(columns), target=target)
    classes = 1 if architecture.get("output") == "step" or not isinstance(target, ClassTarget) else len(target.labels)
    out = len(schema.values) or classes
    architecture.setdefault("output", "softmax" if isinstance(target, ClassTarget) else "linear")
    return with_weights(MLPConfig(layer_sizes=(schema.width, *hidden, out), **architecture), schema, seed)


def with_weights(config: Architecture, schema: Schema, seed: int = 0) -> Checkpoint:
    """Makes a checkpoint of an architecture, with weights that are drawn from a seed."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.tensor_shapes().items():
        scale = 1.0 if name.startswith("inputs") else np.sqrt(1 / shape[-1]) if len(shape) > 1 else 0.3
        tensors[name] = (rng.normal(size=shape) * scale).astype(np.float32)
        if "running_var" in name or name.startswith("norms") or name == "inputs.scale.weight":
            tensors[name] = rng.uniform(0.5, 2, shape).astype(np.float32)
    return Checkpoint(config=config, schema=schema, tensors=tensors)


def random_cell(column: Column, rng: np.random.Generator) -> Any:
    """Draws a cell: mostly usual, sometimes a gap, an unknown category or an extreme."""
    dice = rng.random()
    if dice < 0.05 and column.missing != "refuse":
        return None
    if dice < 0.1 and column.gaps:
        gap = column.gaps[int(rng.integers(len(column.gaps)))]
        is_date = isinstance(column, DateColumn)
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=float(gap))).isoformat() if is_date else gap
    if isinstance(column, CategoricalColumn):
        unknown = dice > 0.95 and column.unknown == "ignore"
        return "never seen" if unknown else str(rng.choice(column.categories))
    if isinstance(column, NumericColumn):
        return float(rng.normal(column.mean, column.std * (30 if dice > 0.98 else 1)))
    seconds = float(rng.normal(column.mean, column.std)) * 86_400
    if dice > 0.98:
        seconds = float(rng.choice([-62_135_596_800, 253_402_300_799, -1, -86_401, 951_782_400]))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    if column.form is None or rng.random() < 0.3:
        return moment.isoformat().replace("+00:00", "Z")
    return int(moment.timestamp()) if column.form == "epoch-seconds" else f"{moment:%d/%m/}{moment.year:04d}"


def random_rows(schema: Schema, rows: int = 1000, seed: int = 1) -> list[dict[str, Any]]:
    """Draws rows with gaps, unknown categories and extremes; some have one cell that the model refuses."""
    rng = np.random.default_rng(seed)
    drawn = [{column.name: random_cell(column, rng) for column in schema.columns} for _ in range(rows)]
    for i in range(0, rows, 25):
        column = schema.columns[(i // 25) % len(schema.columns)]
        if column.missing == "refuse":
            drawn[i][column.name] = None
        elif isinstance(column, NumericColumn):
            drawn[i][column.name] = 3.5e38
        elif isinstance(column, CategoricalColumn) and column.unknown == "refuse":
            drawn[i][column.name] = "never seen"
    return drawn


@dataclass(frozen=True)
class Expected:
    """The answers of the server's own code.

    Attributes:
        answers: (rows, outputs) probabilities or values; NaN for a refused row.
        labels: label or value of each row; None for a refused row.
    """

    answers: NDArray[np.float64]
    labels: list[Any]

    @property
    def refused(self) -> NDArray[np.bool_]:
        return np.isnan(self.answers).any(axis=1)


def expected(checkpoint: Checkpoint, rows: Sequence[Any]) -> Expected:
    """Asks the code of the server, each row alone where one row of many is refused."""
    answerer = Answerer(checkpoint)
    network = checkpoint.inference_network()
    answers = np.full((len(rows), network.out_features), np.nan)
    labels: list[Any] = [None] * len(rows)
    taken = [i for i, row in enumerate(rows) if not _is_refused(answerer, row)]
    if taken:
        with np.errstate(over="ignore", invalid="ignore"):
            found = answerer.answer(answerer._encoder.encode_matrix([rows[i] for i in taken]))
        for i, answer, label in zip(taken, found, answerer.labelled(found), strict=True):
            if np.isfinite(answer).all():
                answers[i], labels[i] = answer, label
    return Expected(answers, labels)


def _is_refused(answerer: Answerer, row: Any) -> bool:
    try:
        answerer._encoder.encode_matrix([row])
    except RowError:
        return True
    return False


def source(checkpoint: Checkpoint, name: str = "exported") -> SourceModel:
    """Returns a published model to export."""
    return SourceModel(checkpoint=checkpoint, name=name, axon_version="1.2", version=3, digest="sha256:" + "0" * 64)


def feed(schema: Schema, rows: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Returns the inputs of ONNX Runtime for rows, (rows, 1) each."""
    return {column.name: _column_feed(column, [row[column.name] for row in rows]) for column in schema.columns}


def _column_feed(column: Column, cells: list[Any]) -> NDArray[Any]:
    if isinstance(column, NumericColumn):
        values = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    elif isinstance(column, CategoricalColumn):
        values = np.array(["" if cell is None else cell for cell in cells], dtype=object)
    else:
        values = np.array([microseconds(column, cell) for cell in cells], dtype=np.int64)
    return values[:, None]


def microseconds(column: DateColumn, cell: Any) -> int:
    """Returns the microseconds of a date since 1970; the mark of a gap for a gap."""
    if cell is None or (isinstance(cell, str) and is_missing(cell)):
        return int(NO_DATE)
    moment = parse(cell if isinstance(cell, str) else str(cell), column.form)
    assert moment is not None
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def onnx_session(checkpoint: Checkpoint, folder: Path, name: str = "exported") -> onnxruntime.InferenceSession:
    """Exports a model to ONNX and loads the file."""
    (path,) = export_model(source(checkpoint, name), "onnx", folder, overwrite=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run_onnx(session: onnxruntime.InferenceSession, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def standalone(checkpoint: Checkpoint, form: Any, folder: Path, name: str = "exported") -> ModuleType:
    """Exports a model to torch or NumPy and imports the file."""
    place = folder / form
    place.mkdir(exist_ok=True)
    return module_of(export_model(source(checkpoint, name), form, place, overwrite=True)[0], f"{name}_{form}")


def module_of(path: Path, name: str) -> ModuleType:
    """Imports an exported file, and leaves nothing in `sys.modules`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def bound(checkpoint: Checkpoint, wanted: Expected) -> float | NDArray[np.float64]:
    """Returns the largest difference that is allowed: 1e-6 for probabilities, 1e-5 of each target's spread."""
    target = checkpoint.schema.target
    if isinstance(target, ClassTarget):
        return 1e-6
    if isinstance(target, ValuesTarget):
        spreads = [own.std for own in target.targets]
        return 1e-5 * np.maximum(spreads, np.nanstd(wanted.answers, axis=0))
    spread = max(target.std, float(np.nanstd(wanted.answers)))
    if checkpoint.config.output == "exponential":  # its rounding errors grow with the answer
        spread = max(spread, float(np.nanmax(wanted.answers)))
    return 1e-5 * spread
