"""Fault isolation: runs merged batches, and finds the requests at fault where the model fails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inference.errors import DeviceFault, NetworkUnavailable
from models.errors import AxonError, reason_of
from service.logs import LimitedLog
from service.stream.frames import PredictFrame

Answers = NDArray[np.float32]
Faults = dict[int, str]  # the reason, by the index of a segment within its frame


class MergedBatch:
    """Frames of one model version that a worker runs as one forward pass."""

    __slots__ = ("key", "parts")

    def __init__(self, key: str, parts: list[PredictFrame]) -> None:
        self.key = key
        self.parts = parts


class FaultIsolation:
    """Runs merged batches so that a request at fault does not fail the others.

    If a forward pass fails, the batch is halved, and both halves run. This repeats until the request at fault is alone.

    Args:
        predict: function that runs one forward pass; returns `(rows, out_features)` answers for the rows of all parts.
        limited_log: log for forward passes that failed.
    """

    def __init__(self, predict: Callable[[MergedBatch], Answers], limited_log: LimitedLog) -> None:
        self._predict = predict
        self._limited_log = limited_log

    def run(self, key: str, parts: list[PredictFrame]) -> tuple[Answers, list[Faults]]:
        """Runs frames as one forward pass, or half by half if that pass fails.

        Args:
            key: key of the model version.
            parts: frames of this version, at least one.

        Returns:
            `(rows, out_features)` answers for the rows of all parts, and the faults of each part. Rows of a segment on
            which the forward pass fails are zero.

        Raises:
            DeviceFault: the device failed, so no row is at fault.
            NetworkUnavailable: this worker cannot load the model version, so no row is at fault.
        """
        try:
            answers = self._predict(MergedBatch(key, parts))
        except (DeviceFault, NetworkUnavailable):
            raise
        except Exception as error:
            return self._run_halves(key, parts, error)
        return answers, _not_finite(answers, parts)

    def _run_halves(self, key: str, parts: list[PredictFrame], error: Exception) -> tuple[Answers, list[Faults]]:
        """Runs both halves of a batch that failed; a single segment gets the fault."""
        if len(parts) == 1 and len(parts[0].segments) == 1:
            reason = reason_of(error) if isinstance(error, AxonError) else f"the model failed: {type(error).__name__}."
            kind = type(error).__name__
            self._limited_log.error("forward pass failed", kind=kind, key=key, rows=parts[0].rows, error=repr(error))
            return np.zeros((parts[0].rows, 1), dtype=np.float32), [{0: reason}]
        if len(parts) > 1:
            middle = len(parts) // 2
            done = [self.run(key, half) for half in (parts[:middle], parts[middle:])]
            return _stack([answers for answers, _ in done]), [fault for _, faults in done for fault in faults]
        done = [self.run(key, [half]) for half in _halves(parts[0])]
        merged: Faults = {}
        for offset, (_, [faults]) in zip((0, len(parts[0].segments) // 2), done, strict=True):
            merged |= {segment + offset: text for segment, text in faults.items()}
        return _stack([answers for answers, _ in done]), [merged]


def _not_finite(answers: Answers, parts: list[PredictFrame]) -> list[Faults]:
    """Returns for each part the faults of segments whose answers are not finite."""
    faults: list[Faults] = [{} for _ in parts]
    # If the sum is finite, so is each answer. Otherwise the rows are checked one by one.
    if np.isfinite(answers.sum()):
        return faults
    finite = np.asarray(np.isfinite(answers).all(axis=1))
    at = 0
    for part, part_faults in zip(parts, faults, strict=True):
        for segment, rows in enumerate(part.segments):
            if not finite[at : at + rows].all():
                row = int(finite[at : at + rows].argmin())
                part_faults[segment] = f"the model's answer to row {row} is not finite."
            at += rows
    return faults


def _halves(part: PredictFrame) -> list[PredictFrame]:
    """Returns the two halves of a frame that has at least two segments."""
    middle = len(part.segments) // 2
    row_bytes = len(part.data) // part.rows
    cut = sum(part.segments[:middle]) * row_bytes
    return [
        PredictFrame(part.key, part.segments[:middle], part.data[:cut], part.deadline),
        PredictFrame(part.key, part.segments[middle:], part.data[cut:], part.deadline),
    ]


def _stack(blocks: list[Answers]) -> Answers:
    """Concatenates blocks of answers; the block of a faulty segment gets as many columns of zeros as the others."""
    width = max(block.shape[1] for block in blocks)
    return np.concatenate(
        [block if block.shape[1] == width else np.zeros((len(block), width), dtype=np.float32) for block in blocks]
    )
