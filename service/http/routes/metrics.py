"""`GET /metrics`: the Prometheus text of all processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.batching.catalog import Catalog
from service.batching.link import WorkerPool
from service.http.access import Access, Scope
from service.http.openapi import Responses
from service.http.routes.guard import Guard
from service.log_pipe import dropped_lines
from service.metrics import CONTENT_TYPE, ApiMetrics

_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def metrics_router(metrics: ApiMetrics, catalog: Catalog, pool: WorkerPool, access: Access | None = None) -> APIRouter:
    """The route; `access` None lets everybody in."""
    guard = Guard(access, Scope.READ)
    router = APIRouter(tags=["metrics"], dependencies=guard.dependencies, responses=guard.responses)

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=_TEXT)
    async def scrape() -> Response:
        metrics.flush()
        state = _State(catalog, pool)
        # In a thread: a scrape reads every process's files, and no prediction should wait for that.
        return Response(await asyncio.to_thread(metrics.exposition, state), media_type=CONTENT_TYPE)

    return router


class _State(Collector):
    """What this process sees at the moment of the scrape: it is not counted, so it needs no file."""

    def __init__(self, catalog: Catalog, pool: WorkerPool) -> None:
        self._catalog = catalog
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        up = GaugeMetricFamily("axon_worker_up", "Whether a worker is ready.", labels=("worker",))
        for link in self._pool.links:
            up.add_metric((str(link.index),), float(link.up))
        yield up
        labels = ("model", "version")
        info = GaugeMetricFamily(
            "axon_model_info", "Model versions that are ready.", labels=(*labels, "task", "digest")
        )
        parameters = GaugeMetricFamily("axon_model_parameters", "Learned parameters.", labels=labels)
        for served in self._catalog.ready_versions():
            place = (served.name, str(served.version))
            info.add_metric((*place, served.config.task, served.digest), 1)
            parameters.add_metric(place, served.config.parameter_count)
        yield info
        yield parameters
        yield CounterMetricFamily(
            "axon_log_lines_dropped", "Log lines dropped because nobody read the log.", value=dropped_lines()
        )
        problems = GaugeMetricFamily("axon_store_problems", "Things in the store that cannot be served.")
        problems.add_metric((), len(self._catalog.problems))
        yield problems
