"""A job that is killed goes on to the same bytes, shards together give the whole, and nothing else may have changed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scored_tables import NUMBERS, make_store, write
from serving import make_checkpoint, wait_until

from axon.cli import main
from models.errors import ConfigError, DataError
from models.store import Store
from scoring.job import score
from scoring.job_settings import JobSettings
from scoring.shard import Shard, shard_of

ROOT = Path(__file__).parents[2]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(store: Store, source: Path, out: Path, *options: str) -> int:
    command = ["score", str(source), "--model", "numbers", "--store", str(store.root), "--out", str(out)]
    return main([*command, "--device", "cpu", "--part-rows", "5000", "--keep", "id", *options])


@pytest.fixture(scope="module")
def source(numbers, tmp_path_factory):
    """Ten parts of five thousand rows, one of which does not fit."""
    x1 = numbers["x1"].to_numpy().copy()
    x1[12_345] = np.nan
    table = numbers.set_column(2, "x1", [x1])
    return write(table, tmp_path_factory.mktemp("source") / "rows.parquet", row_group_size=5_000)


@pytest.fixture(scope="module")
def whole(store, source, tmp_path_factory):
    """The files of a job that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(store, source, out, "--errors", "null") == 0
    return tree(out)


class Stop(Exception):
    """A stop in the middle of a job."""


@pytest.mark.slow
def test_a_job_that_stops_after_any_batch_goes_on_to_the_same_bytes(store, source, whole, tmp_path):
    version = store.resolve("numbers")
    settings = JobSettings(
        source=str(source), out=tmp_path / "out", form="parquet", keep=("id",), errors="null", part_rows=5_000
    )
    for batches in range(1, 5):
        left = [batches]

        def stop(_, left=left):
            left[0] -= 1
            if not left[0]:
                raise Stop

        with pytest.raises(Stop):
            score(version, settings, moved=stop)
    outcome = score(version, settings)
    assert (outcome.parts, outcome.rows, outcome.answered) == (10, 50_000, 49_999)
    assert outcome.finished_before > 0
    assert tree(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_job_that_is_killed_goes_on_to_the_same_bytes(store, source, whole, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "axon", "score", source, "--model", "numbers", "--store", store.root, "--out", out]
    command += ["--device", "cpu", "--part-rows", "5000", "--keep", "id", "--errors", "null"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # In the middle of the first part; after the record of a part; when the list of faults is there.
    for seen in ("_axon/*.tmp", "_axon/parts/*.json", "_axon/faults/*.csv"):
        process = subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.DEVNULL)
        wait_until(lambda seen=seen, process=process: any(out.glob(seen)) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run(store, source, out, "--errors", "null") == 0
    assert tree(out) == whole


def test_a_finished_job_reads_no_row_again(store, source, tmp_path, capsys):
    assert run(store, source, tmp_path / "out", "--errors", "skip") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    capsys.readouterr()
    assert run(store, source, tmp_path / "out", "--errors", "skip") == 0
    assert "in 10 parts, 10 of them before" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}


@pytest.mark.parametrize("out", ["answers", "rows/answers", "answers.parquet"])
@pytest.mark.parametrize("pattern", ["**/*.parquet", "**/*", "*"])
def test_a_pattern_that_matches_the_answers_goes_on_to_the_same_bytes(store, numbers, tmp_path, pattern, out):
    (tmp_path / "apart/rows").mkdir(parents=True)
    write(numbers.slice(0, 300), tmp_path / "apart/rows/a.parquet", row_group_size=100)
    version = store.resolve("numbers")
    suffix = Path(out).suffix

    def settings(to: Path, shard: str = "0/1") -> JobSettings:
        source = str(tmp_path / "apart" / pattern)
        return JobSettings(source=source, out=to, form="parquet", part_rows=100, shard=shard_of(shard, {}))

    score(version, settings(tmp_path / f"whole{suffix}"))

    def stop(progress):
        if progress.rows >= 200:
            raise Stop

    within = tmp_path / "apart" / out
    with pytest.raises(Stop):
        score(version, settings(within), moved=stop)
    assert score(version, settings(within)).rows == 300
    assert score(version, settings(within)).finished_before == (1 if suffix else 3)
    if suffix:
        assert within.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
        return
    assert tree(within) == tree(tmp_path / "whole")
    shutil.rmtree(within)
    for shard in ("1/2", "0/2"):
        score(version, settings(within, shard))
    assert tree(within) == tree(tmp_path / "whole")
    with pytest.raises(DataError, match="matches answers of this job alone: name another --out"):
        score(version, JobSettings(source=str(within / "*.parquet"), out=within, form="parquet"))


def test_a_part_that_was_damaged_is_made_again(store, source, whole, tmp_path):
    assert run(store, source, tmp_path / "out", "--errors", "null") == 0
    with (tmp_path / "out/part-00003.parquet").open("ab") as file:
        file.truncate(100)
    assert run(store, source, tmp_path / "out", "--errors", "null") == 0
    assert tree(tmp_path / "out") == whole


def test_shards_make_the_whole_in_any_order(store, source, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(store, source, out, "--errors", "null", "--shard", "2/3") == 0
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    monkeypatch.setenv("JOB_COMPLETIONS", "3")
    assert run(store, source, out, "--errors", "null") == 0
    assert len(list(out.glob("*.parquet"))) == 7  # 2, 5, 8 and 0, 3, 6, 9
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    for name, value in (("ID", "11"), ("MIN", "10"), ("COUNT", "3")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert run(store, source, out, "--errors", "null") == 0
    assert tree(out) == whole


def test_the_environment_says_the_shard():
    assert shard_of(None, {}) == Shard(0, 1)
    assert shard_of("1/4", {"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "2"}) == Shard(1, 4)
    slurm = {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"}
    assert shard_of(None, {**slurm, "SLURM_ARRAY_TASK_STEP": "4"}) == Shard(2, 4)
    with pytest.raises(ConfigError, match="set JOB_COMPLETIONS"):
        shard_of(None, {"JOB_COMPLETION_INDEX": "3"})
    with pytest.raises(ConfigError, match="SLURM_ARRAY_TASK_COUNT is ''"):
        shard_of(None, {"SLURM_ARRAY_TASK_ID": "3"})
    for number in range(20):
        assert sum(Shard(index, 7).has(number) for index in range(7)) == 1


def test_a_changed_model_source_or_setting_is_refused(numbers, tmp_path, capsys):
    store = make_store(tmp_path / "store")
    rows = tmp_path / "rows"
    rows.mkdir()
    write(numbers.slice(0, 9), rows / "a.parquet")
    out = tmp_path / "out"
    assert run(store, rows, out) == 0

    def refusal(*options: str) -> str:
        assert run(store, rows, out, *options) == 2
        return capsys.readouterr().err

    capsys.readouterr()
    assert "was begun with --errors refuse, not skip" in refusal("--errors", "skip")
    assert "was begun with --keep id, not id,x0" in refusal("--keep", "id,x0")
    write(numbers.slice(0, 4), rows / "b.csv")
    assert "the source's file b.csv is new since" in refusal()
    (rows / "b.csv").unlink()
    assert run(store, rows, out) == 0
    os.utime(rows / "a.parquet", ns=(0, 0))
    assert "the source's file a.parquet has changed since" in refusal()
    stat = (out / "_axon/manifest.json").read_text()
    assert "a.parquet" in stat
    store.publish("numbers", make_checkpoint(NUMBERS, 16, 16, seed=5))
    assert "was begun with numbers@1, and the model is numbers@2 now" in refusal()


def test_a_source_that_changes_meanwhile_is_refused(store, numbers, tmp_path):
    source = write(numbers, tmp_path / "rows.parquet", row_group_size=5_000)
    settings = JobSettings(source=str(source), out=tmp_path / "out", form="parquet", part_rows=5_000)
    from models.errors import DataError

    def touch(_):
        os.utime(source, ns=(1, 1))

    with pytest.raises(DataError, match="changed while it was read"):
        score(store.resolve("numbers"), settings, moved=touch)


def test_one_file_begins_anew_and_another_file_is_not_overwritten(store, source, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    assert run(store, source, out, "--errors", "skip") == 0
    first = out.read_bytes()
    out.unlink()
    assert run(store, source, out, "--errors", "skip") == 0
    assert out.read_bytes() == first
    (tmp_path / "other.csv").write_text("mine")
    assert run(store, source, tmp_path / "other.csv") == 2
    assert "other.csv exists: remove it" in capsys.readouterr().err
    assert (tmp_path / "other.csv").read_text() == "mine"
