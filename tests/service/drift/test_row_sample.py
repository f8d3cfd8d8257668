"""The sample of answered rows: all rows at a low rate, every k-th one at a high rate, all within a budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, NumericColumn, Schema
from service.batching.encoded_rows import EncodedRows
from service.batching.ticket import Span, Ticket
from service.drift.row_sample import RowSample, SampleBudget

WIDTH = 3
Matrix = NDArray[np.float32]


class Asked(Ticket):
    """A request with rows."""

    __slots__ = ("unknown",)

    def __init__(self, rows: Matrix, unknown: dict[str, int] | None = None) -> None:
        super().__init__()
        self.data, self.rows, self.unknown = rows.tobytes(), len(rows), unknown or {}


class Evaluated(Asked):
    """A chunk of an explanation."""

    is_made_up = True


def numbered(first: int, rows: int) -> Matrix:
    """Returns rows of which each has its number in all cells."""
    return np.repeat(np.arange(first, first + rows, dtype=np.float32), WIDTH).reshape(rows, WIDTH)


def whole(*tickets: Asked) -> list[Span]:
    return [(ticket, 0, ticket.rows) for ticket in tickets]


def sample_of(rate: float, calls: list[int] | None = None) -> RowSample:
    return RowSample(WIDTH, SampleBudget(rate), lambda: None if calls is None else calls.append(1))


def taken(sample: RowSample) -> tuple[list[int], list[int]]:
    """Returns the numbers of the taken rows, and of their answers; all cells of a row are of one row."""
    rows = np.concatenate([one.rows for one in sample.pending])
    answers = np.concatenate([one.answers for one in sample.pending])
    assert (rows == rows[:, :1]).all()
    return rows[:, 0].astype(int).tolist(), answers[:, 0].astype(int).tolist()


def test_at_a_low_rate_all_rows_are_taken_with_their_answers() -> None:
    calls: list[int] = []
    sample = sample_of(1_000, calls)
    first, second = Asked(numbered(0, 5)), Asked(numbered(100, 1))
    gone = Asked(numbered(7, 2))
    gone.done = True
    spans = [*whole(first), *whole(gone), *whole(second), (first, 1, 3)]
    answers = np.array([[0], [1], [2], [3], [4], [-1], [-1], [100], [1], [2]], dtype=np.float32)
    sample.take(spans, answers, 10.0)
    rows, answered = taken(sample)
    assert rows == answered == [0, 1, 2, 3, 4, 100, 1, 2]
    assert calls == [1]


def test_rows_that_are_made_up_are_not_taken() -> None:
    sample = sample_of(1_000)
    explained = Evaluated(numbered(50, 4))
    sample.take(whole(explained), np.zeros((4, 1), dtype=np.float32), 10.0)
    assert not sample.pending
    sample.take(whole(explained, Asked(numbered(9, 1))), np.array([[50, 51, 52, 53, 9]], dtype=np.float32).T, 10.0)
    assert taken(sample) == ([9], [9])


def test_a_large_batch_gives_every_kth_row() -> None:
    sample = sample_of(10)
    tickets = [Asked(numbered(at, rows)) for at, rows in ((0, 333), (333, 1), (334, 166), (500, 500))]
    sample.take(whole(*tickets), np.arange(1_000, dtype=np.float32)[:, None], 10.0)
    rows, answered = taken(sample)
    assert rows == answered == list(range(0, 1_000, 10))
    assert sample.due == 0, "the next batch finds no rows left"
    sample.take(whole(*tickets), np.arange(1_000, dtype=np.float32)[:, None], 10.01)
    assert len(taken(sample)[0]) == 100
    assert sample.due > 11


@pytest.mark.parametrize("batch_rows", [1, 32, 4_096])
def test_the_rate_bounds_the_rows_under_load(batch_rows: int) -> None:
    sample = sample_of(500)
    answers = np.zeros((batch_rows, 1), dtype=np.float32)
    now, batches = 50.0, 0
    while now < 60.0:  # 5,000 batches a second
        if now >= sample.due:
            sample.take(whole(Asked(numbered(0, batch_rows))), answers, now)
            batches += 1
        now += 0.0002
        if len(sample.pending) > 100:
            sample.pending.popleft()
            sample.pending_cells = 0
    assert batches * batch_rows >= 9_900, "ten seconds' rows, and those of ten seconds before"
    assert sample._turn <= 10_100


def test_wide_rows_are_bounded_by_their_numbers() -> None:
    wide = 50_000
    sample = RowSample(wide, SampleBudget(1_000), lambda: None)
    answers = np.zeros((64, 1), dtype=np.float32)
    ticket = Asked(np.zeros((64, wide), dtype=np.float32))
    now = 50.0
    rows = 0
    while now < 60.0:
        if now >= sample.due:
            sample.take(whole(ticket), answers, now)
        rows += sum(len(one.rows) for one in sample.pending)
        sample.pending.clear()
        sample.pending_cells = 0
        now += 0.001
    assert 20 <= rows <= 50, "200,000 numbers a second are four rows"


def test_rows_that_nobody_counts_do_not_pile_up() -> None:
    sample = sample_of(1_000_000)
    answers = np.zeros((4_096, 1), dtype=np.float32)
    for step in range(1_000):
        sample.take(whole(Asked(numbered(0, 4_096))), answers, 10.0 + step)
    assert sum(one.rows.nbytes for one in sample.pending) < 2 << 20


def test_versions_share_the_rows() -> None:
    budget = SampleBudget(1_000)
    budget.versions = 10
    sample = RowSample(WIDTH, budget, lambda: None)
    ticket, answers = Asked(numbered(0, 500)), np.zeros((500, 1), dtype=np.float32)
    for step in range(100):
        sample.take(whole(ticket), answers, 10.0 + step / 10)
    rows = len(taken(sample)[0])
    assert 900 <= rows <= 2_100, "a tenth of ten seconds' rows, and what a second allows at the start"


def test_unknown_cells_of_taken_rows_are_told() -> None:
    sample = sample_of(1_000)
    sample.take(whole(Asked(numbered(0, 4), {"city": 2}), Asked(numbered(4, 4))), np.zeros((8, 1), np.float32), 10.0)
    assert sample.pending[0].unknown == {"city": 2}


def test_a_failure_does_not_reach_the_answers() -> None:
    sample = sample_of(1_000)
    broken: Any = Asked(numbered(0, 4))
    broken.data = b"123"
    sample.take(whole(broken), np.zeros((4, 1), np.float32), 10.0)
    assert not sample.pending
    assert sample.due == float("inf")


@pytest.mark.parametrize("seed", range(20))
def test_every_kth_row_of_blocks_is_that_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    schema = Schema(
        columns=(
            NumericColumn(name="x", mean=0, std=1, minimum=0, maximum=1),
            CategoricalColumn(name="c", categories=tuple("abcde")),
        ),
        target=ClassTarget(name="y", labels=("u", "v")),
    )
    encoder = RowEncoder(schema)
    data, matrices = EncodedRows(encoder.compact), []
    for rows in rng.integers(1, 40, 8).tolist():
        cells = [[float(rng.integers(99)), str(rng.choice(list("abcde")))] for _ in range(rows)]
        matrices.append(encoder.encode_matrix(cells))
        compact = encoder.encode_compact(cells) if rng.random() < 0.5 else None
        data.append(encoder.encode(cells) if compact is None else compact)
    matrix = np.concatenate(matrices)
    for _ in range(30):
        start, stop = sorted(rng.integers(0, len(matrix) + 1, 2).tolist())
        step = int(rng.integers(1, 60))
        found = np.frombuffer(data.every(start, stop, step), dtype="<f4").reshape(-1, 6)
        assert np.array_equal(found, matrix[start:stop:step])
