"""Fault isolation: each request at fault gets its fault, and all others get their answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import CapturingLogger

from inference.errors import DeviceFault, NetworkUnavailable
from models.errors import StoreError
from service.logs import LimitedLog
from service.stream.frames import PredictFrame
from service.workers.fault_isolation import FaultIsolation, MergedBatch

KEY = "double@1#sha256:00"
RAISES, NOT_FINITE = -13.0, -7.0


class DoublingModel:
    """A model with two outputs, the double and the successor; fails on some rows.

    Args:
        error: exception that a forward pass raises where a row is -13.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = RuntimeError("thirteen") if error is None else error
        self.rows: list[int] = []  # rows of each forward pass
        self.lines = CapturingLogger()
        logger = structlog.wrap_logger(self.lines, processors=[], wrapper_class=structlog.stdlib.BoundLogger)
        self.isolation = FaultIsolation(self.predict, LimitedLog(logger))

    def predict(self, batch: MergedBatch) -> NDArray[np.float32]:
        assert batch.key == KEY
        x = np.concatenate([part.matrix() for part in batch.parts])
        self.rows.append(len(x))
        if (x == RAISES).any():
            raise self.error
        return np.hstack([np.where(x == NOT_FINITE, np.float32(np.inf), 2 * x), x + 1])

    def run(self, parts: list[list[list[float]]]) -> tuple[NDArray[np.float32], list[dict[int, str]]]:
        """Runs rows of one column, by part and segment."""
        return self.isolation.run(KEY, [frame_of(segments) for segments in parts])


def frame_of(segments: list[list[float]]) -> PredictFrame:
    data = np.float32([value for segment in segments for value in segment]).tobytes()
    return PredictFrame(KEY, tuple(map(len, segments)), memoryview(data))


def kind_of(segment: list[float]) -> str | None:
    """Returns a part of the fault that a segment should have; None for a segment without a fault."""
    if RAISES in segment:
        return "RuntimeError"
    return f"row {segment.index(NOT_FINITE)} is not finite" if NOT_FINITE in segment else None


SEGMENTS = st.lists(st.sampled_from([*map(float, range(5)), RAISES, NOT_FINITE]), min_size=1, max_size=3)


@given(st.lists(st.lists(SEGMENTS, min_size=1, max_size=5), min_size=1, max_size=5))
def test_each_segment_gets_what_it_would_get_alone(parts: list[list[list[float]]]) -> None:
    answers, faults = DoublingModel().run(parts)
    segments = [segment for part in parts for segment in part]
    assert len(answers) == sum(map(len, segments))
    found = [
        part_faults.get(index) for part, part_faults in zip(parts, faults, strict=True) for index in range(len(part))
    ]
    at = 0
    for segment, fault in zip(segments, found, strict=True):
        block = answers[at : at + len(segment)]
        at += len(segment)
        wanted = kind_of(segment)
        if wanted is None:
            assert fault is None
            assert block.tolist() == [[2 * value, value + 1] for value in segment]
        else:
            assert fault is not None
            assert wanted in fault
        if RAISES in segment:
            assert not block.any(), "its rows are zero"


def test_a_batch_without_a_fault_takes_one_forward_pass() -> None:
    model = DoublingModel()
    answers, faults = model.run([[[1.0, 2.0], [3.0]], [[4.0]]])
    assert answers.tolist() == [[2, 2], [4, 3], [6, 4], [8, 5]]
    assert faults == [{}, {}]
    assert model.rows == [4]


def test_one_request_at_fault_costs_two_forward_passes_a_halving() -> None:
    model = DoublingModel()
    parts = [[[1.0]] * 8 for _ in range(8)]
    parts[5] = [[1.0]] * 3 + [[RAISES]] + [[1.0]] * 4
    _, faults = model.run(parts)
    assert [index for index, part_faults in enumerate(faults) if part_faults] == [5]
    assert set(faults[5]) == {3}
    assert len(model.rows) == 1 + 2 * 6, "64 segments are halved six times"


def test_an_error_of_ours_is_told_in_its_own_words_and_another_by_its_type() -> None:
    [faults] = DoublingModel(StoreError("it is bad.")).run([[[RAISES], [1.0]]])[1]
    assert faults == {0: "it is bad."}
    [faults] = DoublingModel(ValueError("/a/path")).run([[[RAISES], [1.0]]])[1]
    assert faults == {0: "the model failed: ValueError."}


def test_the_log_gets_one_line_for_all_failures_of_a_kind() -> None:
    model = DoublingModel()
    model.run([[[RAISES, 1.0]], [[RAISES], [2.0], [RAISES]]])
    assert [(call.method_name, call.kwargs) for call in model.lines.calls] == [
        ("error", {"event": "forward pass failed", "key": KEY, "rows": 2, "error": "RuntimeError('thirteen')"})
    ]


@pytest.mark.parametrize("error", [DeviceFault("lost"), NetworkUnavailable("gone")])
def test_no_request_is_at_fault_where_the_worker_is(error: Exception) -> None:
    model = DoublingModel(error)
    with pytest.raises(type(error)):
        model.run([[[1.0], [RAISES]], [[2.0]]])
    assert model.rows == [3], "the batch is not halved"


def test_a_device_that_fails_while_a_batch_is_halved_is_not_a_fault_of_the_batch() -> None:
    model = DoublingModel()

    def predict(batch: MergedBatch) -> Any:
        if model.rows:
            raise DeviceFault("lost")
        return model.predict(batch)

    with pytest.raises(DeviceFault):
        FaultIsolation(predict, LimitedLog(structlog.stdlib.get_logger())).run(KEY, [frame_of([[1.0], [RAISES]])])
