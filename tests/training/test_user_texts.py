"""Names of columns, cells and files are shown unchanged for any text; options in messages can be typed."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from models.errors import DataError
from training.cli import main
from training.data.foreign_sources import address_refusal
from training.data.source import read_source
from training.data.typed_options import typed
from training.progress import progress
from training.report import print_table
from training.search.trials.display import displayed
from training.terminal import plain_console

NAMES = [
    "[/m/s]",
    "[bold]",
    "a [red]b[/red]",
    ":smile:",
    "[link=http://x]y",
    "price [/kg]",
    "50 %",
    "{x}",
    "-x",
    "a\\[b]",
]
ROWS = 60
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A CSV whose columns, cells and name look like markup."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=ROWS).round(3) for name in NAMES})
    frame["[cells]"] = ["[/red]", "[bold]x", ":bug:"] * (ROWS // 3)
    frame["[y]"] = ["[/a]", "[b]"] * (ROWS // 2)
    frame.to_csv("[t] :smile: [kg].csv", index=False)
    return "[t] :smile: [kg].csv"


@pytest.mark.slow
def test_every_command_shows_names_as_they_are(table, capsys, tmp_path):
    target = "price [/kg]"
    tiny = ("--epochs", "2", "--hidden", "4", "--store", "store")
    assert main(["fit", table, "--target", target, *tiny, "--baselines"]) == 0
    told = capsys.readouterr()
    assert f"of {target}" in told.out
    assert f"{table}: epoch 1 of 2" in told.err
    card = (tmp_path / "store" / "t-smile-kg" / "1" / "README.md").read_text()
    report = (tmp_path / "store" / "t-smile-kg" / "1" / "report.html").read_text()
    assert "price" in card
    assert "[/m/s]" in report
    assert main(["inspect", table, "--target", target]) == 0
    shown = capsys.readouterr().out
    assert [name for name in [*NAMES, "[cells]", table, "[/red]", ":bug:"] if name not in shown] == []
    assert main(["search", table, "--target", target, *tiny, "--trials", "1", "--vary", "dropout=0..0.1"]) == 0
    assert main(["lr-find", table, "--target", target, "--hidden", "4", "--steps", "30"]) == 0
    assert main(["summary", "t-smile-kg", "--store", "store"]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_bar_on_a_terminal_shows_a_title_as_it_is(name, monkeypatch):
    for variable in ("CI", "NO_COLOR"):  # these ask for lines instead of a bar
        monkeypatch.delenv(variable, raising=False)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123  # a device, not a file
        console = Console(file=nowhere, force_terminal=True, width=200, markup=False, emoji=False, record=True)
        with progress(console, name), displayed(console, name, "rmse"):
            pass
        assert console.export_text().count(name) >= 1


@pytest.mark.slow
def test_a_run_on_a_terminal_shows_the_name_of_the_file(table):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "training", "inspect", table, "--target", "[y]"]
    run = subprocess.Popen(command, stdout=follower, stderr=follower, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    os.close(follower)
    shown = b""
    while piece := read_some(leader):
        shown += piece
    os.close(leader)
    assert run.wait() == 0
    assert table in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def read_some(terminal):
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other end closed
        return b""


@pytest.mark.parametrize(
    "arguments", [("inspect", "nowhere [/x].csv"), ("inspect", "[/a]"), ("fit", "iris", "--target", "[/y]")]
)
def test_refusals_show_names_as_they_are(arguments, capsys):
    assert main(list(arguments)) == 2
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize("name", [*NAMES, "it's", "$HOME", 'a "b"', "two words"])
def test_a_remedy_for_a_column_of_any_name_is_taken_as_it_is_typed(tmp_path, name, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pa.parquet.write_table(
        pa.table({"a": [1.0, 2.0, 3.0] * 9, name: [[1]] * 27, "y": ["u", "v", "v"] * 9}), "t.parquet"
    )
    assert main(["inspect", "t.parquet", "--target", "y"]) == 0
    refused = capsys.readouterr().out
    remedy = re.search(r"drop it \((.*)\)\.", refused)[1]
    assert shlex.split(remedy)[-1].removeprefix("--drop=") == name
    assert remedy == typed("--drop", name)
    assert main(["inspect", "t.parquet", "--target", "y", "--json", *shlex.split(remedy)]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


@pytest.mark.slow
def test_characters_that_the_terminal_lacks_and_names_that_are_no_unicode_end_in_no_traceback(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff[x].csv"
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes no bytes
        file.write("größe,b,y\n" + "1,2,0\n2,2,1\n3,1,0\n" * 20)
    run = subprocess.run(
        [sys.executable, "-m", "training", "fit", path, "--target", "y", "--epochs", "2", "--hidden", "4"],
        capture_output=True,
        env={**ENVIRONMENT, "PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr.decode()


def test_output_that_nobody_reads_to_the_end_ends_in_no_traceback(table):
    command = f"{shlex.quote(sys.executable)} -m training inspect {shlex.quote(table)} --json | head -c 10"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert run.stdout == '{\n  "sourc'
    assert "Traceback" not in run.stderr


FOREIGN = {
    "t.json": lambda frame, path: frame.to_json(path, orient="records"),
    "it's [a] t.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "t.feather": lambda frame, path: frame.to_feather(path),
    "t.orc": lambda frame, path: frame.to_orc(path),
    "t.dta": lambda frame, path: frame.to_stata(path, write_index=False),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_a_file_of_another_type_is_refused_with_a_command_that_makes_it_parquet(tmp_path, name):
    frame = pd.DataFrame({"a": [1.5, 2.5], "y": ["u", "v"]})
    FOREIGN[name](frame, tmp_path / name)
    with pytest.raises(DataError) as refused:
        read_source(tmp_path / name)
    (code,) = shlex.split(str(refused.value).split("python -c ")[1])
    exec(code)  # the code that a user would type
    made = read_source((tmp_path / name).with_suffix(".parquet"))
    assert {column: cells.to_pylist() for column, cells in made.columns.items()} == frame.to_dict("list")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.xlsx", "an Excel workbook"),
        ("a.xls", "an Excel workbook"),
        ("a.zip", "a zip archive"),
        ("a.pkl", "a pickle"),
    ],
)
def test_workbooks_and_archives_get_a_sentence(write, name, what):
    with pytest.raises(DataError, match=rf"is {what}.* is not read: "):
        read_source(write(b"PK\x03\x04", name))


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("http://x.org/a.csv", "(curl -fLO http://x.org/a.csv)"),
        ("https://x.org/a.csv?b=1&c=[2]", "(curl -fLO 'https://x.org/a.csv?b=1&c=[2]')"),
        ("s3://bucket/k.parquet", "(aws s3 cp s3://bucket/k.parquet .)"),
        ("gs://bucket/k.csv", "(gcloud storage cp gs://bucket/k.csv .)"),
        ("file:///tmp/x.csv", "name the file by its path, /tmp/x.csv"),
        ("postgresql://host/db", "fetch it first, and name the file"),
    ],
)
def test_an_address_gets_a_sentence_with_what_to_do(address, remedy, capsys):
    assert remedy in address_refusal(address)
    assert main(["inspect", address]) == 2
    assert address in capsys.readouterr().err


@pytest.mark.parametrize(
    "source", ["", ".csv", "a\0b.csv", "a" * 5_000, "/dev/null", "/proc/self/mem/x.csv", "C:\\a.csv"]
)
def test_names_that_no_table_can_have_get_a_sentence(source, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", source]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_tables_show_texts_as_they_are(capsys):
    from rich.table import Table

    table = Table(title="[/t]")
    table.add_column("[/c]")
    table.add_row("[bold]x\x1b[31m")
    print_table(table)
    plain_console().print("[/z] :smile: \x07")
    shown = capsys.readouterr().out
    assert [text for text in ("[/t]", "[/c]", "[bold]x\\x1b[31m", "[/z] :smile: \\x07") if text not in shown] == []
    assert "\x1b" not in shown
