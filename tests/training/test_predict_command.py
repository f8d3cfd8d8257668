"""`predict` reads a table from a file and writes a model's predictions beside the rows."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import axon
from models.errors import RowError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.fitted_model import FittedModel

ROWS = 120


def make_frame(seed: int = 0) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    size = chance.normal(size=ROWS).round(3)
    return pd.DataFrame(
        {
            "id": [f"row {i}" for i in range(ROWS)],
            "size": np.where(chance.random(ROWS) < 0.1, np.nan, size),
            "city": chance.choice(["Köln", "Ulm, a. d. D.", 'say "hi"'], ROWS),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(chance.integers(0, 300, ROWS), unit="D"),
            "kind": np.where(size > 0, "big", "small"),
            "price": (size * 3 + 1000).round(2),
        }
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, FittedModel]]:
    store = tmp_path_factory.mktemp("predict") / "store"
    fitted = {}
    for name, target, other in (("kinds", "kind", "price"), ("prices", "price", "kind")):
        choices = ColumnChoices(drop=("id", other))
        fitted[name] = fit(make_frame(), name=name, target=target, choices=choices, epochs=3, hidden_sizes=(8,))
        fitted[name].publish(Store(store))
    return store, fitted


def expected(model: FittedModel, frame: pd.DataFrame) -> list[object]:
    return list(model.predict(frame[list(model.checkpoint.schema.names)]))


@pytest.mark.parametrize("name", ["kinds", "prices"])
def test_the_answers_stand_beside_the_rows_as_they_were(
    models: tuple[Path, dict[str, FittedModel]], name: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    store, fitted = models
    frame = make_frame(seed=1)
    table = tmp_path / "table.csv"
    frame.sample(frac=1, axis="columns", random_state=0).to_csv(table, index=False)
    assert main(["predict", str(table), "--model", name, "--store", str(store)]) == 0
    text = capfdbinary.readouterr().out.decode()
    answered = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    before = pd.read_csv(table, dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(answered[before.columns], before)
    answers = expected(fitted[name], frame)
    if name == "kinds":
        assert answered["prediction"].tolist() == answers
        both = answered[["probability big", "probability small"]].astype(float)
        assert both.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
        assert both.idxmax(axis=1).str.removeprefix("probability ").tolist() == answers
    else:
        assert answered["prediction"].astype(float).tolist() == pytest.approx(answers, rel=1e-6)
        assert list(answered.columns) == [*before.columns, "prediction"]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_it_is_written_as_its_name_says(
    models: tuple[Path, dict[str, FittedModel]], ending: str, tmp_path: Path
) -> None:
    store, fitted = models
    frame = make_frame(seed=2)
    frame.to_parquet(tmp_path / "table.parquet")
    out = tmp_path / f"out{ending}"
    line = ["predict", str(tmp_path / "table.parquet"), "--model", "kinds@1", "--store", str(store), "--out", str(out)]
    assert main(line) == 0
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".tsv": lambda path: pd.read_csv(path, sep="\t")}[ending]
    answered = read(out)
    assert answered["prediction"].tolist() == expected(fitted["kinds"], frame)
    assert answered["city"].tolist() == frame["city"].tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="size"), "no column 'size'"),
        (lambda frame: frame.assign(size="tall"), "'size'"),
        (lambda frame: frame.assign(prediction=1), "--prefix"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(
    models: tuple[Path, dict[str, FittedModel]],
    change: object,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(make_frame()).to_csv(tmp_path / "table.csv", index=False)  # type: ignore[operator]
    out = tmp_path / "out.csv"
    line = ["predict", str(tmp_path / "table.csv"), "--model", "kinds", "--store", str(models[0]), "--out", str(out)]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert not out.exists()
    if said == "--prefix":
        assert main([*line, "--prefix", "axon "]) == 0
        assert "axon prediction" in pd.read_csv(out).columns


def test_an_answer_that_is_not_finite_is_refused_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    model = fit(
        make_frame(), target="price", name="plain", recipe="classic", epochs=2, choices=ColumnChoices(drop=("id",))
    )
    model.publish(store)
    frame = make_frame(seed=1)
    frame.loc[4, "size"] = 3e38
    frame.to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "out.csv"
    line = ["predict", str(tmp_path / "table.csv"), "--model", "plain", "--store", str(store.root), "--out", str(out)]
    assert main(line) == 2
    told = "column 'size': 3e+38 is outside the range"
    error = capsys.readouterr().err
    assert "table.csv: line 6, " + told in error
    assert not out.exists()
    with pytest.raises(RowError, match=re.escape("row 4, " + told)):
        model.predict(frame[list(model.checkpoint.schema.names)])
    with pytest.raises(RowError, match="row 4, "):
        axon.load("plain", store=store.root).predict(frame)
    with pytest.raises(RowError, match="row 4, "):
        axon.load("plain", store=store.root).explain(frame)


def test_unknown_categories_are_answered_and_told(
    models: tuple[Path, dict[str, FittedModel]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = make_frame().assign(city="Rom")
    frame.to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "out.csv"
    assert (
        main(["predict", str(tmp_path / "table.csv"), "--model", "kinds", "--store", str(models[0]), "--out", str(out)])
        == 0
    )
    assert f"{ROWS} cells of column 'city' hold a category" in capsys.readouterr().err
    assert len(pd.read_csv(out)) == ROWS
