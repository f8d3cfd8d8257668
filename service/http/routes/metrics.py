"""`GET /metrics`: the metrics of all processes in Prometheus's text format."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Set
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import Receive, Send
from starlette.types import Scope as RequestScope

from service.access import Access, Scope
from service.batching.catalog import Catalog
from service.batching.link import WorkerPool
from service.drift.gauges import DriftGauges
from service.drift.monitor import DriftMonitor
from service.errors import NotAcceptable
from service.exposition import Slices, gauge_text, in_chunks, only_named
from service.http.accept import MediaTypes
from service.http.openapi import Responses
from service.http.routes.guard import Guard
from service.log_pipe import dropped_lines
from service.metrics import CONTENT_TYPE, OPEN_METRICS_END, OPEN_METRICS_TYPE, ApiMetrics

_TEXT: Responses = {
    200: {
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        }
    }
}
_TYPES = (CONTENT_TYPE, OPEN_METRICS_TYPE)
_KINDS = MediaTypes([kind.partition(";")[0] for kind in _TYPES])
_OPEN_METRICS = 1
# The main process imports this module and then forks the API processes, so all of them have the same number.
_START_TIME = time.time()


def metrics_router(
    metrics: ApiMetrics, catalog: Catalog, pool: WorkerPool, drift: DriftMonitor, access: Access | None = None
) -> APIRouter:
    """Returns the route of the metrics.

    Args:
        metrics: metrics of the API process.
        catalog: model versions that are served.
        pool: links to the workers.
        drift: monitor of drift.
        access: API keys; None lets everybody in.
    """
    guard = Guard(access, Scope.READ)
    under_way: dict[tuple[int, frozenset[str]], asyncio.Future[list[bytes]]] = {}
    turn = asyncio.Lock()  # the texts remember what they have read, so one text is made at a time
    gauges = DriftGauges(drift)
    router = APIRouter(tags=["metrics"], dependencies=guard.dependencies, responses=guard.responses)

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=_TEXT)
    async def scrape(
        request: Request,
        names: Annotated[
            list[str],
            Query(alias="name[]", default_factory=list, description="Names of the metrics to return; else all."),
        ],
    ) -> Response:
        wanted = _chosen(request.headers.get("accept", "")), frozenset(names)
        if wanted not in under_way:
            under_way[wanted] = asyncio.ensure_future(make_text(*wanted))
        # Requests that come while the text is made get the same text: many scrapers cost no more than one.
        return _InChunks(await asyncio.shield(under_way[wanted]), _TYPES[wanted[0]])

    async def make_text(kind: int, names: frozenset[str]) -> list[bytes]:
        try:
            async with turn:
                metrics.flush()
                is_open_metrics = kind == _OPEN_METRICS
                end = [OPEN_METRICS_END] if is_open_metrics else []
                text = metrics.exposition(_State(catalog, pool), is_open_metrics=is_open_metrics, names=names)
                # In slices on the event loop, not in a thread, which would hold the interpreter's lock for 5 ms at a
                # time.
                return await in_chunks(chain(text, _others(catalog, gauges, names), end))
        finally:
            del under_way[kind, names]

    return router


def _chosen(accept: str) -> int:
    """Returns the position of the text that a scraper prefers; one that accepts neither gets the classic text."""
    try:
        return _KINDS.choose(accept.encode("latin-1"))
    except NotAcceptable:
        return 0


class _InChunks(Response):
    """A text that is sent chunk by chunk, with pauses for other work of the event loop."""

    def __init__(self, chunks: list[bytes], content_type: str) -> None:
        headers = {"content-length": str(sum(map(len, chunks))), "vary": "Accept"}
        super().__init__(media_type=content_type, headers=headers)
        self._chunks = chunks

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        slices = Slices()
        for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await slices.pause()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _others(catalog: Catalog, gauges: DriftGauges, names: Set[str]) -> Iterator[bytes]:
    """Yields the text of the metrics that are not counted: versions and drift.

    Args:
        catalog: model versions that are served.
        gauges: gauges of drift.
        names: names of the metrics to write; empty for all.
    """
    if not names:
        yield from _versions(catalog)
        yield from gauges.pieces()
        return
    if any(name.startswith("axon_model_") for name in names):
        yield only_named(b"".join(_versions(catalog)), names)
    if any(name.startswith("axon_drift_") for name in names):
        yield only_named(b"".join(gauges.pieces()), names)


def _versions(catalog: Catalog) -> Iterator[bytes]:
    """Yields the text of the metrics of all ready versions."""
    ready = catalog.ready_versions()
    yield from gauge_text(
        "axon_model_info",
        "Model versions that are ready.",
        ("model", "version", "task", "digest"),
        (((served.name, str(served.version), served.task, served.digest), 1) for served in ready),
    )
    yield from gauge_text(
        "axon_model_parameters",
        "Learned parameters.",
        ("model", "version"),
        (((served.name, str(served.version)), served.total_params) for served in ready),
    )


class _State(Collector):
    """The state of this process at the time of the scrape, which is not counted and so is in no metric file."""

    def __init__(self, catalog: Catalog, pool: WorkerPool) -> None:
        self._catalog = catalog
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of the state."""
        up = GaugeMetricFamily("axon_worker_up", "Whether a worker is ready.", labels=("worker",))
        for link in self._pool.links:
            up.add_metric((str(link.index),), float(link.up))
        yield up
        yield CounterMetricFamily(
            "axon_log_lines_dropped", "Log lines dropped because nobody read the log.", value=dropped_lines()
        )
        problems = GaugeMetricFamily("axon_store_problems", "Things in the store that cannot be served.")
        problems.add_metric((), len(self._catalog.problems))
        yield problems
        yield GaugeMetricFamily("axon_start_time_seconds", "Unix time at which the server started.", value=_START_TIME)
