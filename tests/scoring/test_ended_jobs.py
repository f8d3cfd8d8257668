"""A job that ends says how: by its exit code, by a message that names the remedy, and by a mark when all is done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scored_tables import write
from serving import make_checkpoint, numeric

from axon.cli import main
from models.columns.column import DateColumn
from models.columns.schema import NumericTarget, Schema
from models.store import Store

ROOT = Path(__file__).parents[2]


def score(store, source, out, *options: str) -> int:
    given = ["score", str(source), "--model", "numbers", "--store", str(store.root), "--out", str(out)]
    return main([*given, "--device", "cpu", "--part-rows", "5000", *options])


@pytest.fixture(scope="module")
def source(numbers, tmp_path_factory):
    """Four parts of five thousand rows, one of which does not fit."""
    table = numbers.slice(0, 20_000)
    x1 = table["x1"].to_numpy().copy()
    x1[12_345] = np.nan
    return write(
        table.set_column(2, "x1", [x1]), tmp_path_factory.mktemp("source") / "rows.parquet", row_group_size=5_000
    )


def test_a_disk_that_refuses_at_the_end_of_a_part_is_said(store, source, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert score(store, source, out, "--errors", "skip", "--shard", "0/2") == 0
    (out / "part-00001.parquet/full").mkdir(parents=True)  # no file can be renamed to this
    assert score(store, source, out, "--errors", "skip", "--shard", "1/2") == 2
    assert f"error: {out} cannot be written: Is a directory" in capsys.readouterr().err
    shutil.rmtree(out / "part-00001.parquet")

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        assert score(store, source, out, "--errors", "skip", "--shard", "1/2") == os.EX_TEMPFAIL
    assert f"error: {out} cannot be written: No space left on device." in capsys.readouterr().err
    assert not list((out / "_axon").glob("*.tmp"))
    assert score(store, source, out, "--errors", "skip", "--shard", "1/2") == 0


def test_the_exit_code_says_whether_a_fault_may_pass(store, source, tmp_path, capsys, monkeypatch):
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(source.read_bytes()[:-20])
    assert score(store, damaged, tmp_path / "out") == 2
    broken = bytearray(source.read_bytes())
    broken[4 : len(broken) // 2] = bytes(len(broken) // 2 - 4)
    damaged.write_bytes(broken)
    assert score(store, damaged, tmp_path / "out", "--errors", "null") == 2
    assert score(store, source, tmp_path / "out2") == 2  # a row does not fit
    assert score(store, source, tmp_path / "out3", "--keep", "nobody") == 2

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("scoring.job.score", fail)
    assert score(store, source, tmp_path / "out4") == os.EX_TEMPFAIL
    assert "the memory of this machine is not enough" in capsys.readouterr().err


def test_deleting_what_a_message_names_lets_a_single_file_begin_again(store, source, tmp_path, capsys):
    out = tmp_path / "answers.parquet"
    assert score(store, source, out, "--errors", "skip") == 0
    assert score(store, source, out, "--errors", "null") == 2
    assert f"or delete the file and the folder {out}.axon to begin again" in capsys.readouterr().err
    out.unlink()
    shutil.rmtree(f"{out}.axon")
    assert score(store, source, out, "--errors", "null") == 0
    Path(f"{out}.axon/manifest.json").write_text("{")
    assert score(store, source, out, "--errors", "null") == 2
    assert f"manifest.json is damaged: delete {out} and {out}.axon, and begin again" in capsys.readouterr().err


def test_the_last_shard_says_that_the_job_is_complete(store, source, tmp_path, capsys):
    out = tmp_path / "out"
    complete = out / "_axon/complete.json"
    for shard, left in (("1/3", "3 parts are"), ("0/3", "1 part is")):
        assert score(store, source, out, "--errors", "skip", "--shard", shard) == 0
        assert f"{left} of other shards and not finished yet" in capsys.readouterr().err
        assert not complete.exists()
    assert score(store, source, out, "--errors", "skip", "--shard", "2/3") == 0
    assert "not finished yet" not in capsys.readouterr().err
    assert json.loads(complete.read_text()) == {"parts": 4, "rows": 20_000, "faulty_rows": 1}
    (out / "part-00002.parquet").unlink()
    assert score(store, source, out, "--errors", "skip", "--shard", "1/3") == 0
    assert "1 part is of other shards and not finished yet" in capsys.readouterr().err
    assert score(store, source, out, "--errors", "skip", "--shard", "2/3") == 0
    assert json.loads(complete.read_text()) == {"parts": 4, "rows": 20_000, "faulty_rows": 1}


PERIODS = """
import sys
import pyarrow.parquet as pq
from axon.cli import main
from scoring.scorer import Scorer
assert main(sys.argv[1:]) == 0
table = pq.read_table(sys.argv[2])
assert str(table.schema.field("month").type) == "int64", "the type of periods is not registered in this process"
print(Scorer(sys.argv[4], sys.argv[6])(table)["prediction"].to_pylist())
"""


def test_periods_are_dates_where_their_type_is_not_registered(tmp_path):
    date = DateColumn(name="month", mean=18_000, std=900, minimum=1_000, maximum=20_000, parts=("month",))
    target = NumericTarget(name="y", mean=0, std=1, minimum=-9, maximum=9)
    store = Store(tmp_path / "store")
    store.publish("months", make_checkpoint(Schema(columns=(date, numeric("x")), target=target), 8))
    months = pd.period_range("2001-01", periods=200, freq="M")
    frame = pd.DataFrame({"month": months, "x": np.linspace(-1, 1, 200)})
    frame.to_parquet(tmp_path / "periods.parquet")
    frame.assign(month=months.to_timestamp()).to_parquet(tmp_path / "dates.parquet")

    def given(name: str) -> list[str]:
        options = ["--model", "months@1", "--store", str(store.root), "--out", str(tmp_path / name), "--device", "cpu"]
        return ["score", str(tmp_path / f"{name}.parquet"), *options]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", PERIODS, *given("periods")],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        timeout=90,
    )
    assert main(given("dates")) == 0
    found = (tmp_path / "periods/part-00000.parquet").read_bytes()
    assert found == (tmp_path / "dates/part-00000.parquet").read_bytes()
    assert json.loads(ran.stdout) == pd.read_parquet(tmp_path / "dates")["prediction"].tolist()
