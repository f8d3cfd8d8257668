"""Admission: the one way of a request from a door to the batcher, whatever the protocol and the wire format.

A door reads and writes bytes. Between the two, each request has the same rules: its key, its deadline, its number of
rows, a model that is loaded first where it is not in memory, and a count and a log line at its end.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.access import Access, Scope
from service.batching.batcher import MAX_RETRY_AFTER, MOST_OF_DEADLINE, Batcher
from service.batching.catalog import Catalog, ServedVersion
from service.batching.encoded_rows import EncodedRows
from service.batching.ticket import Ticket
from service.errors import ClientGone, DeadlineExceeded, ReadingCongested, TooLarge
from service.logs import LimitedLog, get_logger
from service.metrics import ApiMetrics
from service.settings import Settings
from service.step_queue import StepQueue, Steps

Rows = list[Any] | NDArray[np.float64]  # rows of cells as a JSON parser gives them, or one matrix of numbers

log = get_logger(__name__)
failures = LimitedLog(log)  # what a client can cause again and again


class Prediction(Ticket):
    """A request for predictions, from its head to its answer. Each door has a subclass that reads and writes it.

    Attributes:
        admission: admission of the API process.
        started: time at which the head had come, on `time.perf_counter`'s clock, in seconds.
        seconds: time from `started` to the deadline, in seconds.
        unknown: number of cells with unknown categories, by column.
    """

    __slots__ = ("admission", "seconds", "started", "unknown")

    def __init__(self, admission: Admission, started: float) -> None:
        super().__init__()
        self.admission = admission
        self.started = started
        self.seconds = admission.default_seconds
        self.unknown: Mapping[str, int] = {}

    @property
    def request_id(self) -> str:
        """Identifier of the request in answers and in the log."""
        raise NotImplementedError

    @property
    def client(self) -> str | None:
        """Address of the client, for the log; None where it is not known."""
        raise NotImplementedError

    def seconds_left(self) -> float:
        """Returns the time until the deadline, in seconds.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        left = self.started + self.seconds - time.perf_counter()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the rows were read.")
        return left

    def is_over(self) -> bool:
        """Returns True if the request has ended; ends it with an error if its client has gone."""
        if self.disconnected:
            self.fail(ClientGone("the client hung up before its rows were read."))
        return self.done


class Admission:
    """Admits requests to the batcher of an API process.

    Args:
        catalog: model versions that are served.
        batcher: batcher of the process.
        steps: queue of long work.
        metrics: metrics of the process.
        access: API keys; None lets everybody in.
        settings: settings of the server.

    Attributes:
        default_seconds: time of a request that names no deadline, in seconds.
        max_seconds: longest time that a request may name, in seconds.
        max_rows: number of rows that a request may have.
    """

    def __init__(
        self,
        catalog: Catalog,
        batcher: Batcher,
        steps: StepQueue,
        metrics: ApiMetrics,
        access: Access | None,
        settings: Settings,
    ) -> None:
        self._catalog = catalog
        self._batcher = batcher
        self._steps = steps
        self._unrouted = metrics.unrouted
        self._access = access
        self._access_log = settings.access_log
        self._loading: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.default_seconds = settings.timeout_seconds
        self.max_seconds = settings.max_timeout_seconds
        self.max_rows = settings.max_request_rows

    def check_key(self, authorization: bytes | None, api_key: bytes | None) -> None:
        """Lets a request through whose key is for predictions.

        Args:
            authorization: value of the `Authorization` header or of its equivalent; None if it is missing.
            api_key: value of the `X-API-Key` header or of its equivalent; None if it is missing.

        Raises:
            AccessDenied: the key does not open predictions.
        """
        if self._access is not None:
            self._access.check(authorization, api_key, Scope.PREDICT)

    def find(self, reference: str | None) -> ServedVersion | None:
        """Returns the model version of a reference, None if it is unknown or not in memory."""
        return self._catalog.get(reference)

    def load_first(self, prediction: Prediction, reference: str | None, then: Callable[[ServedVersion], None]) -> None:
        """Loads the model version of a reference within the deadline, and goes on with the request.

        Args:
            prediction: request; it fails if the version cannot be loaded, or not in time.
            reference: `name`, `name@version` or `name@alias`; None for the default model.
            then: function that goes on with the loaded version; what it raises ends the request.
        """

        async def load() -> None:
            try:
                async with asyncio.timeout(prediction.seconds):
                    served = await self._catalog.find(reference)
                then(served)
            except TimeoutError:
                prediction.fail(DeadlineExceeded("the deadline passed before the model was loaded."))
            except Exception as error:
                prediction.fail(error)

        task = self._loop.create_task(load())
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    def submit_cells(
        self, prediction: Prediction, served: ServedVersion, rows: Rows, seconds: float, *, may_hold_booleans: bool
    ) -> None:
        """Encodes the rows of a small request and submits them.

        Args:
            prediction: request.
            served: model version.
            rows: rows as the client wrote them.
            seconds: time until the deadline, in seconds.
            may_hold_booleans: False if no cell is a boolean.

        Raises:
            TooLarge: there are too many rows.
            RowError: the model does not take some rows.
            QueueFull: too many rows wait already.
        """
        prediction.served = served
        count = len(rows)
        if count > self.max_rows:
            raise too_many_rows(self.max_rows)
        encoder = served.encoder
        data = encoder.encode_numbers(rows) if isinstance(rows, np.ndarray) else None
        if data is None:
            cells: list[Any] = rows.tolist() if isinstance(rows, np.ndarray) else rows
            data = encoder.encode(cells, may_hold_booleans=may_hold_booleans)
        if encoder.unknown.counts:
            prediction.unknown = encoder.unknown.take()
        self._batcher.submit(prediction, served, data, count, seconds)

    def submit_encoded(
        self, prediction: Prediction, served: ServedVersion, rows: EncodedRows, unknown: Mapping[str, int]
    ) -> None:
        """Submits rows that were read and encoded in steps.

        Args:
            prediction: request.
            served: model version.
            rows: encoded rows.
            unknown: number of cells with unknown categories, by column.

        Raises:
            DeadlineExceeded: the deadline has passed.
            QueueFull: too many rows wait already.
        """
        prediction.unknown = unknown
        self._batcher.submit(prediction, served, rows, rows.rows, prediction.seconds_left())

    def read_in_steps(self, prediction: Prediction, served: ServedVersion | None, steps: Steps, size: int) -> None:
        """Queues the reading of a large request, unless it could not be answered in time.

        Args:
            prediction: request.
            served: model version; None before the body has named it.
            steps: generator that reads.
            size: number of bytes of the body.

        Raises:
            QueueFull: too many rows of the model wait already.
            ReadingCongested: too many requests wait to be read.
            DeadlineExceeded: the deadline has passed.
        """
        left = prediction.seconds_left()
        if served is not None:
            prediction.served = served
            self._batcher.admit(served, 1, left)
        wait = self._steps.wait_seconds()
        if wait > MOST_OF_DEADLINE * left:
            raise ReadingCongested(retry_after=min(max(1, math.ceil(wait / 2)), MAX_RETRY_AFTER))
        self._steps.add(
            steps,
            size,
            deadline=self._loop.time() + left,
            expired=lambda: prediction.fail(DeadlineExceeded("the deadline passed before the request was read.")),
        )

    def write_in_steps(self, steps: Steps, numbers: int) -> None:
        """Queues the writing of a large answer of so many numbers; it goes before the reading of requests."""
        self._steps.add(steps, 8 * numbers, urgent=True)

    def count(self, prediction: Prediction, status: int, seconds: float, rows: int) -> None:
        """Counts the end of a request.

        Args:
            prediction: request.
            status: status of the answer, in HTTP's numbers.
            seconds: time from the request's start, in seconds.
            rows: number of rows that were answered.
        """
        served = prediction.served
        (self._unrouted if served is None else served.metrics).observe_request(status, seconds, rows)

    def log_end(self, prediction: Prediction, status: int, seconds: float, rows: int) -> None:
        """Writes a line of the access log, if there is one; takes what `count` takes."""
        if self._access_log:
            log.info(
                "predicted",
                request_id=prediction.request_id,
                client=prediction.client,
                model=None if prediction.served is None else str(prediction.served),
                status=status,
                rows=rows,
                milliseconds=round(seconds * 1000, 3),
            )

    def log_failure(self, prediction: Prediction, error: Exception, status: int, code: str, detail: str) -> None:
        """Writes a line about an error of the server; those of clients would let a client fill the disk.

        Args:
            prediction: request.
            error: error that ended the request.
            status: status of the answer, in HTTP's numbers.
            code: stable code of the error; `internal` if it was not foreseen.
            detail: sentence that the client gets.
        """
        if status < 500:
            return
        model = None if prediction.served is None else str(prediction.served)
        fields = {"request_id": prediction.request_id, "model": model, "status": status}
        if code == "internal":
            failures.error("request failed", kind=type(error).__name__, **fields, exc_info=error)
        else:
            failures.warning("request failed", kind=code, **fields, reason=detail)


def too_many_rows(most: int) -> TooLarge:
    """Returns the error of a request with more rows than it may have."""
    return TooLarge(f"more than {most:,} rows in one request.")
