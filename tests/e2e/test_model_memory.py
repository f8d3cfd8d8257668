"""More models than fit into `AXON_MODEL_MEMORY_BYTES`: each is answered, and the least recently used ones leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from many_models import ROWS, SCHEMA, ManyModels, in_memory
from serving import Server, http_get, http_post, make_checkpoint, metric_sum, running, wait_until

from models.store import Store

MODELS, HELD = 24, 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ManyModels:
    return ManyModels(tmp_path_factory.mktemp("models"), MODELS, hidden=128)


@pytest.fixture(scope="module")
def server(models: ManyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limit = HELD * models.network_bytes
    with running(
        models.store.root, tmp_path_factory.mktemp("server"), workers=2, api_processes=2, model_memory_bytes=limit
    ) as server:
        yield server


def test_more_models_than_fit_are_all_answered_rightly(models: ManyModels, server: Server) -> None:
    loads = metric_sum(server, "axon_version_loads_total")
    assert models.ask(server, clients=12, rounds=2) == []
    assert metric_sum(server, "axon_version_loads_total") - loads >= MODELS - HELD
    wait_until(lambda: metric_sum(server, "axon_version_bytes") <= 2 * HELD * models.network_bytes, server.log)
    assert http_get(f"{server.url}/health/ready").status_code == 200


def test_the_list_says_which_versions_are_in_memory(models: ManyModels, server: Server) -> None:
    asked = models.names[:2]

    def both_are_there() -> bool:
        for name in asked:
            http_post(f"{server.url}/predict", json={"model": name, "instances": ROWS})
        return {f"{name}@1" for name in asked} <= set(in_memory(server))

    wait_until(both_are_there, lambda: str(list(in_memory(server))))
    assert len(list(in_memory(server))) < MODELS


def test_a_worker_that_restarts_holds_no_more_than_fits(models: ManyModels, server: Server) -> None:
    starts = metric_sum(server, "axon_worker_starts_total")
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: metric_sum(server, "axon_worker_starts_total") > starts, server.log)
    assert models.ask(server, clients=4, rounds=1) == []
    wait_until(lambda: metric_sum(server, "axon_version_bytes") <= 2 * HELD * models.network_bytes, server.log)


def test_a_model_larger_than_the_limit_is_named_and_the_others_are_served(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("large", make_checkpoint(SCHEMA, 256, 256))
    store.publish("small", make_checkpoint(SCHEMA, 8))
    with running(store.root, tmp_path, model_memory_bytes=100_000) as server:
        answers = [
            http_post(f"{server.url}/predict", json={"model": name, "instances": ROWS}) for name in ("large", "small")
        ]
        assert [answer.status_code for answer in answers] == [503, 200]
        assert "AXON_MODEL_MEMORY_BYTES" in http_get(f"{server.url}/models").json()["problems"]["large@1"]
