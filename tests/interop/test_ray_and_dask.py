"""`axon.Scorer` in Ray Data and in Dask, unmodified: the answers of `axon score`, also after a worker was killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import scored_tables
from client_runs import CLIENTS, Reports, run_client
from serving import make_checkpoint, marked_processes, wait_until

from axon.cli import main
from benchmarks.peer import ROOT

LONGEST_SECONDS = 900  # on a quiet machine one; each actor of Ray is a process that imports torch
BAD_ROWS = (7, 24_000, 49_999)
SCRIPTS = {"ray": "ray_data", "dask": "dask_frames"}


class Run(NamedTuple):
    """The run of an engine.

    Attributes:
        reports: reports of the script.
        folder: folder of the answers.
    """

    reports: Reports
    folder: Path

    def answers(self, call: str) -> pa.Table:
        """Returns the answers of a call."""
        return pq.read_table(self.folder / f"{call}.parquet")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, sources for its models, and the answers of `axon score` in `NAME-answers`."""
    folder = tmp_path_factory.mktemp("engines")
    scored_tables.make_store(folder / "store")
    numbers = scored_tables.numbers()
    x1 = numbers["x1"].to_numpy().copy()
    x1[list(BAD_ROWS)] = np.nan
    broken = numbers.set_column(numbers.column_names.index("x1"), "x1", pa.array(x1))
    for name, table in {"rows": numbers, "broken": broken, "mixed": scored_tables.mixed()}.items():
        (folder / name).mkdir()
        size = len(table) // 5
        for start in range(0, len(table), size):
            pq.write_table(table.slice(start, size), folder / name / f"{start:05}.parquet")
    for call, source, model, *options in (
        ("rows", "rows", "numbers", "--keep", "id"),
        ("skip", "broken", "numbers", "--keep", "id", "--errors", "skip"),
        ("null", "broken", "numbers", "--keep", "id", "--errors", "null"),
        ("mixed", "mixed", "mixed", "--keep", "note"),
    ):
        out = str(folder / f"{call}-answers")
        settings = ["--store", str(folder / "store"), "--out", out, "--quiet", *options]
        assert main(["score", str(folder / source), "--model", model, *settings]) == 0
    return folder


@pytest.fixture(scope="module", params=["ray", "dask"])
def run(request: pytest.FixtureRequest, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The run of each engine."""
    scratch = Path(tempfile.mkdtemp(prefix="axon-"))  # not in pytest's folder: the paths of Ray's sockets are long
    try:
        yield _run(SCRIPTS[request.param], sources, tmp_path_factory.mktemp(request.param), scratch)
    finally:
        shutil.rmtree(scratch)


def _run(script: str, sources: Path, folder: Path, scratch: Path) -> Run:
    """Runs the script of an engine, and checks that no process is left."""
    store = scored_tables.make_store(folder / "replaced")
    store.publish("mixed", make_checkpoint(scored_tables.MIXED, 16, seed=9))
    (store.root / "mixed/2").rename(folder / "other")
    held = folder / "held"
    held.mkdir()
    mark = f"TESTED_ENGINE={folder}"
    variables = {
        "TESTED_ENGINE": str(folder),  # inherited by all processes of the engine
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(CLIENTS)]),
        "HELD_FOLDER": str(held),
        "RAY_FOLDER": str(scratch / "ray"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray listens on the loopback interface only
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one to the home folder
        "DASK_FOLDER": str(scratch / "dask"),
    }
    try:
        reports = run_client(
            script,
            str(sources),
            str(folder),
            module=script,
            environment="engines",
            variables=variables,
            longest_seconds=LONGEST_SECONDS,
        )
        wait_until(lambda: not marked_processes(mark), lambda: str(marked_processes(mark)))
    finally:
        for pid in marked_processes(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return Run(reports, folder)


def _bits(table: pa.Table, key: str) -> dict[str, Any]:
    """Returns the columns of a table in the order of a key: bytes of floats, and other cells as objects.

    Engines give rows back in any order, texts as any type of text, and frames have NaN for a missing number.
    """
    table = table.select([name for name in table.column_names if not name.startswith("__")]).sort_by(key)
    found: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.itercolumns(), strict=True):
        cells = column.to_numpy()
        found[name] = (cells.dtype, cells.tobytes()) if cells.dtype.kind == "f" else column.to_pylist()
    return found


def _check(run: Run, sources: Path, call: str, oracle: str, key: str) -> None:
    wanted = _bits(pyarrow.dataset.dataset(sources / f"{oracle}-answers", format="parquet").to_table(), key)
    found = _bits(run.answers(call), key)
    assert list(found) == list(wanted)
    for name, cells in wanted.items():
        assert found[name] == cells, name


def test_answers_have_the_bytes_of_axon_score(run: Run, sources: Path) -> None:
    calls = {path.stem for path in run.folder.glob("*.parquet")}
    numbers = calls & {"actors pyarrow", "actors pandas", "actors numpy", "processes"}
    mixed = calls & {"tasks pyarrow", "tasks pandas", "tasks numpy", "all kinds"}
    assert len(numbers) == len(mixed) == (3 if "actors numpy" in calls else 1)
    for call in numbers:
        _check(run, sources, call, "rows", "id")
    for call in mixed:
        _check(run, sources, call, "mixed", "note")


@pytest.mark.parametrize("errors", ["skip", "null"])
def test_rows_that_do_not_fit_are_left_out_or_null(run: Run, sources: Path, errors: str) -> None:
    _check(run, sources, errors, errors, "id")
    without = set(range(50_000)) - set(run.answers(errors)["id"].to_pylist())
    assert without == (set(BAD_ROWS) if errors == "skip" else set())


def test_a_row_that_does_not_fit_ends_the_job_with_its_reason(run: Run) -> None:
    assert "RowError" in run.reports["refuse"]
    assert "column 'x1': the value is missing" in run.reports["refuse"]


def test_a_replaced_version_is_refused_by_the_workers(run: Run) -> None:
    assert "StoreError" in run.reports["replaced"]
    assert "mixed@1 was replaced" in run.reports["replaced"]


def test_the_engine_answers_again_what_a_killed_worker_had(run: Run, sources: Path) -> None:
    assert "MapWorker" in run.reports["killed"] or "spawn" in run.reports["killed"]  # an actor, a process of Dask's
    assert len(list((run.folder / "held").glob("held-*"))) == 2  # the same rows, in two processes
    _check(run, sources, "killed", "rows", "id")
