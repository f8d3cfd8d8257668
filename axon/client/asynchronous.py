"""`AsyncClient`: the client for asyncio, with the methods of `Client`."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from axon.client import queries
from axon.client.answer import Answer
from axon.client.documents import Health, ModelDetail, ModelList, ModelSummary
from axon.client.exchange import LATE, Timeouts, failure_of, prepared
from axon.client.explaining import Explaining
from axon.client.given_rows import given_rows
from axon.client.known_versions import KnownVersions, fetch_model, fetch_models
from axon.client.prediction import Limits, Prediction, Progress
from axon.client.settings import ClientSettings
from axon.client.steps import Failure, Pause, Reply, Send, Steps, T, Together, Upcoming
from axon.explanations import Explanations
from models.columns.labels import Label


class AsyncClient:
    """A client of an Axon server, for asyncio.

    Connections are kept and used again. `close`, or the end of an `async with` block, closes them. Any number of calls
    may run at the same time in one event loop.

    Args:
        url: address of the server, such as `http://localhost:8000` or `https://example.org/axon`.
        api_key: API key; None for a server without keys.
        timeout: longest time without a byte, in seconds.
        retries: number of further attempts of a request that found no server, a busy one or a broken connection.
        deadline: longest time of a call with all its requests and attempts, in seconds; None for the server's own
            deadline of each request.
        headers: further headers of all requests.
        verify: True to check certificates with the usual authorities, or a context of `ssl` with others.
        rows_per_request: largest number of rows of a request; more are cut into several requests.
        bytes_per_request: largest number of bytes of a request's body.
        in_flight: largest number of requests of one call that are out at a time.
        connections: largest number of connections.
        binary: True to send matrices of numbers in binary form.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 3,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        rows_per_request: int = 10_000,
        bytes_per_request: int = 4 << 20,
        in_flight: int = 4,
        connections: int = 100,
        binary: bool = True,
    ) -> None:
        limits = Limits(rows=rows_per_request, body_bytes=bytes_per_request, in_flight=in_flight, binary=binary)
        self._settings = settings = ClientSettings(
            url=url,
            api_key=api_key,
            timeout=timeout,
            retries=retries,
            deadline=deadline,
            headers=headers or {},
            limits=limits,
            connections=connections,
        )
        self._known = KnownVersions()
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=settings.common_headers(),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            # Certificates take 70 ms to load, and plain HTTP needs none.
            verify=verify if not settings.is_plain else False,
        )

    async def predict(
        self,
        rows: Any,
        model: str | None = None,
        *,
        members: int | None = None,
        intervals: float | None = None,
        deadline: float | None = None,
        progress: Progress | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """Returns the answers to rows, in order.

        Args:
            rows: data frame of pandas or polars, Arrow table, two-dimensional array, list of rows (lists in column
                order, or mappings by column name), or one row (a mapping, or a row of a frame of pandas). Columns of a
                frame that the model does not know are ignored.
            model: `name`, `name@version` or `name@alias`; None for the server's default model.
            members: number of members of an ensemble that answer, the first ones; None for all.
            intervals: level such as 0.9, for intervals or sets of labels that contain the truth in so many rows; None
                for predictions alone.
            deadline: deadline of this call, in seconds; None for the client's.
            progress: function that takes the number of rows answered so far, and of all rows.
            request_id: identifier of the call in the server's log; None for a new one.
            traceparent: W3C trace header; None for OpenTelemetry's current span, if there is one.

        Raises:
            RowsRefused: the model refuses rows; the faults name row and column.
            ClientError: there is no answer for another reason.
            DataError: `rows` is no table, or a frame lacks a column.
            ConfigError: `members` is not a whole number from 1 on, or `intervals` no level between 0 and 1.
        """
        call = self._settings.call(deadline, request_id, traceparent)
        given = given_rows(rows)
        limits = self._settings.limits
        return await self._run(
            Prediction(call, given, model, self._known, limits, progress, members, intervals).steps()
        )

    async def explain(
        self,
        rows: Any,
        model: str | None = None,
        *,
        background: Any = None,
        output: Label | None = None,
        scale: str | None = None,
        kind: str | None = None,
        samples: int | None = None,
        deadline: float | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> Explanations:
        """Returns how much each column of a row contributes to the answer.

        Args:
            rows: rows of any type that `predict` takes.
            model: `name`, `name@version` or `name@alias`; None for the server's default model.
            background: rows to compare with, up to 100, of any such type; None for those that the model carries.
            output: label whose probability is explained, or name of one of several targets; None for the predicted
                label of each row, or the first target.
            scale: `probability` or `logit`, for a classifier; None for the probability.
            kind: `exact` or `sampled`; None for exact wherever possible, which is up to 12 columns.
            samples: number of orders of a sampled explanation; None for the server's default.
            deadline: deadline of this call, in seconds; None for the client's.
            request_id: identifier of the call in the server's log; None for a new one.
            traceparent: W3C trace header; None for OpenTelemetry's current span, if there is one.

        Raises:
            RowsRefused: the model refuses rows; the faults name row and column.
            ClientError: there is no answer for another reason.
            DataError: `rows` is no table, or a frame lacks a column.
            ConfigError: no model is named, and the server has no default model.
        """
        call = self._settings.call(deadline, request_id, traceparent)
        others = None if background is None else given_rows(background)
        options = {"output": output, "scale": scale, "kind": kind, "samples": samples}
        explaining = Explaining(call, given_rows(rows), others, model, self._known, options)
        return await self._run(explaining.steps())

    async def models(self) -> ModelList:
        """Returns the served models."""
        return await self._run(fetch_models(self._settings.call()))

    async def model(self, model: str) -> ModelDetail:
        """Returns the detail of a model.

        Args:
            model: `name`, `name@version` or `name@alias`.

        Raises:
            ModelUnknown: there is no such model.
        """
        return await self._run(fetch_model(self._settings.call(), model))

    async def summary(self, model: str) -> ModelSummary:
        """Returns the layers of a model.

        Args:
            model: `name`, `name@version` or `name@alias`.

        Raises:
            ModelUnknown: there is no such model.
        """
        return await self._run(queries.fetch_summary(self._settings.call(), model))

    async def summary_text(self, model: str) -> str:
        """Returns the layers of a model as an aligned table.

        Args:
            model: `name`, `name@version` or `name@alias`.

        Raises:
            ModelUnknown: there is no such model.
        """
        return await self._run(queries.fetch_summary_text(self._settings.call(), model))

    async def health(self) -> Health:
        """Returns the state of the server.

        Raises:
            NotReachable: there is no server.
        """
        return await self._run(queries.fetch_health(self._settings.probe()))

    async def ready(self) -> bool:
        """Returns True if the server answers predictions."""
        return await self._run(queries.fetch_ready(self._settings.probe()))

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Returns the client, which the end of the block closes."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._settings.url}>"

    async def _run(self, steps: Steps[T]) -> T:
        """Runs the steps of a call, and returns its result."""
        value: Any = None
        while True:
            try:
                step = steps.send(value)
            except StopIteration as end:
                result: T = end.value
                return result
            match step:
                case Send():
                    value = await self._send(step)
                case Pause():
                    await asyncio.sleep(step.seconds)
                    value = None
                case Together():
                    value = await self._run_together(step)

    async def _send(self, step: Send) -> Reply | Failure:
        timeouts = Timeouts(self._settings.timeout, step.until)
        try:
            async with asyncio.timeout(None if step.until is None else step.until - time.monotonic()):
                response = await self._http.send(prepared(self._http, step, timeouts))
            return Reply(response.status_code, response.headers, response.content)
        except TimeoutError:
            return LATE
        except httpx.RequestError as error:
            return failure_of(error, timeouts)

    async def _run_together(self, step: Together) -> list[Any]:
        """Runs generators as tasks, and returns their results in order; the first error in this order is raised."""
        results: list[Any] = []
        window: deque[asyncio.Task[Any]] = deque()
        parts = Upcoming(step.parts)
        try:
            while True:
                while len(window) < step.most and (part := parts.take()) is not None:
                    window.append(asyncio.create_task(self._run(part)))
                if not window:
                    parts.check()
                    return results
                results.append(await window[0])
                window.popleft()
                step.on_result(results[-1])
        finally:
            for task in window:
                task.cancel()
            await asyncio.gather(*window, return_exceptions=True)
