"""Busy seconds count the time in which a process has work, and no other time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from serving import Server, http_client, http_get, make_store, metric_sum, running, wait_until

pytestmark = pytest.mark.slow

ROW = [[0.1, 0.2, 0.3, 0.4]]


def figures(server: Server) -> dict[str, float]:
    names = ("axon_worker_busy_seconds_total", "axon_api_busy_seconds_total", "axon_inference_seconds_sum")
    return {name: metric_sum(server, name) for name in names}


def test_busy_seconds_are_those_of_the_batches(tmp_path: Path) -> None:
    with running(make_store(tmp_path).root, tmp_path) as server, http_client(base_url=server.url) as client:
        assert 'axon_worker_busy_seconds_total{worker="0"}' in http_get(f"{server.url}/metrics").text
        assert 'axon_api_busy_seconds_total{process="api-0"}' in http_get(f"{server.url}/metrics").text
        before, began = figures(server), time.perf_counter()
        asked = metric_sum(server, "axon_requests_total")
        for rows in (1, 1, 5_000, 50_000):
            answer = client.post("/predict", json={"model": "colours", "instances": ROW * rows})
            assert answer.status_code == 200
        wait_until(lambda: metric_sum(server, "axon_requests_total") == asked + 4)
        time_of_flush = 0.05
        after, wall = figures(server), time.perf_counter() - began + time_of_flush
        grown = {name: after[name] - value for name, value in before.items()}
        # The forward passes are a part of the worker's busy time, which is a part of the time that passed.
        assert 0 < grown["axon_inference_seconds_sum"] <= grown["axon_worker_busy_seconds_total"] <= wall
        assert 0 < grown["axon_api_busy_seconds_total"] <= wall


def test_a_worker_without_batches_is_not_busy(tmp_path: Path) -> None:
    """Heartbeats, loads and scrapes are no batches."""
    name = "axon_worker_busy_seconds_total"
    with running(make_store(tmp_path).root, tmp_path) as server, http_client(base_url=server.url) as client:
        assert metric_sum(server, name) == 0
        client.post("/predict", json={"model": "colours", "instances": ROW})
        wait_until(lambda: metric_sum(server, name) > 0)
        busy = metric_sum(server, name)
        for _ in range(5):
            client.post("/predict", json={"model": "colours", "instances": [["no number"]]})
            client.post("/models/refresh")
        assert metric_sum(server, name) == busy
