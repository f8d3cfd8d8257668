"""Large tables lie in scratch space on the disk: the numbers are those of memory, and memory is used for little."""

import datetime as dt
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from tiny_disk import ENVIRONMENT, on_a_tiny_disk

from models.checkpoint import save_checkpoint
from training.data import csv_file, preprocessing, scratch, text_column
from training.data.column_choices import ColumnChoices
from training.data.scratch import Scratch, is_view, large_array, release_pages
from training.engines import rows as device_rows
from training.fit import fit

ROWS = 400


def a_table(seed=0, rows=ROWS):
    """Returns columns of all kinds, with gaps, two names of which one begins the other, and a copy of a row."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    some, towns = rng.random(rows) < 0.1, rng.integers(0, 14, rows)
    days = np.datetime64("2024-01-01T06:00", "us") + rng.integers(0, 10**6, rows) * np.timedelta64(60, "s")
    columns = {
        "a": pa.array(x),
        "a.b": pa.array(rng.normal(size=rows).astype(np.float32), mask=some),
        "whole": pa.array(rng.integers(-5, 90, rows, dtype=np.int16)),
        "town": pa.array([None if gap else f"town {i}" for gap, i in zip(some, towns, strict=True)]),
        "yes": pa.array(rng.random(rows) < 0.3, mask=some[::-1]),
        "day": pa.array(days),
        "due": pa.array([dt.timedelta(seconds=int(s)) for s in rng.integers(0, 99, rows)]),
        "y": pa.array(x * 3 + rng.normal(size=rows)),
    }
    table = pa.table(columns)
    return pa.concat_tables([table, table.slice(7, 1)])


@pytest.fixture
def everything_is_large(monkeypatch, tmp_path):
    """Has arrays of every size lie in scratch space, and blocks of a few rows."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(text_column, "_FEW", 10)  # or a CSV file of so few rows is kept as texts
    monkeypatch.setattr(csv_file, "_MIN_BLOCK", 4_096)
    monkeypatch.setattr(csv_file, "_COLUMN_BLOCK", 512)

    def switch():
        monkeypatch.setattr(scratch, "LARGE_BYTES", 1)
        monkeypatch.setattr(scratch, "_SEGMENT_BYTES", 10_000)
        monkeypatch.setattr(preprocessing, "_BLOCK_CELLS", 1_000)
        monkeypatch.setattr(preprocessing, "_GATHERED_BYTES", 20 * ROWS)  # two columns
        monkeypatch.setattr(preprocessing, "_BLOCK_ROWS", 37)
        monkeypatch.setattr(device_rows, "_BLOCK_ROWS", 53)
        return folder

    return switch


SETTINGS = {"epochs": 2, "members": 2, "hidden_sizes": (8,), "rows_per_epoch": 128, "batch_size": 32}


@pytest.mark.parametrize("kind", ["file", "folder", "arrow", "csv", "test file", "some rows"])
def test_a_model_has_the_same_bytes_with_its_rows_on_the_disk(tmp_path, everything_is_large, kind):
    def fitted():
        table, settings = a_table(), dict(SETTINGS)
        if kind == "arrow":
            return fit(table, target="y", name="t", **settings)
        if kind == "csv":
            columns = [name for name in table.column_names if name != "due"]
            pyarrow.csv.write_csv(table.select(columns), tmp_path / "t.csv")
            return fit(tmp_path / "t.csv", target="y", name="t", **settings)
        place = tmp_path / "t.parquet"
        pq.write_table(table, place, row_group_size=70)
        if kind == "folder":
            place = tmp_path / "parts"
            for part, count in (("part=1", 200), ("part=2", 100)):
                (place / part).mkdir(parents=True, exist_ok=True)
                pq.write_table(table.slice(len(part), count), place / part / "0.parquet")
        if kind == "test file":
            pq.write_table(a_table(seed=1, rows=80), tmp_path / "test.parquet")
            settings["test"] = tmp_path / "test.parquet"
        if kind == "some rows":
            gaps = pa.array([None if i % 9 == 0 else value for i, value in enumerate(table["y"].to_pylist())])
            pq.write_table(table.set_column(7, "y", gaps), place, row_group_size=70)
            settings |= {"choices": ColumnChoices(drop_missing_target=True), "missing_values": ("whole=3",)}
        return fit(place, target="y", name="t", **settings)

    in_memory = fitted()
    folder = everything_is_large()
    on_disk = fitted()
    assert on_disk.table.fingerprint() == in_memory.table.fingerprint()
    assert on_disk.notes == in_memory.notes
    for name, model in (("memory", in_memory), ("disk", on_disk)):
        save_checkpoint(model.checkpoint, tmp_path / name)
    assert (tmp_path / "disk").read_bytes() == (tmp_path / "memory").read_bytes()
    assert scratch._mappings  # or the test compared memory with memory
    assert not list(folder.iterdir())  # even while the arrays exist


def test_an_array_on_the_disk_keeps_its_numbers_without_its_pages(everything_is_large):
    everything_is_large()
    array = large_array((1000, 3), np.float32)
    array[:] = np.arange(3000).reshape(1000, 3)
    release_pages()
    np.testing.assert_array_equal(array, np.arange(3000).reshape(1000, 3))


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([1, None, 3], pa.int64()),
        pa.array([1.5, None, float("nan")]),
        pa.array([True, None, False] * 9),
        pa.array([dt.datetime(2024, 5, 1), None], pa.timestamp("us", "UTC")),
        pa.array(["a", None, "b"]).dictionary_encode(),
        pa.array(range(100)).slice(13, 50),
        pa.array([None, None]),
        pa.array([[1], [2, 3]]),
    ],
    ids=lambda cells: str(cells.type),
)
def test_copied_cells_are_the_same_cells(cells):
    copied = Scratch().copy_cells(cells)
    copied.validate(full=True)
    assert copied.type == cells.type
    assert str(copied.to_pylist()) == str(cells.to_pylist())  # NaN does not equal itself


def test_a_view_is_known_from_a_copy():
    cells = pa.array([1.0, 2.0, 3.0])
    assert is_view(cells.to_numpy()[1:], cells)
    assert is_view(cells.slice(1), pa.chunked_array([cells]))
    assert not is_view(cells.to_numpy().copy(), cells)
    assert not is_view(Scratch().copy_cells(cells), cells)


NO_ROOM = """
import numpy as np
from models.errors import DataError
from training.data.scratch import LARGE_BYTES, large_array
try:
    large_array((LARGE_BYTES,), np.uint8)
except DataError as error:
    print(error)
"""


def test_a_disk_without_room_is_named_with_the_remedy(tmp_path):
    place = tmp_path / "scratch"
    ran = on_a_tiny_disk(place, "size=1m", NO_ROOM, before=f"export TMPDIR={place}")
    assert ran.stdout == (
        f"{place} takes no temporary file of 67 MB for the numbers of a large table: No space left on device. Free "
        "some space there, or set TMPDIR to a folder on another disk.\n"
    ), ran.stderr


# Prints the greatest growth of the anonymous memory of a run, in MB, beyond that of its imports.
WATCHED = """
import sys, threading
import torch, scipy.optimize
import training.fit
from training.engines import torch_engine
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024
ended, peak, before = threading.Event(), [0], anonymous()
def watch():
    while not ended.wait(0.005):
        peak[0] = max(peak[0], anonymous())
watcher = threading.Thread(target=watch)
watcher.start()
try:
    model = training.fit.fit(
        sys.argv[1], target="y", epochs=1, hidden_sizes=(16,), frequencies=0, rows_per_epoch=20_000, threads=1
    )
finally:
    ended.set()
    watcher.join()
print(peak[0] - before, model.metrics["test"]["rows"])
"""


@pytest.mark.slow
def test_a_million_rows_of_thirty_numbers_take_little_memory(tmp_path):
    rng = np.random.default_rng(0)
    x = {f"x{i}": rng.normal(size=1_000_000) for i in range(30)}
    pq.write_table(pa.table({**x, "y": x["x0"] + rng.normal(size=1_000_000)}), tmp_path / "t.parquet")
    ran = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "t.parquet")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    grown, tested = map(int, ran.stdout.split())
    assert tested == 150_000
    # The table has 248 MB. With all of its copies in memory, the run grows by 833 MB.
    assert grown < 400
