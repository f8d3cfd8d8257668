"""The pipeline of a job: one thread reads, some answer, and the caller's thread writes, at the same time.

Arrow and torch release Python's lock while they work, so threads share the processors. The queue between the reader and
the writer is bounded, so a job needs the memory of a few batches, whatever the size of the source.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from models.columns.number_points import PointsSeen
from models.errors import DataError
from scoring.answering import Answered
from scoring.cells import cells_of
from scoring.number_points import Doubtful, doubtful_cells, with_readings
from scoring.part import FaultList, Part, PartWork, PartWriter, Piece
from scoring.reading import opened
from scoring.writing import plain_field

# Cells of a batch, encoded: 2 MB. With four times as many, the reader spends a quarter of its time on fresh pages,
# which the kernel fills with zeros (`perf record`).
_BATCH_CELLS = 1 << 19
_LEAST_ROWS, _MOST_ROWS = 64, 1 << 16
_POLL_SECONDS = 0.2  # between two looks at whether the writer has given up

Moved = Callable[[int, float], None]


@dataclass(frozen=True)
class _Batch:
    """Rows of the source that are answered together.

    Attributes:
        piece: rows of the source that the batch belongs to.
        first_row: number of rows of the file before the batch.
        batch: columns of the model and kept columns.
        schema: schema of the file.
        kept: schema of the kept columns in the output.
        share: length in bytes of the source, about.
        has_text_numbers: True if numbers stand there as texts.
        doubtful: distinct texts of numbers with two readings, by column.
    """

    piece: Piece
    first_row: int
    batch: pa.RecordBatch
    schema: pa.Schema
    kept: pa.Schema
    share: float
    has_text_numbers: bool
    doubtful: Doubtful


@dataclass(frozen=True)
class _Done:
    """The answers of one batch.

    Attributes:
        piece: rows of the source that the batch belongs to.
        first_row: number of rows of the file before the batch.
        batch: kept columns and answers.
        answered: answers of the model.
        size: length in bytes of the source, about.
    """

    piece: Piece
    first_row: int
    batch: pa.RecordBatch
    answered: Answered
    size: float


@dataclass(frozen=True)
class _Begin:
    """The beginning of a piece.

    Attributes:
        piece: rows of the source that come next.
        kept: schema of the kept columns.
    """

    piece: Piece
    kept: pa.Schema


@dataclass(frozen=True)
class _End:
    """The end of a part."""


_Item = _Begin | _End | Future[_Done] | BaseException | None


def run_parts(parts: Sequence[Part], work: PartWork, moved: Moved) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Answers parts one after another, and yields each finished part with its record.

    Args:
        parts: parts to answer, in order.
        work: model and settings of the job.
        moved: function that gets the number of rows and of bytes after each batch.

    Raises:
        DataError: a file cannot be read or written, or a row does not fit and the job refuses such rows.
    """
    waiting: queue.Queue[_Item] = queue.Queue(maxsize=2 * work.threads + 2)
    stop = threading.Event()
    with ThreadPoolExecutor(work.threads, "axon-score") as pool:
        feed = _Feed(parts, work, pool, waiting, stop)
        reader = threading.Thread(target=feed.run, name="axon-score-reader", daemon=True)
        reader.start()
        try:
            for part in parts:
                yield part, _finished(part, work, waiting, moved)
        finally:
            stop.set()
            reader.join()


def _finished(part: Part, work: PartWork, waiting: queue.Queue[_Item], moved: Moved) -> dict[str, Any]:
    """Writes the answers of one part."""
    destination, number = work.destination, part.number
    destination.clear(number)
    try:
        with ExitStack() as files:  # whose end brings the answers to their place, which a disk may refuse
            record = _written(part, work, waiting, moved, files)
    except OSError as error:
        raise DataError(f"{destination.address} cannot be written: {error.strerror or error}.") from error
    destination.finish(number, record)
    return record


def _written(part: Part, work: PartWork, waiting: queue.Queue[_Item], moved: Moved, files: ExitStack) -> dict[str, Any]:
    answers = files.enter_context(work.destination.answers(part.number))
    faults = FaultList()
    writer = PartWriter(work, answers)
    while True:
        item = waiting.get()
        if isinstance(item, BaseException):
            raise item
        if isinstance(item, _Begin):
            writer.open(item.piece.file.name, item.kept)
        elif isinstance(item, _End):
            record = writer.close()
            if len(faults):
                with work.destination.faults(part.number) as listed:
                    faults.write_to(listed)
            return record
        elif item is not None:
            done = item.result()
            faults.add(done.piece.file.name, done.first_row, done.answered.faults)
            writer.add(done.batch, done.answered)
            moved(done.answered.rows, done.size)


class _Feed:
    """The reader of a job, which puts the batches of the parts into the queue.

    Args:
        parts: parts to read, in order.
        work: model and settings of the job.
        pool: threads that answer.
        waiting: bounded queue to the writer.
        stop: event that the writer sets when it gives up.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        work: PartWork,
        pool: ThreadPoolExecutor,
        waiting: queue.Queue[_Item],
        stop: threading.Event,
    ) -> None:
        self._parts = parts
        self._work = work
        self._pool = pool
        self._waiting = waiting
        self._stop = stop
        schema = work.answerer.schema
        self._names = schema.names
        self._numeric = [name for name in schema.names if name in schema.numeric]
        self._columns = list(dict.fromkeys([*schema.names, *work.keep]))
        rows = _BATCH_CELLS // max(schema.width, len(self._columns))
        self._batch_rows = min(max(rows, _LEAST_ROWS), _MOST_ROWS)

    def run(self) -> None:
        """Reads all parts; an error goes to the writer."""
        try:
            for part in self._parts:
                for piece in part.pieces:
                    self._read(piece)
                self._put(_End())
        except _Stopped:
            return
        except BaseException as error:
            with contextlib.suppress(_Stopped):
                self._put(error)

    def _read(self, piece: Piece) -> None:
        piece.file.check_unchanged()
        with opened(piece.file, names=self._names, texts=self._names, columns=self._columns) as reader:
            kept = pa.schema([plain_field(reader.schema.field(name)) for name in self._work.keep])
            self._put(_Begin(piece, kept))
            row, place = piece.first_row, 0
            seen = PointsSeen() if reader.points_are_ambiguous else None
            for batch in reader.batches(piece.groups, self._columns, self._batch_rows):
                if piece.rows is None:
                    share, place = float(reader.position() - place), reader.position()
                else:
                    share = piece.size * batch.num_rows / max(piece.rows, 1)
                doubtful = {} if seen is None else doubtful_cells(seen, batch, self._numeric)
                source = _Batch(piece, row, batch, reader.schema, kept, share, reader.has_text_numbers, doubtful)
                self._put(self._pool.submit(self._answer, source))
                row += batch.num_rows
        piece.file.check_unchanged()

    def _answer(self, source: _Batch) -> _Done:
        """Answers a batch, in a thread of the pool."""
        work, piece, row, batch = self._work, source.piece, source.first_row, source.batch
        has_texts, doubtful = source.has_text_numbers, source.doubtful
        try:
            cells = [
                cells_of(
                    batch.column(name),
                    column,
                    field=source.schema.field(name),
                    has_text_numbers=has_texts,
                    doubtful=doubtful.get(name),
                )
                for name, column in zip(self._names, work.answerer.schema.columns, strict=True)
            ]
        except DataError as error:
            raise DataError(f"{piece.file.name}: {error}") from error
        answered = work.answerer.answer(cells, batch.num_rows)
        if doubtful:
            answered = replace(answered, faults=with_readings(answered.faults, batch, doubtful))
        if answered.faults and work.errors == "refuse":
            fault = answered.faults[0]
            where = f"row {row + fault.row}" + ("" if fault.column is None else f", column {fault.column!r}")
            raise DataError(
                f"{piece.file.name}: {where}: {fault.message}. Correct the file, or say --errors skip (leaves such "
                "rows out) or --errors null (answers them with nulls)."
            )
        kept = batch.select(list(work.keep)).cast(source.kept)
        if work.keep and answered.is_answered is not None and work.errors == "skip":
            kept = kept.filter(pa.array(answered.is_answered))
        columns = work.columns.of(answered, with_gaps=work.errors == "null")
        whole = pa.record_batch([*kept.columns, *columns], schema=pa.schema([*source.kept, *work.columns.schema]))
        return _Done(piece, row, whole, answered, source.share)

    def _put(self, item: _Item) -> None:
        while True:
            if self._stop.is_set():
                raise _Stopped
            try:
                self._waiting.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue


class _Stopped(Exception):
    """The writer has given up."""
