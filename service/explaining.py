"""Explanations in an API process: the rows of coalitions go to the workers in small batches, one at a time.

A chunk of rows takes about `_CHUNK_SECONDS`, so a prediction that comes meanwhile waits about as long. While
predictions wait, an explanation rests after each chunk for as long as the chunk took. Only a few explanations are under
way at a time; the others wait for their turn, and more than `_MOST_WAITING` are refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.labels import Label
from models.columns.schema import ClassTarget
from models.errors import Fault, RowError
from models.explaining.background import Background, background_of
from models.explaining.document import Explanation
from models.explaining.explained_output import ExplainedOutput, explained_label
from models.explaining.shapley import Kind, Players, Shapley, feature_columns, shapley_of
from service.batching.batcher import Batcher
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer, Ticket, target_values
from service.errors import ClientGone, QueueFull, TooLarge
from service.time_slices import TimeSlices

MOST_EVALUATIONS = 1_000_000

_CHUNK_SECONDS, _LONGEST_REST = 0.002, 0.02
_LEAST_ROWS, _FIRST_ROWS, _MOST_ROWS = 1, 64, 2048  # rows of a chunk
_MOST_NUMBERS = 1 << 16  # numbers in all rows of a chunk
_AT_ONCE, _MOST_WAITING = 2, 64
_RETRY_SECONDS = 0.02
_KEPT_BACKGROUNDS = 16
_LONG_EVALUATIONS = 10_000  # from here on, the sums of an explanation take milliseconds, and run in a thread


@dataclass(frozen=True)
class Question:
    """A request for explanations.

    Attributes:
        served: model version.
        rows: `(rows, width)` float32 encoded rows to explain.
        background: rows to compare with.
        output: label whose probability is explained; None for the predicted label of each row.
        logit: True for log-odds.
        kind: kind of the explanations; None for the best one.
        samples: number of orders of a sampled explanation.
        deadline: end of the request's time on the event loop's clock, in seconds.
    """

    served: ServedVersion
    rows: NDArray[np.float32]
    background: Background
    output: Label | None
    logit: bool
    kind: Kind | None
    samples: int
    deadline: float


class Evaluation(Ticket):
    """A chunk of rows in the batcher; not counted as a request.

    Args:
        row: position of the explained row in the request; None for several rows.
    """

    __slots__ = ("_row", "future")

    requests = 0
    is_made_up = True

    def __init__(self, row: int | None) -> None:
        super().__init__()
        self._row = row
        self.future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()

    def answered(self, answer: Answer, start: int) -> None:
        """Takes the answers."""
        if not self.future.done():
            self.future.set_result(np.concatenate(answer.cut(start, self.rows)))

    def failed(self, error: Exception) -> None:
        """Takes the error; an error in a row that was made up is one of the explained row."""
        if self._row is not None and isinstance(error, RowError):
            faults = [Fault(self._row, fault.column, fault.message) for fault in error.faults[:1]]
            error = RowError(faults)
        if not self.future.done():
            self.future.set_exception(error)


class Explainer:
    """Explains rows.

    Args:
        batcher: batcher of the process.
        max_queue_rows: number of rows of one model version that may wait.
    """

    def __init__(self, batcher: Batcher, *, max_queue_rows: int) -> None:
        self._batcher = batcher
        self._most_rows = max(1, min(_MOST_ROWS, max_queue_rows // 2))
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._backgrounds: dict[str, Background] = {}

    def background_of(self, served: ServedVersion) -> Background:
        """Returns the background of a version; the last few are kept, because many rows take long to encode."""
        found = self._backgrounds.pop(served.key, None)
        if found is None:
            found = background_of(served.schema, served.encoder, served.header.get("data", {}))
            while len(self._backgrounds) >= _KEPT_BACKGROUNDS:
                del self._backgrounds[next(iter(self._backgrounds))]
        self._backgrounds[served.key] = found
        return found

    async def explain(self, question: Question) -> list[Explanation]:
        """Explains the rows of a request.

        Raises:
            QueueFull: too many explanations, or too many rows of the model, wait already.
            TooLarge: the explanations need too many rows.
            ConfigError: a row has too many columns for the kind that is asked for.
            RowError: the model cannot answer a row.
            DeadlineExceeded: the deadline passed.
        """
        if self._waiting >= _MOST_WAITING:
            raise QueueFull(question.served.name, retry_after=1)
        self._waiting += 1
        try:
            shapleys = await _shapleys_of(question)
            async with self._turns:
                return await _Run(self._batcher, question, self._most_rows).explain(shapleys)
        finally:
            self._waiting -= 1


class _Run:
    """One request on its turn.

    Args:
        batcher: batcher of the process.
        question: request for explanations.
        most_rows: largest number of rows of a chunk.
    """

    def __init__(self, batcher: Batcher, question: Question, most_rows: int) -> None:
        self._batcher = batcher
        self._question = question
        self._served = question.served.quiet()
        self._loop = asyncio.get_running_loop()
        self._most_rows = max(_LEAST_ROWS, min(most_rows, _MOST_NUMBERS // question.rows.shape[1]))
        self._size = min(_FIRST_ROWS, self._most_rows)
        self._has_begun = False

    async def explain(self, shapleys: deque[Shapley]) -> list[Explanation]:
        """Explains the rows, one by one."""
        question, schema = self._question, self._served.schema
        target = schema.target
        labels = target.labels if isinstance(target, ClassTarget) else ()
        explanations = []
        for row in range(len(shapleys)):
            shapley = shapleys.popleft()  # its orders are freed after the row
            is_long = shapley.evaluations >= _LONG_EVALUATIONS
            if is_long:
                await asyncio.to_thread(shapley.rows, 0, 1)  # draws the orders
            answers = await self._answers(question.rows[row : row + 1], row)
            predicted = int(answers.argmax())
            label = explained_label(schema, question.output, labels[predicted] if labels else None)
            output = ExplainedOutput(schema, label, logit=question.logit)
            outputs = np.empty(shapley.evaluations)
            start = 0
            while start < shapley.evaluations:
                stop = min(start + self._size, shapley.evaluations)
                outputs[start:stop] = output.of(await self._answers(shapley.rows(start, stop), row))
                start = stop
            if is_long:
                found = await asyncio.to_thread(shapley.contributions, outputs)
            else:
                found = shapley.contributions(outputs)
            prediction = labels[predicted] if labels else self._value(answers)
            explanations.append(Explanation(prediction, shapley.kind, output, found))
        return explanations

    def _value(self, answers: NDArray[np.float32]) -> float | list[float]:
        """Returns the value of a regressor for one row, with the digits of `POST /predict`; a list for several targets.

        A float32 has few digits in JSON: 23.1, not the float64 of the same value, 23.100000381469727.
        """
        [found] = target_values(answers, self._served.origin)
        return [float(str(value)) for value in found] if self._served.targets is not None else float(str(found))

    async def _answers(self, rows: NDArray[np.float32], row: int) -> NDArray[Any]:
        """Returns the answers to a chunk, `(rows, outputs)`, and adapts the size of the next one."""
        data = rows.astype("<f4", copy=False).tobytes()
        while True:
            began = time.perf_counter()
            ticket = Evaluation(row)
            try:
                self._batcher.submit(
                    ticket, self._served, data, len(rows), max(0.0, self._question.deadline - self._loop.time())
                )
            except QueueFull:
                if not self._has_begun:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)  # until the deadline
                continue
            self._has_begun = True
            try:
                answers = await ticket.future
            except asyncio.CancelledError:
                ticket.fail(ClientGone("the request ended before its rows were answered."))
                raise
            seconds = time.perf_counter() - began
            if len(rows) == self._size:
                share = _CHUNK_SECONDS / max(1e-6, seconds)
                self._size = int(min(self._most_rows, max(_LEAST_ROWS, self._size * min(2.0, max(0.5, share)))))
            if self._batcher.waiting_requests:  # predictions; chunks are not counted as requests
                await asyncio.sleep(min(seconds, _LONGEST_REST))
            return answers


async def _shapleys_of(question: Question) -> deque[Shapley]:
    """Returns the question for each row.

    Raises:
        TooLarge: the rows need too many coalitions.
        ConfigError: a row has too many columns for the kind that is asked for.
    """
    column_of = feature_columns(question.served.schema)
    shapleys: deque[Shapley] = deque()
    evaluations, slices = 0, TimeSlices()
    for row in question.rows:
        await slices.pause()
        players = Players(row, question.background.rows, column_of)
        shapleys.append(shapley_of(players, samples=question.samples, kind=question.kind))
        evaluations += shapleys[-1].evaluations
        if evaluations > MOST_EVALUATIONS:
            raise TooLarge(
                f"the first {len(shapleys):,} of {len(question.rows):,} rows need {evaluations:,} rows of coalitions, "
                f"and a request may need {MOST_EVALUATIONS:,}: send fewer rows, fewer background rows, or kind "
                "'sampled' with fewer samples."
            )
    return shapleys
