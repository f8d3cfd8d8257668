"""The choice of logged rows: each with the same probability, and no more than the writer can take."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from serving import CHECKPOINTS, wait_until

from models.columns.encoding import RowEncoder
from models.prediction_log.reading import read_log
from models.store import Store
from service.batching.served_version import ServedVersion
from service.batching.ticket import NamedRow, Ticket
from service.metrics import ModelMetrics
from service.prediction_log import writer
from service.prediction_log.log import PredictionLog, Sampler
from service.settings import Settings

pytestmark = pytest.mark.slow

COLOURS = CHECKPOINTS["colours"]


@pytest.mark.parametrize("share", [0.003, 0.1, 0.5, 0.97])
def test_rows_are_chosen_independently_with_the_share(share: float) -> None:
    sampler, rng = Sampler(share), np.random.default_rng(1)
    rows, chosen = 0, []
    for size in rng.choice([1, 1, 1, 2, 30, 400], 6000).tolist():
        chosen += [rows + at for at in sampler.choose(size)]
        rows += size
    assert chosen == sorted(set(chosen))
    assert stats.binomtest(len(chosen), rows, share).pvalue > 1e-6
    neighbours = sum(b - a == 1 for a, b in itertools.pairwise(chosen))
    assert stats.binomtest(neighbours, len(chosen) - 1, share).pvalue > 1e-6
    assert list(Sampler(1.0).choose(5)) == [0, 1, 2, 3, 4]


class Request(Ticket):
    """A request whose rows are logged."""

    is_logged = True

    def __init__(self, id_: str, served: ServedVersion, rows: np.ndarray, first: int = 0) -> None:
        super().__init__()
        self._id, self._first = id_, first
        self.served, self.rows = served, len(rows)
        self.data = RowEncoder(served.schema).encode_any(rows)
        self.row_bytes = 4 * served.width

    def named_row(self, row: int) -> NamedRow:
        return NamedRow(self._id, self._first + row, None, None)


@pytest.fixture
def served(tmp_path: Path) -> ServedVersion:
    store = Store(tmp_path / "store")
    version = store.publish("colours", COLOURS)
    return ServedVersion(version, version.identity(), ModelMetrics("colours", "1", lambda _: None))


def make_log(folder: Path, **more: object) -> PredictionLog:
    folder.mkdir(exist_ok=True)
    return PredictionLog(Settings(prediction_log=folder, **more), folder, "api-0")


def test_a_cut_request_is_logged_once_all_its_rows_are_answered(served: ServedVersion, tmp_path: Path) -> None:
    log = make_log(tmp_path / "log")
    rng = np.random.default_rng(0)
    answers = rng.random((9, 3), dtype=np.float32)
    whole, failing = (Request(id_, served, rng.normal(size=(9, 4)).astype(np.float32)) for id_ in ("whole", "failing"))
    for request, spans in ((failing, [(0, 4)]), (whole, [(4, 9), (0, 4)])):
        for start, stop in spans:
            log.take(request, start, stop, answers[start:stop])
            request.answered_rows += stop - start
    log.start()
    log.stop(30)
    rows = list(read_log(tmp_path / "log"))
    assert [one.request_ids for one in rows] == [["whole"] * 9]
    order = np.argsort(rows[0].places)
    assert rows[0].places[order].tolist() == list(range(9))
    np.testing.assert_array_equal(rows[0].answers[order], answers)
    assert whole.logged_parts is None


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_rows_of_a_part_of_a_call_have_their_numbers_in_the_call(
    served: ServedVersion, tmp_path: Path, share: float
) -> None:
    log = make_log(tmp_path / "log", prediction_log_sample=share)
    answers = np.random.default_rng(0).random((200, 3), dtype=np.float32)
    request = Request("part", served, np.zeros((200, 4), np.float32), first=10_000)
    for start, stop in ((120, 200), (0, 120)):
        log.take(request, start, stop, answers[start:stop])
        request.answered_rows += stop - start
    log.start()
    log.stop(30)
    [rows] = read_log(tmp_path / "log")
    np.testing.assert_array_equal(rows.answers, answers[rows.places - 10_000])
    assert len(rows) == 200 if share == 1 else 0 < len(rows) < 200
    assert len(set(rows.places.tolist())) == len(rows)


def test_a_request_that_fails_gives_its_room_back(served: ServedVersion, tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", prediction_log_bytes=1 << 24)
    rows = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    answers = np.random.default_rng(1).random((2000, 3), dtype=np.float32)
    for at in range(100):  # each is answered in part, and then its deadline passes
        log.take(Request(f"late-{at}", served, rows), 0, 1500, answers[:1500])
    log.take(Request("well", served, rows), 0, 2000, answers)
    log.start()
    log.stop(30)
    assert [set(one.request_ids) for one in read_log(tmp_path / "log")] == [{"well"}]
    assert log.counts._rows["dropped"]._value.get() == 0


def test_a_stop_does_not_wait_for_the_pause(
    served: ServedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(tmp_path / "log")
    rows, answers = np.zeros((1, 4), dtype=np.float32), np.zeros((1, 3), dtype=np.float32)
    monkeypatch.setattr(writer, "_PAUSE_SECONDS", 60.0)
    log.start()
    log.take(Request("last", served, rows), 0, 1, answers)
    time.sleep(0.1)  # so that the writer is in its pause, which the claim does not depend on
    log.stop(30)
    assert [one.request_ids for one in read_log(tmp_path / "log")] == [["last"]]


def test_a_conversion_that_cannot_be_started_stops_no_log(
    served: ServedVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(tmp_path / "log", prediction_log_seconds=1)
    rows, answers = np.zeros((1, 4), dtype=np.float32), np.zeros((1, 3), dtype=np.float32)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    log.start()
    for name in ("first", "second"):
        log.take(Request(name, served, rows), 0, 1, answers)
        wait_until(lambda: log._writer._is_conversion_due)
    log.stop(30)
    assert sorted(id_ for one in read_log(tmp_path / "log") for id_ in one.request_ids) == ["first", "second"]
    assert log.counts._rows["failed"]._value.get() == 0


def bytes_in(folder: Path) -> int:
    """Returns the number of bytes of all files."""
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def test_memory_and_disk_are_bounded(served: ServedVersion, tmp_path: Path) -> None:
    bound = 1 << 24
    log = make_log(tmp_path / "log", prediction_log_bytes=bound)
    rows = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    answers = np.random.default_rng(1).random((2000, 3), dtype=np.float32)
    for at in range(200):  # the writer has not started: all of it would wait in memory
        log.take(Request(f"early-{at}", served, rows), 0, 2000, answers)
    waiting = log._waiting_bytes
    assert 0 < waiting <= bound // 32
    log.start()
    wait_until(lambda: not log._waiting_bytes)
    largest = 0
    for at in range(12):
        for part in range(5):
            log.take(Request(f"r-{at}-{part}", served, rows[:1000]), 0, 1000, answers[:1000])
        wait_until(lambda: not log._waiting_bytes)
        largest = max(largest, bytes_in(tmp_path / "log"))
    log.stop(30)
    assert largest <= bound
    assert log.counts._rows["written"]._value.get() > 30_000
    assert log.counts._rows["dropped"]._value.get() > 100_000
