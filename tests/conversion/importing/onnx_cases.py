"""The ONNX files of the tests: options of the import, rows, and the answers of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets

FOLDER = Path(__file__).parent / "onnx_files"
PENGUINS = Path(__file__).parent / "tables" / "penguins.csv"
ROWS = 1_000

FLOWER = ("sepal_length", "sepal_width", "petal_length", "petal_width")
SPECIES = ("setosa", "versicolor", "virginica")
BILL = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm")

Table = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file.

    Attributes:
        file: name of the file, without suffix.
        rows: function that makes `ROWS` rows, by column.
        answer: meaning of the graph's answers: `probabilities`, `maps` (of ZipMap), `logits`, `logarithms`, `second`
            (the probability of the second class), `value`, or `label` alone.
        tensor: output with the answers.
        labels: labels in the order of the probabilities.
        options: options of `axon import`.
        one_row: True if the graph takes one row at a time.
    """

    file: str
    rows: Callable[[], Table]
    answer: str
    tensor: str = "y"
    labels: Sequence[Any] = SPECIES
    options: tuple[str, ...] = ()
    one_row: bool = False

    @property
    def path(self) -> Path:
        """Path of the file."""
        return FOLDER / f"{self.file}.onnx"


def drawn(table: NDArray[np.float64], names: Sequence[str], *, noise: float = 0.2) -> Table:
    """Returns rows of a table of numbers with noise; each number is one that float32 holds."""
    generator = np.random.default_rng(11)
    numbers = table[generator.integers(len(table), size=ROWS)]
    numbers = numbers + noise * table.std(axis=0) * generator.normal(size=numbers.shape)
    return dict(zip(names, numbers.astype(np.float32).astype(np.float64).T.tolist(), strict=True))


def flowers() -> Table:
    """Returns rows of four numbers."""
    return drawn(datasets.load_iris().data, FLOWER)


def numbered(load: Callable[..., Any], **arguments: Any) -> Callable[[], Table]:
    """Returns a function for rows of one of scikit-learn's tables, with the columns x0, x1, …"""

    def rows() -> Table:
        data = load(**arguments).data
        return drawn(data, [f"x{place}" for place in range(data.shape[1])])

    return rows


def pairs() -> Table:
    """Returns rows of three numbers."""
    return drawn(np.random.default_rng(5).normal(1.0, 3.0, (ROWS, 3)), ("size", "rest_0", "rest_1"))


def penguins(*columns: str, unknown: Sequence[str] = ()) -> Callable[[], Table]:
    """Returns a function for rows of the penguins: resampled, with gaps, and unknown categories in some columns."""

    def rows() -> Table:
        generator = np.random.default_rng(4)
        table = pd.read_csv(PENGUINS)[list(columns)]
        table = table.iloc[generator.integers(len(table), size=ROWS)].reset_index(drop=True)
        cells: Table = {}
        for name in columns:
            numbers = table[name].dtype.kind == "f"
            own = [None if pd.isna(cell) else cell for cell in table[name].tolist()]
            if numbers:
                own = [None if cell is None else float(np.float32(cell + generator.normal())) for cell in own]
            for place in generator.integers(ROWS, size=50):
                if numbers or name == "sex":
                    own[place] = None
                if name in unknown:
                    own[place] = 1999 if name == "year" else "Atlantis"
            cells[name] = own
        return cells

    return rows


CASES: tuple[Case, ...] = (
    Case(
        file="torch-script9",
        rows=flowers,
        answer="probabilities",
        options=("--columns", ",".join(FLOWER), "--labels", ",".join(SPECIES), "--target", "species"),
    ),
    Case(
        file="torch-script11",
        rows=flowers,
        answer="logits",
        options=("--columns", ",".join(FLOWER), "--labels", ",".join(SPECIES)),
    ),
    Case(file="torch-script17", rows=flowers, answer="value", options=("--columns", ",".join(FLOWER))),
    Case(file="torch-script20", rows=numbered(datasets.load_digits), answer="logarithms", labels=range(10)),
    Case(
        file="torch-one-row",
        rows=flowers,
        answer="second",
        labels=(False, True),
        options=("--columns", ",".join(FLOWER), "--labels", "false,true"),
        one_row=True,
    ),
    Case(
        file="torch-dynamo18",
        rows=flowers,
        answer="probabilities",
        tensor="softmax",
        labels=range(3),
        options=("--columns", ",".join(FLOWER)),
    ),
    Case(
        file="torch-external",
        rows=flowers,
        answer="probabilities",
        tensor="softmax",
        labels=range(3),
        options=("--columns", ",".join(FLOWER)),
    ),
    Case(
        file="torch-dynamo21",
        rows=flowers,
        answer="value",
        tensor="linear_3",
        options=("--columns", ",".join(FLOWER)),
    ),
    Case(file="torch-two-inputs", rows=pairs, answer="value", tensor="squeeze"),
    Case(
        file="by-hand",
        rows=flowers,
        answer="probabilities",
        tensor="probabilities",
        options=("--columns", ",".join(FLOWER), "--labels", ",".join(SPECIES)),
    ),
    Case(
        file="penguins-mlp",
        rows=penguins(*BILL, "island", "sex", unknown=("island",)),
        answer="maps",
        tensor="output_probability",
        labels=("Adelie", "Chinstrap", "Gentoo"),
        options=("--rows", str(PENGUINS), "--target", "species"),
    ),
    Case(
        file="penguins-logistic",
        rows=penguins(*BILL, "island", "sex", unknown=("island", "sex")),
        answer="probabilities",
        tensor="probabilities",
        labels=("Adelie", "Chinstrap", "Gentoo"),
    ),
    Case(
        file="penguins-mass",
        rows=penguins(*BILL, "year", "island", unknown=("year",)),
        answer="value",
        tensor="variable",
        options=("--rows", str(PENGUINS)),
    ),
    Case(file="penguins-ridge", rows=penguins(*BILL, "year", "island"), answer="value", tensor="variable"),
    Case(
        file="iris-mlp",
        rows=flowers,
        answer="maps",
        tensor="output_probability",
        options=("--columns", ",".join(FLOWER)),
    ),
    Case(
        file="iris-pca-double",
        rows=flowers,
        answer="probabilities",
        tensor="probabilities",
        labels=range(3),
        options=("--columns", ",".join(FLOWER)),
    ),
    Case(
        file="cancer-logistic",
        rows=numbered(datasets.load_breast_cancer),
        answer="maps",
        tensor="output_probability",
        labels=range(2),
    ),
    Case(
        file="cancer-mlp",
        rows=numbered(datasets.load_breast_cancer),
        answer="maps",
        tensor="output_probability",
        labels=range(2),
    ),
    Case(
        file="cancer-sgd",
        rows=numbered(datasets.load_breast_cancer),
        answer="maps",
        tensor="output_probability",
        labels=range(2),
    ),
    Case(
        file="digits-perceptron",
        rows=numbered(datasets.load_digits),
        answer="label",
        tensor="output_label",
        labels=range(10),
    ),
    Case(
        file="diabetes-linear", rows=numbered(datasets.load_diabetes, scaled=False), answer="value", tensor="variable"
    ),
)


def feeds_of(session: Any, table: Mapping[str, list[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the inputs of a graph for rows: NaN for a gap of numbers, an empty text for a gap of texts."""
    columns = iter(table.values())
    feeds = {}
    for given in session.get_inputs():
        width = int(np.prod(list(given.shape[1:])))
        own = [next(columns) for _ in range(width)]
        if given.type == "tensor(string)":
            parts = [np.array(["" if cell is None else cell for cell in cells], dtype=object) for cells in own]
        else:
            kind = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}[given.type]
            parts = [np.array([np.nan if cell is None else cell for cell in cells]).astype(kind) for cells in own]
        feeds[given.name] = np.column_stack(parts).reshape(ROWS, *given.shape[1:])
    return feeds


def runtime_answers(case: Case, table: Mapping[str, list[Any]]) -> NDArray[Any]:
    """Returns ONNX Runtime's own answers: probabilities (rows, classes), values (rows,) or labels (rows,)."""
    session = onnxruntime.InferenceSession(case.path, providers=["CPUExecutionProvider"])
    feeds = feeds_of(session, table)
    if case.one_row:
        parts = [{name: array[row : row + 1] for name, array in feeds.items()} for row in range(ROWS)]
        given: Any = np.concatenate([session.run([case.tensor], part)[0] for part in parts])
    else:
        given = session.run([case.tensor], feeds)[0]
    match case.answer:
        case "maps":
            return np.array([[one[label] for label in case.labels] for one in given])
        case "logits":
            shares = np.exp(given.astype(np.float64))
            return np.asarray(shares / shares.sum(axis=1, keepdims=True))
        case "logarithms":
            return np.asarray(np.exp(given))
        case "second":
            return np.column_stack([1 - given, given])
        case "probabilities":
            return np.asarray(given)
        case _:
            return np.asarray(given).ravel()
