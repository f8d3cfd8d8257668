"""A model that answers columns of cells from several threads, with the same bits as the server."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inference.cublas import forbid_split_sums
from inference.device_faults import is_out_of_memory
from inference.device_network import DeviceNetwork
from inference.errors import OutOfMemory
from models.checkpoint import Checkpoint
from models.columns.encoding import RowEncoder
from models.columns.extreme_rows import overflow
from models.columns.named_columns import Cells
from models.errors import Fault, RowError
from models.network.inference_network import in_unit

MAX_BATCH_ROWS = 4096  # the server's default, so that the row counts of a device are the server's
_FLOAT32 = np.dtype("<f4")
_BLOCK_ROWS = 2048  # rows that become a matrix together: 240 kB of 30 numbers, which a processor's cache holds


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answers to some rows.

    Attributes:
        answers: `(answered rows, out_features)` in the target's unit.
        rows: number of rows that were asked.
        is_answered: `(rows,)` True for a row with an answer; None if all have one.
        faults: reasons of the rows without an answer, by row.
        unknown: number of cells with a category unknown from training, by column.
    """

    answers: NDArray[np.float32] | NDArray[np.float64]
    rows: int
    is_answered: NDArray[np.bool_] | None = None
    faults: Sequence[Fault] = ()
    unknown: dict[str, int] = field(default_factory=dict)


class _Own(NamedTuple):
    """The encoder, the network and the memory of one thread."""

    encoder: RowEncoder
    network: DeviceNetwork
    block: _NumberBlock


class _NumberBlock:
    """Memory in which columns of numbers become rows, used again for each block.

    Args:
        columns: number of columns.
        rows: largest number of rows of a block.
        dtype: element type, float32 or float64.
    """

    def __init__(self, columns: int, rows: int, dtype: type[np.floating]) -> None:
        self.rows = rows
        self._columns = np.empty((columns, rows), dtype=dtype)
        self._matrix = torch.from_numpy(np.empty((rows, columns), dtype=dtype))

    def fill(self, columns: Sequence[NDArray[Any]]) -> NDArray[np.floating]:
        """Returns columns, `(rows,)` each, as a `(rows, columns)` matrix, with the rounding of the encoder."""
        rows = len(columns[0])
        turned = self._columns[:, :rows]
        with np.errstate(over="ignore"):  # an overflow gives infinity, which the encoder refuses
            for place, column in enumerate(columns):
                # A whole number becomes a float64 first, as in the encoder: rounding twice may differ from once.
                turned[place] = column if column.dtype.kind == "f" else column.astype(np.float64)
        matrix = self._matrix[:rows]
        matrix.copy_(torch.from_numpy(turned).t())  # tile by tile: half of NumPy's time
        found: NDArray[np.floating] = matrix.numpy()
        return found


class BatchAnswerer:
    """Answers columns of cells with one model on one device. Any number of threads may call `answer`.

    On a CPU, each thread has a network of its own. On a GPU, threads encode rows side by side and share the network.

    Args:
        checkpoint: checkpoint of the model.
        device: name of a torch device, `cpu` or `cuda`.
        members: number of members of an ensemble that answer, the first ones; None for all.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str = "cpu", members: int | None = None) -> None:
        self.checkpoint = checkpoint
        self.schema = checkpoint.schema
        self._members = None if members == checkpoint.config.members else members
        self._device = torch.device(device)
        if self._device.type == "cuda":
            forbid_split_sums()  # as the server's workers do, or the bits would differ
        self._fused = checkpoint.inference_network()
        self._first = self._network()
        self._first.warm_up()
        self._lock = threading.Lock()  # of the network that threads share
        self._threads = threading.local()

    def answer(self, columns: Sequence[Cells], rows: int) -> Answered:
        """Answers rows; a row with a fault has no answer, and the others are answered all the same.

        Args:
            columns: cells of each column, in the model's order, `(rows,)` each.
            rows: number of rows.
        """
        own = self._own()
        own.encoder.unknown.take()
        if not rows:
            nothing = np.empty((0, self._fused.out_features), dtype=np.float32)
            return Answered(answers=in_unit(nothing, self._fused.origin), rows=0)
        is_sound: NDArray[np.bool_] | None = None
        faults: list[Fault] = []
        unknown: dict[str, int] = {}
        answers = self._of_plain_numbers(own, columns, rows)
        if answers is None:
            try:
                x = _encoded(own.encoder, columns, rows)
            except RowError:
                own.encoder.unknown.take()
                faults = own.encoder.column_faults(columns)
                is_sound = np.ones(rows, dtype=np.bool_)
                is_sound[[fault.row for fault in faults]] = False
                sound = np.flatnonzero(is_sound)
                x = _encoded(own.encoder, [_taken(cells, sound) for cells in columns], len(sound))
            unknown = own.encoder.unknown.take()
            answers = self._forward(own.network, x)
            if len(answers) and not np.isfinite(answers.sum()):
                answers, is_sound, faults = self._without_overflows(x, answers, rows, is_sound, faults)
        whole = in_unit(answers, self._fused.origin)
        return Answered(answers=whole, rows=rows, is_answered=is_sound, faults=faults, unknown=unknown)

    def _of_plain_numbers(self, own: _Own, columns: Sequence[Cells], rows: int) -> NDArray[np.float32] | None:
        """Answers columns of numbers block by block, so that the features of a row stay in the processor's cache.

        Returns:
            `(rows, out_features)` answers; None if a column holds something else, a row has a fault, or an answer is
            not finite.
        """
        encoder = own.encoder
        if not encoder.takes_numbers or encoder.has_gaps or not all(_are_numbers(cells) for cells in columns):
            return None  # a block is rounded to float32, in which a number may be the same as a declared gap
        arrays = [np.asarray(cells) for cells in columns]
        answers = np.empty((rows, self._fused.out_features), dtype=np.float32)
        for start in range(0, rows, own.block.rows):
            stop = min(start + own.block.rows, rows)
            block = [array[start:stop] for array in arrays]
            encoded = encoder.encode_numbers(own.block.fill(block))
            if encoded is None:  # a number is missing or too large
                try:
                    x = _encoded(encoder, block, stop - start)
                except RowError:
                    return None
            else:
                x = np.frombuffer(encoded, dtype=_FLOAT32).reshape(stop - start, encoder.width)
            answers[start:stop] = self._forward(own.network, x)
        return answers if np.isfinite(answers.sum()) else None

    def _own(self) -> _Own:
        own: _Own | None = getattr(self._threads, "own", None)
        if own is None:
            network = self._first
            if self._device.type == "cpu":
                network = self._network()
                network.resume(self._first.choice, batch_invariant=self._first.batch_invariant)
            encoder = RowEncoder(self.schema)
            dtype = np.float64 if encoder.takes_doubles else np.float32
            block = _NumberBlock(len(self.schema.columns), max(_BLOCK_ROWS, network.blocks.largest), dtype)
            own = self._threads.own = _Own(encoder, network, block)
        return own

    def _network(self) -> DeviceNetwork:
        return DeviceNetwork(self._fused, self._device, max_batch_rows=MAX_BATCH_ROWS)

    def _forward(self, network: DeviceNetwork, x: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            if network is not self._first:
                return network.forward(x, self._members)
            with self._lock:
                return network.forward(x, self._members)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory("the device has no memory for this model: ask for --device cpu.") from error

    def _without_overflows(
        self,
        x: NDArray[np.float32],
        answers: NDArray[np.float32],
        rows: int,
        is_sound: NDArray[np.bool_] | None,
        faults: list[Fault],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, list[Fault]]:
        """Leaves out the rows whose answers are not finite, with a fault for each."""
        finite = np.isfinite(answers).all(axis=1)
        if finite.all():
            return answers, is_sound, faults
        places = np.arange(rows) if is_sound is None else np.flatnonzero(is_sound)
        is_sound = np.ones(rows, dtype=np.bool_) if is_sound is None else is_sound.copy()
        is_sound[places[~finite]] = False
        bad = np.flatnonzero(~finite).tolist()
        faults = [*faults, *(overflow(self.schema.columns, x[at], int(places[at])) for at in bad)]
        return answers[finite], is_sound, sorted(faults, key=lambda fault: fault.row)


def _encoded(encoder: RowEncoder, columns: Sequence[Cells], rows: int) -> NDArray[np.float32]:
    """Encodes columns in the model's order, `(rows, width)`."""
    if not rows:
        return np.empty((0, encoder.width), dtype=_FLOAT32)
    steps = encoder.encode_columns_in_steps(columns, rows)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            compact: NDArray[np.float32] = end.value
            return encoder.compact.expand(compact)


def _are_numbers(cells: Cells) -> bool:
    return isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf"


def _taken(cells: Cells, rows: NDArray[np.intp]) -> Cells:
    if isinstance(cells, np.ndarray):
        return cells[rows]
    if isinstance(cells, Sequence):
        return [cells[row] for row in rows.tolist()]
    return type(cells)(cells.codes[rows], cells.dictionary)
