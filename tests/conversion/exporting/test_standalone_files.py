"""The files of torch and NumPy: sound Python of the project's style, alone, with the server's reading of rows."""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from export_cases import (
    FAR_PRICE,
    KINDS,
    PRICE,
    day,
    embedded_columns,
    expected,
    inputs_of,
    made,
    mixed_columns,
    number,
    random_rows,
    source,
    standalone,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import SEVERAL

from conversion.exporting.numpy_file import numpy_source
from conversion.exporting.python_literals import Call, assignment, literal
from conversion.exporting.standalone_parts import columns_source
from conversion.exporting.torch_file import torch_source, torch_tensors
from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.column import CategoricalColumn, NumericColumn
from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, NumericTarget, ValuesTarget
from models.errors import RowError

pytestmark = pytest.mark.slow

EMBEDDED = embedded_columns()
ODD = ClassTarget(name='a """target"""\n\\ é"', labels=('"', "'", "\\", "\u2028", "a'\"b", "é" * 200))
MANY = ValuesTarget(
    targets=tuple(NumericTarget(name=f'"{i}', mean=i, std=0.7, minimum=i - 3, maximum=i + 2 / 3) for i in range(70))
)
MODELS: dict[str, Checkpoint] = {
    "mixed": made(mixed_columns(), KINDS, 16, 8, normalization="layer", learned_activation=True, activation="gelu"),
    "embedded": made(
        EMBEDDED, PRICE, 16, activation="mish", clamp=True, members=2, member_weights=(3, 1),
        inputs=inputs_of(EMBEDDED, clip=3.0, frequencies=4, embedding_size=3),
    ),
    "numbers": made([number("a"), number("b")], FAR_PRICE, 4),
    "several": made(mixed_columns(), SEVERAL, 8, clamp=True, members=2, member_weights=(3, 1)),
    "many": made([number("a")], MANY, 5, clamp=True),
    "threshold": made([number("a")], ClassTarget(name="y", labels=(1.5, 2.0)), output="step"),
    "odd texts": made(
        [number('x"\'\\\n'), CategoricalColumn(name="c" * 150, categories=("'", '"', "\\n", "\x00", "x" * 130))], ODD, 4
    ),
    "wide": made([number(f"pixel {i}") for i in range(70)], KINDS, 5),
}  # fmt: skip
STYLE = ("--isolated", "--line-length", "120", "--target-version", "py311")
RULES = "A,B,C4,E,F,I,PERF,PIE,PTH,RET,RUF,SIM,T20,TID,UP,W"


@pytest.mark.parametrize("name", MODELS)
def test_the_files_are_formatted_and_have_no_finding_of_the_linter(name: str, tmp_path: Path) -> None:
    model = source(MODELS[name], name)
    (tmp_path / "with_numpy.py").write_text(numpy_source(model, "with_numpy"), encoding="utf-8")
    (tmp_path / "with_torch.py").write_text(torch_source(model, "with_torch"), encoding="utf-8")
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"
    ignored = "RUF001,RUF002,RUF003" + (",E501" if name == "odd texts" else "")
    check = [ruff, "check", *STYLE, "--select", RULES, "--ignore", ignored, "."]
    for command in (check, [ruff, "format", "--diff", *STYLE, "."]):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout


def imported(text: str) -> set[str]:
    """Returns the names of the libraries that a source imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.mark.parametrize("name", MODELS)
def test_the_files_import_numpy_and_torch_alone(name: str) -> None:
    assert imported(numpy_source(source(MODELS[name]), "m")) == {"numpy"}
    assert imported(torch_source(source(MODELS[name]), "m")) == {"numpy", "torch"}


SIZES = np.array([0.1, 2.7, 3.0, 0.1], dtype=np.float32)
PRICES = [Decimal("1.10"), Decimal("2.00"), Decimal("2.00"), Decimal("1.10")]
TABLES: dict[str, Any] = {
    "pandas": lambda size, price: pd.DataFrame({"size": size, "price": pd.Series(price, dtype=object)}),
    "arrow": lambda size, price: pa.table({"size": pa.array(size), "price": pa.array(price)}),
    "arrays": lambda size, price: {"size": size, "price": price},
    "series": lambda size, price: {"size": pd.Series(size), "price": pd.Series(price, dtype=object)},
    "arrow columns": lambda size, price: {"size": pa.array(size), "price": pa.array(price)},
    "scalars": lambda size, price: {"size": list(size), "price": tuple(price)},
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", ["numpy", "torch"])
def test_numbers_as_categories_are_spelled_as_training_spells_them(form: str, table: str, tmp_path: Path) -> None:
    columns = [
        CategoricalColumn(name="size", categories=("0.1", "2.7", "3")),
        CategoricalColumn(name="price", categories=("1.10", "2")),
    ]
    checkpoint = made(columns, KINDS, 4)
    texts = [[f"{size:g}", f"{price:f}"] for size, price in zip(SIZES.tolist(), PRICES, strict=True)]
    module = standalone(checkpoint, form, tmp_path)
    found = module.predict_proba(TABLES[table](SIZES, PRICES))
    assert np.abs(np.asarray(found) - expected(checkpoint, texts).answers).max() < 1e-6


@pytest.mark.parametrize("form", ["numpy", "torch"])
def test_truth_values_of_a_frame_are_1_and_0_in_a_column_of_numbers(form: str, tmp_path: Path) -> None:
    checkpoint = made([number("smoker"), day("when")], KINDS, 4)
    module = standalone(checkpoint, form, tmp_path)
    frame = pd.DataFrame({"smoker": [True, False], "when": ["2024-05-31", "2024-06-01"]})
    answers = expected(checkpoint, [[1, "2024-05-31"], [0, "2024-06-01"]]).answers
    for table in (frame, pa.Table.from_pandas(frame)):
        assert np.abs(np.asarray(module.predict_proba(table)) - answers).max() < 1e-6
    with pytest.raises(ValueError, match="true is not a number"):
        module.predict_proba([[True, "2024-05-31"]])


def test_no_text_of_a_model_becomes_code(tmp_path: Path) -> None:
    """Puts quotes, escapes and statements into every text of a model: the files hold texts."""
    trick = '"""\nraise SystemExit("ran")\n"""'
    tricks = (trick, f"'{trick}", f"{trick}\\", "'\"' + exit() + '\"'")
    columns = [
        number(f"x{trick}"),
        CategoricalColumn(name=f"c{trick}", categories=tricks),
        day(f"d{trick}", parts=("month",)),
    ]
    checkpoint = made(columns, ClassTarget(name=trick, labels=tricks), 4)
    rows = [row for row in random_rows(checkpoint.schema, 20) if not expected(checkpoint, [row]).refused[0]]
    for form in ("numpy", "torch"):
        module = standalone(checkpoint, form, tmp_path)
        assert module.predict(rows) == expected(checkpoint, rows).labels
        assert tricks == module.LABELS
        assert trick in module.__doc__


def test_the_same_model_gives_the_same_bytes() -> None:
    for checkpoint in MODELS.values():
        model = source(checkpoint)
        assert numpy_source(model, "m") == numpy_source(source(checkpoint), "m")
        assert torch_source(model, "m") == torch_source(source(checkpoint), "m")
        assert torch_tensors(model) == torch_tensors(source(checkpoint))


def test_the_network_is_a_sequential_whose_state_dict_is_the_file(tmp_path: Path) -> None:
    module = standalone(MODELS["mixed"], "torch", tmp_path)
    network = module.build()
    assert type(network) is torch.nn.Sequential
    stored = safetensors.torch.load_file(tmp_path / "torch/exported.safetensors")
    assert stored.keys() == network.state_dict().keys()
    loaded = module.load()
    assert all((loaded.state_dict()[name] == stored[name]).all() for name in stored)
    rows = [row for row in random_rows(MODELS["mixed"].schema, 60) if not expected(MODELS["mixed"], [row]).refused[0]]
    x = module.encode(rows)
    assert (x.numpy() == RowEncoder(MODELS["mixed"].schema).encode_matrix(rows)).all()
    assert torch.allclose(loaded(x).softmax(dim=-1), torch.from_numpy(module.predict_proba(rows)))


@pytest.mark.parametrize("form", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["mixed", "embedded"])
def test_rows_come_in_every_form(name: str, form: str, tmp_path: Path) -> None:
    checkpoint = MODELS[name]
    module = standalone(checkpoint, form, tmp_path)
    rows = [row for row in random_rows(checkpoint.schema, 80) if not expected(checkpoint, [row]).refused[0]]
    names = checkpoint.schema.names
    wanted = module.answers(rows)
    columns = {column: [row[column] for row in rows] for column in names}
    frame = pd.DataFrame({column: pd.Series(cells, dtype=object) for column, cells in columns.items()})
    frame.insert(0, "another column", 1)
    arrays = {column: np.array(cells, dtype=object) for column, cells in columns.items()} | {"more": [0] * len(rows)}
    for given_rows in ([[row[column] for column in names] for row in rows], columns, frame, arrays):
        assert (module.answers(given_rows) == wanted).all()
    assert (module.answers(rows[0])[0] == module.answers(rows[:1])[0]).all()
    assert module.answers([]).shape == (0, wanted.shape[1])


@pytest.mark.parametrize("form", ["numpy", "torch"])
def test_what_the_server_refuses_is_an_error_with_row_and_column(form: str, tmp_path: Path) -> None:
    checkpoint = MODELS["mixed"]
    module = standalone(checkpoint, form, tmp_path)
    rows = [row for row in random_rows(checkpoint.schema, 40) if not expected(checkpoint, [row]).refused[0]]
    cells: list[tuple[str, Any]] = [
        ("x", "1.5"), ("x", None), ("x", True), ("x", 1e39), ("class", "new"), ("class", [1]), ("stamp", 10**400),
        ("joined", "yesterday"), ("joined", 5), ("seen", None), ("left", "31/02/2024"),
    ]  # fmt: skip
    for column, cell in cells:
        wrong = [*rows[:3], {**rows[3], column: cell}]
        with pytest.raises(ValueError, match=rf"^row 3, column '{column}': "):
            module.predict(wrong)
    lacking = {name: cell for name, cell in rows[0].items() if name != "x"}
    with pytest.raises(ValueError, match=r"row 1, column 'x': this column is missing"):
        module.predict([rows[0], lacking])
    with pytest.raises(ValueError, match=r"row 1: 'more' is not a column"):
        module.predict([rows[0], {**rows[0], "more": 1}])
    with pytest.raises(ValueError, match=r"row 0: a list of 10 values"):
        module.predict([[1.0]])
    with pytest.raises(ValueError, match=r"row 1: the answer is not finite"):
        standalone(made([number("x")], PRICE, 4, activation="identity"), form, tmp_path, "large").predict(
            [[1.0], [3e38]]
        )


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4),
    st.datetimes().map(lambda moment: moment.isoformat()), st.datetimes().map(lambda m: f"{m:%d/%m/}{m.year:04d}"),
    st.sampled_from(["Ulm", " Ulm ", "ULM", "é", "e\u0301", "TRUE", True, 3, 3.0, "3.0", "NA", " NaN", "\u200b"]),
    st.sampled_from(["b  b", "2024-05-31", " 2024-05-31 13:45Z", "31/5/2024 1:02 pm", "2024-13-01", 1.7e9, "1.7e9"]),
    st.sampled_from([10**400, float("inf"), np.float64(2.5), [], {}, "3.4028235e38", 3.4028235e38]),
)  # fmt: skip


@pytest.fixture(scope="module")
def mixed_module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The NumPy file of the model with every kind of column."""
    return standalone(MODELS["mixed"], "numpy", tmp_path_factory.mktemp("mixed"))


@settings(max_examples=200, deadline=None)
@given(st.lists(CELLS, min_size=10, max_size=10))
def test_any_cell_is_read_as_the_server_reads_it(mixed_module: Any, cells: list[Any]) -> None:
    """Puts odd cells into a row one by one: a model loaded from the store takes and refuses the same ones."""
    schema = MODELS["mixed"].schema
    answerer = Answerer(MODELS["mixed"])
    usual = [1.0, "Ulm", 2.0, "2024-05-31", "true", 1.7e9, "a", "31/05/2024", 0.5, 1.7e9]
    for at, cell in enumerate(cells):
        row = [*usual[:at], cell, *usual[at + 1 :]]
        try:
            wanted = answerer._encoder.encode_matrix([[None if value != value else value for value in row]])
        except RowError:
            with pytest.raises(ValueError, match=rf"row 0, column '{schema.names[at]}'"):
                mixed_module.encode_rows([row], mixed_module.COLUMNS)
            continue
        assert (mixed_module.encode_rows([row], mixed_module.COLUMNS) == wanted).all()


def run_file(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a file in a Python without Axon's folder on the path."""
    command = [sys.executable, "-I", str(path), *arguments]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", ["mixed", "embedded", "numbers", "several", "many", "threshold"])
def test_the_numpy_file_is_a_command_for_tables(name: str, tmp_path: Path) -> None:
    checkpoint = MODELS[name]
    path = tmp_path / "model.py"
    path.write_text(numpy_source(source(checkpoint), "model"), encoding="utf-8")
    rows = [row for row in random_rows(checkpoint.schema, 60) if not expected(checkpoint, [row]).refused[0]]
    names = ["note", *reversed(checkpoint.schema.names)]
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({"note": "kept, as it is", **row} for row in rows)
    ran = run_file(path, "table.csv")
    assert (ran.returncode, ran.stderr) == (0, "")
    answered = list(csv.DictReader(io.StringIO(ran.stdout)))
    wanted = expected(checkpoint, rows)
    assert [row["note"] for row in answered] == ["kept, as it is"] * len(rows)
    labels = checkpoint.schema.target.labels if isinstance(checkpoint.schema.target, ClassTarget) else ()
    targets = checkpoint.schema.values
    if len(targets) > 1:
        for i, target in enumerate(targets):
            found = [float(row[f"prediction_{target.name}"]) for row in answered]
            assert np.abs(np.array(found) - wanted.answers[:, i]).max() < 1e-5 * target.std
    elif labels:
        assert [str(row["prediction"]) for row in answered] == [
            str(label).removesuffix(".0") for label in wanted.labels
        ]
    else:
        found = [float(row["prediction"]) for row in answered]
        assert np.abs(np.array(found) - wanted.answers[:, 0]).max() < 1e-5 * 90
    if checkpoint.config.output == "softmax":
        shares = [[float(row[f"probability {label}"]) for label in labels] for row in answered]
        assert np.abs(np.array(shares) - wanted.answers).max() < 1e-6


def test_an_empty_line_is_a_row_with_a_gap_in_a_table_of_one_column(tmp_path: Path) -> None:
    one = made((NumericColumn(name="a", mean=0.0, std=1.0, minimum=-2.0, maximum=2.0, missing="mean"),), PRICE, 4)
    (tmp_path / "model.py").write_text(numpy_source(source(one), "model"), encoding="utf-8")
    (tmp_path / "table.csv").write_text("a\n1\n\n-1\n")
    answered = list(csv.DictReader(io.StringIO(run_file(tmp_path / "model.py", "table.csv").stdout)))
    assert [row["a"] for row in answered] == ["1", "", "-1"]
    values = [float(next(cell for name, cell in row.items() if name != "a")) for row in answered]
    assert values == pytest.approx(Answerer(one).predict([[1.0], [None], [-1.0]]), rel=1e-5)


@pytest.mark.parametrize("name", ["numbers", "several", "mixed"])
def test_a_table_without_rows_has_the_columns_of_the_answers(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(numpy_source(source(MODELS[name]), "model"), encoding="utf-8")
    answered = [row for row in random_rows(MODELS[name].schema, 60) if not expected(MODELS[name], [row]).refused[0]]
    headers = []
    for rows in ([], answered):
        with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, MODELS[name].schema.names)
            writer.writeheader()
            writer.writerows(rows[:1])
        headers.append(run_file(path, "table.csv").stdout.splitlines()[0])
    assert headers[0] == headers[1]
    assert "prediction" in headers[0]


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(numpy_source(source(MODELS["numbers"]), "model"), encoding="utf-8")
    missing = "the value is missing, and training saw no missing value in this column"
    cases = {
        "a,b\n1,2\n1,x\n": "error: row 1, column 'b': \"x\" is not a number.\n",
        "a,b\n1,\n": f"error: row 0, column 'b': {missing}.\n",
        "a,c\n1,2\n": "error: the table lacks column 'b'.\n",
        "a,b\n1\n": "error: row 0: 1 cells, where the first line has 2.\n",
        "a,b, a\n1,2,3\n": "error: the table has column 'a' twice.\n",
        "a,b,prediction\n1,2,3\n": (
            "error: the table has a column 'prediction', which is the name of an answer: rename the column.\n"
        ),
    }
    for table, message in cases.items():
        (tmp_path / "table.csv").write_text(table)
        ran = run_file(path, "table.csv")
        assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", message)
    assert run_file(path).returncode == 2
    assert "No such file" in run_file(path, "nowhere.csv").stderr


def test_literals_are_read_back_and_fit_the_line() -> None:
    values = [
        "a'b", 'a"b', "\\", "\n\x00\u2028", "é", "'\"'", ("x",), (), [], {}, [0.1, -1e-300, 1e300], {"a": [1, 2]}, None,
        ["word " * 5] * 9, {"k" * 90: ("v" * 40, "w")}, [["x" * 50] * 4] * 2,
    ]  # fmt: skip
    for value in values:
        text = literal(value, 8)
        assert ast.literal_eval(text) == value
        assert max(map(len, text.splitlines())) <= 120
    assert assignment("X", Call("f", a=1, b=("c",))) == 'X = f(a=1, b=("c",))\n'
    assert json.dumps(columns_source(source(MODELS["numbers"]))).count("Number(") == 2
    assert day("d").name == "d"
