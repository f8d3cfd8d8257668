"""Truth values that `--numeric` makes numbers: every typed table is answered, with the answers of 1 and 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scored_tables import write

import axon
from axon.cli import main
from models.errors import RowError
from models.store import Store

ROWS = 80


def people() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"smoker": rng.random(ROWS) < 0.4, "age": rng.integers(20, 80, ROWS)})
    frame["smoker"] = frame["smoker"].astype("boolean").where(rng.random(ROWS) < 0.9)
    return frame.assign(ill=np.where(frame["age"] > 50, "yes", "no"))


@pytest.fixture(scope="module")
def model() -> axon.Model:
    choices = axon.ColumnChoices(numeric=("smoker",))
    return axon.fit(people(), target="ill", name="p", choices=choices, epochs=1, hidden_sizes=(4,), progress=False)


@pytest.fixture(scope="module")
def numbers(model: axon.Model) -> Any:
    """The answers to 1 and 0, which any client may send."""
    cells = [None if gap is pd.NA else float(gap) for gap in people()["smoker"]]
    return model.predict_proba(list(map(list, zip(cells, people()["age"].tolist(), strict=True))))


TABLES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "pandas of objects": lambda frame: frame.assign(smoker=frame["smoker"].astype(object)),
    "pandas of Arrow types": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "Arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}


def test_a_note_says_what_a_client_writes(model: axon.Model) -> None:
    notes = model.fitted.table.notes
    assert any("'smoker' holds truth values, which are read, and served, as 1 and 0" in note for note in notes)


@pytest.mark.parametrize("kind", TABLES)
def test_the_table_that_trained_is_answered(model: axon.Model, numbers: Any, kind: str) -> None:
    assert np.array_equal(model.predict_proba(TABLES[kind](people())), numbers)


def test_scored_files_and_batches_have_the_same_answers(model: axon.Model, numbers: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    model.publish(store, report=False)
    scorer = axon.Scorer("p", store)
    for table in TABLES.values():
        answers = scorer(table(people()))
        np.testing.assert_allclose(np.asarray(answers["probability yes"]), numbers[:, 1], atol=1e-6)
    for suffix in (".parquet", ".arrow"):
        source, out = write(TABLES["Arrow"](people()), tmp_path / f"rows{suffix}"), tmp_path / f"out{suffix}"
        options = ["--model", "p", "--store", str(store.root), "--out", str(out)]
        assert main(["score", str(source), *options]) == 0
        scored = pd.read_parquet(out) if suffix == ".parquet" else pd.read_feather(out)
        np.testing.assert_allclose(scored["probability yes"], numbers[:, 1], atol=1e-6)


def test_cells_of_json_are_refused_as_before(model: axon.Model) -> None:
    with pytest.raises(RowError, match="column 'smoker': true is not a number"):
        model.predict([{"smoker": True, "age": 3}])
