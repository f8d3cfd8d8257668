"""Windows of counts: sums over processes, and the same numbers back from bytes."""

from __future__ import annotations

import numpy as np
import pytest

from models.distributions.window import BLOCK_ROWS, Window
from service.drift.version_drift import is_due


def filled(number: int, blocks: list[int], seed: int) -> tuple[Window, np.ndarray]:
    """Returns a window with one count for each row, and the slots of the rows."""
    rng = np.random.default_rng(seed)
    window, all_slots = Window(number, 5), []
    for rows in blocks:
        slots = rng.integers(0, 5, rows)
        all_slots.append(slots)
        window.add(np.bincount(slots, minlength=5), rows)
    return window, np.concatenate(all_slots)


def squares_of(slots: np.ndarray, length: int) -> np.ndarray:
    """Returns the sums of squared counts over blocks of a length, from the slots of the rows."""
    blocks = [slots[at : at + length] for at in range(0, len(slots), length)]
    return sum((np.bincount(block, minlength=5) ** 2 / len(block) for block in blocks), np.zeros(5))


def test_blocks_follow_each_other() -> None:
    window, slots = filled(3, [50] * 21, seed=0)
    whole = window.snapshot()
    assert whole.rows == len(slots) == 1_050
    assert whole.counts.tolist() == np.bincount(slots, minlength=5).tolist()
    for level, length in enumerate(BLOCK_ROWS):
        assert whole.blocks[level] == -(-1_050 // length)
        assert whole.squares[level] == pytest.approx(squares_of(slots, length))
    assert window.snapshot().counts.tolist() == whole.counts.tolist(), "a snapshot changes nothing"


def test_windows_of_processes_add_up() -> None:
    parts = [filled(3, [100] * 5 + [7], seed) for seed in range(3)]
    whole = Window(3, 5)
    for window, _ in parts:
        whole.merge(Window.from_bytes(window.to_bytes(), 5))
    assert whole.rows == 3 * 507
    assert whole.counts.tolist() == sum(np.bincount(slots, minlength=5) for _, slots in parts).tolist()
    expected = sum(squares_of(slots, BLOCK_ROWS[0]) for _, slots in parts)
    assert whole.squares[0] == pytest.approx(expected)
    assert whole.began == min(window.began for window, _ in parts)


def test_bytes_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="bytes where a window has"):
        Window.from_bytes(Window(0, 5).to_bytes(), 6)


@pytest.mark.parametrize(
    ("age", "rows", "due"),
    [(0, 10_000, False), (61, 2_000, True), (61, 1_999, False), (901, 200, True), (901, 199, False)],
)
def test_a_window_ends_by_rows_or_by_time(age: float, rows: int, due: bool) -> None:
    window = Window(0, 5)
    window.began -= age
    assert is_due(window, rows, least_rows=200, full_rows=2_000, seconds=900) == due
