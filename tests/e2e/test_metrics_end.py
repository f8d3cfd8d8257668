"""Metrics of a running server: series end with their version, and counters of live versions never decrease."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from serving import CHECKPOINTS, Server, http_client, http_get, make_checkpoint, running, wait_until

from models.store import Store

ROW = [0.4, -1.1, 2.0, 0.3]
COUNTED = {
    "axon_requests_total",
    "axon_rows_total",
    "axon_request_seconds_count",
    "axon_queue_wait_seconds_count",
    "axon_inference_seconds_count",
    "axon_batch_rows_count",
}


def counts(server: Server) -> dict[tuple[str, str, str], float]:
    """Returns the counters by name, model and version."""
    return {
        (sample.name, sample.labels["model"], sample.labels["version"]): sample.value
        for family in text_string_to_metric_families(http_get(f"{server.url}/metrics").text)
        for sample in family.samples
        if sample.name in COUNTED
    }


def publish_and_ask(server: Server, store: Store, times: int) -> Iterator[int]:
    """Publishes versions of `colours`, sends each a request, deletes the previous one, and yields the version."""
    body = {"model": "colours", "instances": [ROW]}
    with http_client(base_url=server.url, timeout=60) as client:
        for seed in range(times):
            version = store.publish("colours", make_checkpoint(CHECKPOINTS["colours"].schema, 4, seed=seed)).version
            wait_until(lambda v=version: client.post("/predict", json=body).json().get("version") == v)  # type: ignore[misc]
            store.delete("colours", version - 1)
            yield version


def test_series_end_with_their_version_and_the_others_never_count_down(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, api_processes=2, workers=2) as server:
        body = {"model": "price", "instances": [[80, 3]]}
        before: dict[tuple[str, str, str], float] = {}
        newest = 0
        for newest in publish_and_ask(server, store, 12):
            for _ in range(8):  # each on a new connection, to reach both API processes
                with http_client(base_url=server.url, timeout=60) as client:
                    assert client.post("/predict", json=body).status_code == 200
            if newest % 4 == 0:
                os.kill(server.worker_pids()[0], signal.SIGKILL)
                wait_until(lambda: len(server.worker_pids()) == 2, server.log)
            after = counts(server)
            gone = before.keys() - after.keys()
            assert {model for _, model, _ in gone} <= {"colours"}
            for key in before.keys() & after.keys():
                assert after[key] >= before[key], key
            before = after
        alive = {("price", "1"), ("colours", str(newest)), ("", "")}
        wait_until(
            lambda: {(model, version) for _, model, version in counts(server)} <= alive, lambda: str(counts(server))
        )
        assert {name for name, model, _ in counts(server) if model == "price"} == COUNTED
        # Nothing of the deleted versions is left on the disk: neither their metrics nor their copies.
        wait_until(lambda: len(list(server.runtime_dir.glob("*/kept/*"))) == 3)
        for file in server.runtime_dir.glob("*/metrics/*.series"):
            assert f"colours\x1f{newest - 1}".encode() not in file.read_bytes()
