"""Files of the log of predictions: whole records at any cut, the same cells, and conversions that may be killed."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scored_tables import MIXED
from serving import wait_until
from small_logs import log_rows

from models.columns.column import CategoricalColumn, DateColumn, NumericColumn
from models.columns.encoding import NamedColumns, RowEncoder
from models.columns.labels import Label
from models.columns.schema import ClassTarget, Schema
from models.columns.unknown_texts import UnknownText
from models.errors import DataError
from models.prediction_log import folder
from models.prediction_log.cells import decoded_columns
from models.prediction_log.conversion import convert_spools
from models.prediction_log.folder import SPOOLS, make_spool, new_spool, parquet_files, remove_oldest, spools
from models.prediction_log.logged_rows import EncodedRows, LoggedRows, read_spool, rows_record, version_record
from models.prediction_log.logged_version import LoggedVersion, logged_columns
from models.prediction_log.parquet_files import read_parquet, write_parquet
from models.prediction_log.reading import read_log
from models.prediction_log.spool import MAGIC, read_records, record

EVERY_KIND = Schema(
    columns=(
        *MIXED.columns,
        NumericColumn(name="stamp", mean=1.7e9, std=50, minimum=1.6e9, maximum=1.8e9, origin=1.7e9),
        CategoricalColumn(name="code", categories=tuple("abcdef"), encoding="index", unknown="ignore"),
        DateColumn(
            name="seen",
            mean=19_000,
            std=90,
            minimum=18_000,
            maximum=20_000,
            parts=("hour", "weekday", "day"),
            missing="indicator",
        ),
    ),
    target=ClassTarget(name="y", labels=("no", "yes")),
)


def rows_of_every_kind(rows: int, seed: int) -> NamedColumns:
    rng = np.random.default_rng(seed)

    def some(values: list[object], gap: object = None) -> list[object]:
        drawn = [values[place] for place in rng.integers(len(values), size=rows)]
        return drawn if gap == "" else [gap if rng.random() < 0.1 else value for value in drawn]

    days = [f"2021-{month:02}-{day:02}" for month in (1, 6, 12) for day in (1, 28)]
    moments = [f"{day}T{time}Z" for day in days for time in ("00:00:00", "00:07:00", "09:00:00", "23:00:00")]
    return NamedColumns(
        {
            "age": some([1, 2.5, 0.1, 99]),
            "height": some([170.25, 101, 219.9], ""),
            "town": some(["Ely", "Rye", "Åre"]),
            "floor": some([1, 2, 3], ""),
            "joined": some(["2015-03-01", "2016-02-29", "1999-12-31"]),
            "member": some([True, False], ""),
            "stamp": some([1.7e9 + 0.5, 1.69e9, 1.7e9 - 33.25], ""),
            "code": some(list("abcdef"), ""),
            "seen": some(list(moments)),
        },
        rows,
    )


def test_decoded_cells_are_the_cells_that_were_sent_and_encode_to_the_same_bytes() -> None:
    encoder = RowEncoder(EVERY_KIND)
    given = rows_of_every_kind(500, seed=1)
    encoded = np.frombuffer(encoder.encode_any(given), dtype="<f4").reshape(500, -1)
    decoded = decoded_columns(EVERY_KIND.columns, encoded)
    again = encoder.encode_any(NamedColumns(dict(zip(EVERY_KIND.names, decoded, strict=True)), 500))
    assert bytes(again) == encoded.tobytes()
    for column, cells in zip(EVERY_KIND.columns, decoded, strict=True):
        sent = given.by_name[column.name]
        for mine, theirs in zip(cells, sent, strict=True):
            if theirs is None:
                assert mine is None or mine != mine or np.isnat(mine)
            elif isinstance(column, DateColumn):
                # A float32 tells moments apart by minutes only; full hours come back as they were.
                distance = abs(mine - np.datetime64(str(theirs).removesuffix("Z")))
                assert distance <= np.timedelta64(170 if "7:00Z" in str(theirs) else 0, "s")
            elif isinstance(column, CategoricalColumn):
                assert mine == (str(theirs).lower() if isinstance(theirs, bool) else str(theirs))
            else:
                assert float(mine) == (theirs if column.origin else np.float32(theirs))


VERSION = LoggedVersion(
    name="mixed",
    version=3,
    digest="d",
    columns=EVERY_KIND.columns,
    left_out=0,
    target=EVERY_KIND.target,
    has_probabilities=True,
)


def encoded_rows(rows: int, seed: int) -> EncodedRows:
    given = rows_of_every_kind(rows, seed)
    encoded = np.frombuffer(RowEncoder(EVERY_KIND).encode_any(given), dtype="<f4").reshape(rows, -1)
    yes = np.random.default_rng(seed).random(rows, dtype=np.float32)
    return EncodedRows(
        times=1.7e9 + np.arange(rows) / 8,
        request_ids=[f"{seed}-{at}" for at in range(rows)],
        places=np.zeros(rows, dtype=np.int32),
        asked=[None if at % 2 else "mixed@3" for at in range(rows)],
        members=[None] * rows,
        rows=encoded,
        answers=np.column_stack([1 - yes, yes]),
        unknown=[UnknownText(0, 2, "Atlantis")],
    )


def spool_of(*seeds: int, rows: int = 5) -> bytes:
    return MAGIC + version_record(0, VERSION) + b"".join(rows_record(0, encoded_rows(rows, seed)) for seed in seeds)


def same(one: LoggedRows, other: LoggedRows) -> None:
    assert one.version == other.version
    assert (one.request_ids, one.asked, one.members) == (other.request_ids, other.asked, other.members)
    for mine, theirs in ((one.times, other.times), (one.places, other.places), (one.answers, other.answers)):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(one.columns, other.columns, strict=True):
        assert isinstance(mine, list) == isinstance(theirs, list)
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


def test_a_spool_that_was_cut_anywhere_has_its_whole_records() -> None:
    whole = spool_of(1, 2)
    ends = [len(spool_of()), len(spool_of(1)), len(whole)]
    for cut in {
        *range(0, len(whole) + 1, 5),
        *(end + step for end in ends for step in (-1, 0, 1) if end + step <= len(whole)),
    }:
        found = read_spool(whole[:cut])
        records = sum(cut >= end for end in ends)
        assert [len(rows) for rows in found] == ([] if records < 2 else [5 * (records - 1)]), cut


def test_a_damaged_record_ends_a_spool_and_foreign_files_are_refused() -> None:
    whole = spool_of(1, 2)
    for at in range(len(spool_of(1)), len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0x40
        [rows] = read_spool(bytes(damaged))
        assert rows.request_ids == [f"1-{row}" for row in range(5)]
    with pytest.raises(DataError, match="is not a spool"):
        list(read_records(b"PAR1 and more"))
    with pytest.raises(DataError, match="format 2, and this Axon reads format 1"):
        read_spool(MAGIC + record({"kind": "version", "number": 0, "format": 2}))


def test_a_parquet_file_has_the_rows_of_its_spool(tmp_path: Path) -> None:
    [rows] = read_spool(spool_of(1, 2, rows=40))
    write_parquet(rows, tmp_path / "one.parquet")
    same(read_parquet(tmp_path / "one.parquet"), rows)
    assert [path.name for path in tmp_path.iterdir()] == ["one.parquet"]
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad.parquet is not a Parquet file"):
        read_parquet(tmp_path / "bad.parquet")


def test_columns_are_left_out_by_any_spelling() -> None:
    columns, places, positions = logged_columns(MIXED, [" age", "town ", "unheard of"])
    assert [column.name for column in columns] == ["height", "floor", "joined", "member"]
    assert positions == (None, 0, None, 1, 2, 3)
    assert places is not None
    assert places.tolist() == [2, *range(6, MIXED.width)]
    assert logged_columns(MIXED, [])[1] is None


def fill(folder: Path, files: int, rows: int) -> set[str]:
    """Writes spools whose writers have ended; returns the ids of all rows."""
    (folder / SPOOLS).mkdir(parents=True, exist_ok=True)
    ids = set()
    for seed in range(files):
        new_spool(folder, f"api-{seed}").write_bytes(spool_of(seed, rows=rows))
        ids |= {f"{seed}-{at}" for at in range(rows)}
    return ids


def ids_in(folder: Path) -> list[str]:
    return [one for rows in read_log(folder) for one in rows.request_ids]


@pytest.mark.slow
def test_conversions_that_are_killed_lose_and_double_nothing(tmp_path: Path) -> None:
    ids = fill(tmp_path, 24, 600)
    command = [sys.executable, "-m", "service.prediction_log", str(tmp_path), str(1 << 40)]
    for at_most in (20, 10):
        process = subprocess.Popen(command)
        wait_until(lambda: len(spools(tmp_path)) <= at_most)  # noqa: B023
        time.sleep(random.Random(at_most).random() / 50)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for path in parquet_files(tmp_path):
            assert len(read_parquet(path)) == 600
        found = ids_in(tmp_path)
        assert (len(found), set(found)) == (len(ids), ids)
    assert spools(tmp_path)
    assert convert_spools(tmp_path, 1 << 40) == []
    assert sorted(ids_in(tmp_path)) == sorted(ids)
    assert not list(tmp_path.rglob("*.new"))


@pytest.mark.slow
def test_a_spool_of_a_living_writer_is_left_alone_and_an_unreadable_one_is_set_aside(tmp_path: Path) -> None:
    fill(tmp_path, 1, 5)
    living = new_spool(tmp_path, "api-9")
    descriptor = make_spool(living)
    os.write(descriptor, spool_of(7))
    strange = new_spool(tmp_path, "api-8")
    strange.write_bytes(b"something else")
    code = f"from models.prediction_log.conversion import *; print(convert_spools(Path({str(tmp_path)!r}), 1 << 40))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "is not a spool of the log of predictions" in said
    assert spools(tmp_path) == [living]
    assert len(ids_in(tmp_path)) == 10
    os.close(descriptor)
    convert_spools(tmp_path, 1 << 40)
    assert not spools(tmp_path)
    assert len(parquet_files(tmp_path)) == 2


def test_a_spool_that_begins_during_a_conversion_loses_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SPOOLS).mkdir()
    spool = new_spool(tmp_path, "api-0")

    def lock_late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        convert_spools(tmp_path, 1 << 40)  # between the creation of the file and its lock
        fcntl.flock(descriptor, how)

    monkeypatch.setattr(folder, "fcntl", SimpleNamespace(**vars(fcntl) | {"flock": lock_late}))
    descriptor = make_spool(spool)
    os.write(descriptor, spool_of(1))
    os.close(descriptor)
    assert len(ids_in(tmp_path)) == 5


def test_a_look_at_a_spool_by_another_process_stops_no_conversion(tmp_path: Path) -> None:
    fill(tmp_path, 1, 5)
    with spools(tmp_path)[0].open("rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        convert_spools(tmp_path, 1 << 40)
    assert not spools(tmp_path)
    assert len(parquet_files(tmp_path)) == 1


def test_a_spool_that_leaves_meanwhile_stops_no_conversion(tmp_path: Path) -> None:
    fill(tmp_path, 2, 5)
    (tmp_path / SPOOLS / "20000101T000000Z-api-0-00000000.spool").symlink_to("gone")  # listed, but not to be read
    assert convert_spools(tmp_path, 1 << 40) == []
    assert len(parquet_files(tmp_path)) == 2
    assert len(ids_in(tmp_path)) == 10


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ((1, 2**63), "uint64"),
        ((0, 2**64 - 1), "uint64"),
        ((-(2**63), 2**64 - 1), "decimal128(20, 0)"),
        ((-(2**63), 2**63 - 1), "int64"),
        ((True, False), "bool"),
        ((0.5, 2.0), "double"),
        (("7", "8"), "string"),
    ],
)
def test_labels_of_each_type_are_predictions_of_that_type(tmp_path: Path, labels: tuple[Label, ...], kind: str) -> None:
    log_rows(tmp_path, [1, 2, 3], [1, 0, 1], labels=labels)
    log_rows(tmp_path, [4], [0], labels=labels)  # the type is that of all labels, not of those in the file
    assert convert_spools(tmp_path, 1 << 40) == []
    tables = [pq.read_table(path) for path in parquet_files(tmp_path)]
    assert {str(table.schema.field("prediction").type) for table in tables} == {kind}
    assert sorted(map(len, (table["prediction"].to_pylist() for table in tables))) == [1, 3]
    assert next(t for t in tables if len(t) == 3)["prediction"].to_pylist() == [labels[1], labels[0], labels[1]]
    assert [rows.version.labels for rows in read_log(tmp_path)] == [labels, labels]


def test_a_spool_that_cannot_be_converted_stays_and_stops_no_other(tmp_path: Path) -> None:
    strange = log_rows(tmp_path, [1], [0])
    data = strange.read_bytes()
    strange.write_bytes(data + record({"kind": "rows"}))  # a sound record without its fields
    fill(tmp_path, 2, 5)
    [remark] = convert_spools(tmp_path, 1 << 40)
    assert remark == f"{strange} cannot become Parquet files, and stays: KeyError('number')"
    assert spools(tmp_path) == [strange]
    assert len(parquet_files(tmp_path)) == 2
    strange.write_bytes(data)
    assert convert_spools(tmp_path, 1 << 40) == []
    assert len(ids_in(tmp_path)) == 11


def test_the_oldest_files_leave_first(tmp_path: Path) -> None:
    fill(tmp_path, 3, 50)
    convert_spools(tmp_path, 1 << 40)
    files = parquet_files(tmp_path)
    (tmp_path / SPOOLS / "20000101T000000Z-api-0-00000000.spool").write_bytes(spool_of(1))
    sizes = [path.stat().st_size for path in files]
    assert remove_oldest(tmp_path, sizes[1] + sizes[2]) == 2
    assert parquet_files(tmp_path) == files[1:]
    assert spools(tmp_path) == []


def test_folders_that_are_no_log_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no log of predictions: name the folder of AXON_PREDICTION_LOG"):
        list(read_log(tmp_path))
    with pytest.raises(DataError, match="is not a folder"):
        list(read_log(tmp_path / "absent"))
