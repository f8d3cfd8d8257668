"""`axon predict TABLE --url`: the table that the command writes is that of `axon predict` with the same model."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving import ROOT, Server, running

import axon
from axon.cli import main
from models.store import Store
from service.access import new_key

ROWS = 150
KEY, KEY_LINE = new_key("all", "predict,read")


def make_frame(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    """Returns a table with every kind of column, gaps, and texts that a file writes in its own way."""
    chance = np.random.default_rng(seed)
    size = chance.normal(size=rows).round(3)
    return pd.DataFrame(
        {
            "id": [f"row {i}" for i in range(rows)],
            "size": np.where(chance.random(rows) < 0.1, np.nan, size),
            "city": chance.choice(["Köln", "Ulm, a. d. D.", 'say "hi"', "10115", None], rows),  # type: ignore[arg-type]
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(chance.integers(0, 300, rows), unit="D"),
            "price": (size * 3 + 1000).round(2),
            "kind": np.where(size > 0, "big", "small"),
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("predict") / "store")
    for name, target, other in (("kinds", "kind", "price"), ("prices", "price", "kind")):
        frame = make_frame().drop(columns=["id", other])
        model = axon.fit(frame, target=target, name=name, epochs=3, hidden_sizes=(8,), progress=False)
        model.publish(store, report=False)
    return store


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(store.root, tmp_path_factory.mktemp("server"), api_keys=KEY_LINE, max_request_rows=500) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's key, in the environment."""
    monkeypatch.setenv("AXON_CLIENT_KEY", KEY)


@pytest.mark.parametrize("model", ["kinds", "prices@1", "prices@latest"])
@pytest.mark.parametrize("out", ["out.csv", "out.parquet", None])
def test_the_table_is_that_of_the_local_command(
    model: str, out: str | None, server: Server, store: Store, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    table = tmp_path / "table.csv"
    make_frame(seed=1, rows=1200).sample(frac=1, axis="columns", random_state=0).to_csv(table, index=False)

    def answered(*place: str) -> pd.DataFrame:
        written = [] if out is None else ["--out", str(tmp_path / out)]
        assert main(["predict", str(table), "--model", model, "--prefix", "the ", *place, *written]) == 0
        printed = capfdbinary.readouterr().out
        if out is None:
            return pd.read_csv(io.BytesIO(printed))
        return pd.read_csv(tmp_path / out) if out.endswith("csv") else pd.read_parquet(tmp_path / out)

    local, remote = answered("--store", str(store.root)), answered("--url", server.url)
    assert list(remote.columns) == list(local.columns)
    new = [name for name in local.columns if name.startswith("the ") and local[name].dtype.kind == "f"]
    pd.testing.assert_frame_equal(remote.drop(columns=new), local.drop(columns=new))
    np.testing.assert_allclose(remote[new], local[new], rtol=1e-6, atol=1e-5)
    assert len(remote) == 1200


def test_a_decimal_comma_and_a_form_of_dates_are_read_as_locally(
    server: Server, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = make_frame(seed=2)
    plain, german = tmp_path / "plain.csv", tmp_path / "german.csv"
    frame.to_csv(plain, index=False)
    frame.to_csv(german, index=False, sep=";", decimal=",", na_rep="?")
    results = []
    for table, options in ((plain, []), (german, ["--missing-values", "?"])):
        assert main(["predict", str(table), "--model", "prices", "--url", server.url, *options]) == 0
        results.append(pd.read_csv(io.StringIO(capsys.readouterr().out))["prediction"].tolist())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda frame: frame.drop(columns="size"), [], "no column 'size'"),
        (lambda frame: frame.assign(size="tall"), [], "'size'"),
        (lambda frame: frame.assign(prediction=1), [], "--prefix"),
        (lambda frame: frame, ["--model", "nobody"], "There is no model 'nobody'. (request "),
        (lambda frame: frame, ["--api-key-file", "KEY"], "The API key is not known. (request "),
        (lambda frame: frame, ["--api-key-file", "nowhere"], "nowhere cannot be read: No such file or directory."),
        (lambda frame: frame, ["--out", "out.xlsx"], "out.xlsx is of a type that is not written"),
        (lambda frame: frame, ["--url", "localhost:1"], "url must be like http://localhost:8000"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(
    change: object,
    options: list[str],
    said: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("KEY").write_text("axon_unknown\n")
    change(make_frame()).to_csv("table.csv", index=False)  # type: ignore[operator]
    line = ["predict", "table.csv", "--model", "kinds", "--url", server.url, "--out", "out.csv", *options]
    assert main(line) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert captured.out == ""
    assert not Path("out.csv").exists()


def test_a_row_that_the_server_refuses_is_named_by_line_row_and_column(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = make_frame(seed=3, rows=1200)
    frame.loc[777, "day"] = pd.NaT  # training saw no missing day
    frame.to_csv(tmp_path / "table.csv", index=False)
    frame.to_parquet(tmp_path / "table.parquet")
    said = r", column 'day': the value is missing, and training saw no missing value in this column \(request \w+\)\n"
    assert main(["predict", str(tmp_path / "table.csv"), "--model", "kinds", "--url", server.url]) == 2
    assert re.fullmatch(f"error: .*table.csv, line 779, row 777{said}", capsys.readouterr().err)
    assert main(["predict", str(tmp_path / "table.parquet"), "--model", "kinds", "--url", server.url]) == 2
    assert re.fullmatch(rf"error: .*table.parquet, row 777 \(counting from 0\){said}", capsys.readouterr().err)


def test_the_model_may_be_left_out_where_there_is_a_default_model(
    server: Server, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    make_frame().to_csv(table, index=False)
    assert main(["predict", str(table), "--url", server.url]) == 2
    assert capsys.readouterr().err == "error: the server has 2 models: name one with --model (kinds, prices).\n"
    single = Store(tmp_path / "single")
    single.publish("kinds", store.load("kinds").checkpoint)
    with running(single.root, tmp_path) as alone:
        assert main(["predict", str(table), "--url", alone.url]) == 0
    assert "probability big" in capsys.readouterr().out.splitlines()[0]
    with running(store.root, tmp_path, default_model="kinds@latest") as chosen:
        assert main(["predict", str(table), "--url", chosen.url]) == 0
    assert "probability big" in capsys.readouterr().out.splitlines()[0]


def test_numbers_are_read_with_the_marks_of_training_and_notes_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    areas = [1000 + 37 * i for i in range(ROWS)]
    pointed = pd.DataFrame({"area": [f"{area:,}".replace(",", ".") for area in areas], "city": ["Bonn", "Köln"] * 75})
    rents = [f"{area * 1000:,}".replace(",", ".") for area in areas]  # 1.000.000 shows that points divide thousands
    pointed.assign(rent=rents).to_csv(tmp_path / "train.csv", index=False)
    pointed.to_csv(tmp_path / "new.csv", index=False)
    store = Store(tmp_path / "store")
    model = axon.fit(tmp_path / "train.csv", target="rent", name="rents", epochs=1, hidden_sizes=(4,), progress=False)
    model.publish(store, report=False)
    with running(store.root, tmp_path) as alone:
        assert main(["predict", str(tmp_path / "new.csv"), "--url", alone.url]) == 0
    printed = capsys.readouterr()
    expected = model.predict(pointed.assign(area=areas))
    np.testing.assert_allclose(pd.read_csv(io.StringIO(printed.out))["prediction"], expected, rtol=1e-6)
    assert "Column 'area' of new.csv is read as numbers: '1.000' is 1000 (the dot divides thousands" in printed.err


def test_unknown_categories_are_told(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_frame().assign(city="Rom").to_csv(tmp_path / "table.csv", index=False)
    assert main(["predict", str(tmp_path / "table.csv"), "--model", "kinds", "--url", server.url]) == 0
    assert f"{ROWS} cells of column 'city' hold a category" in capsys.readouterr().err


def test_the_local_command_wants_a_model_and_no_key(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_frame().to_csv(tmp_path / "table.csv", index=False)
    for options, said in (
        ((), "the following arguments are required: --model"),
        (("--model", "kinds", "--api-key-file", "x"), "--api-key-file is for --url"),
        (("--url", "http://127.0.0.1:1", "--timeout", "0"), "a number of seconds above 0 is expected, got '0'"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(tmp_path / "table.csv"), "--store", str(store.root), *options])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_a_terminal_shows_a_bar_with_rows_a_second(server: Server, tmp_path: Path) -> None:
    make_frame(seed=4, rows=6000).to_csv(tmp_path / "table.csv", index=False)
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "axon",
            "predict",
            "table.csv",
            "--model",
            "kinds",
            "--url",
            server.url,
            "--out",
            "a.csv",
        ],
        cwd=tmp_path,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 1 << 16):
            shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"table.csv +━*.* 6,000/6,000 rows +[\d,]+ rows/s", text), text
    assert "6,000 rows answered: a.csv" in text
