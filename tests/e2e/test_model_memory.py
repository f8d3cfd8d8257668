"""More models than fit into `AXON_MODEL_MEMORY_BYTES`: each is answered, and the least recently used ones leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from many_models import ManyModels, in_memory, memory_metric, schema_of
from serving import Server, http_get, http_post, make_checkpoint, metric_sum, running, wait_until

from models.store import Store

MODELS, HELD = 24, 6
ROWS = [[0.4, -1.1, 2.0, 0.3]]


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
    loads = memory_metric(server, "_loads_total", "worker")
    assert models.ask(server, clients=12, rounds=2) == []
    # A worker writes its figures a moment after it answers.
    wait_until(lambda: memory_metric(server, "_loads_total", "worker") - loads >= MODELS - HELD, server.log)
    wait_until(lambda: memory_metric(server, "_bytes", "worker") <= 2 * HELD * models.network_bytes, server.log)
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
    wait_until(lambda: memory_metric(server, "_bytes", "worker") <= 2 * HELD * models.network_bytes, server.log)


def test_a_model_larger_than_the_limit_is_named_and_the_others_are_served(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("large", make_checkpoint(schema_of(4), 256, 256))
    store.publish("small", make_checkpoint(schema_of(4), 8))
    with running(store.root, tmp_path, model_memory_bytes=100_000) as server:
        answers = [
            http_post(f"{server.url}/predict", json={"model": name, "instances": ROWS}) for name in ("large", "small")
        ]
        assert [answer.status_code for answer in answers] == [503, 200]
        assert "AXON_MODEL_MEMORY_BYTES" in http_get(f"{server.url}/models").json()["problems"]["large@1"]


def test_what_an_api_process_holds_leaves_and_comes_back(tmp_path: Path) -> None:
    models = ManyModels(tmp_path, 20, hidden=4, columns=150)
    for name in models.names[:10]:
        models.store.set_alias(name, "production", 1)
    with running(models.store.root, tmp_path, model_memory_bytes=1_500_000) as server:
        wait_until(lambda: 0 < memory_metric(server, "s_in_memory", "api") < 10, server.log)
        assert models.ask(server, clients=12, rounds=3) == []
        for name in models.names:
            details = [http_get(f"{server.url}/models/{id_}").json() for id_ in (name, f"{name}@1", f"{name}@latest")]
            assert [len(detail["columns"]) for detail in details] == [150] * 3
        for name in models.names[:10]:
            answer = http_post(f"{server.url}/predict", json={"model": f"{name}@production", "instances": models.rows})
            assert models.fault_in(name, answer.status_code, answer.content) is None
        listed = http_get(f"{server.url}/models").json()["models"]
        assert [(model["name"], model["columns"], model["task"]) for model in listed] == [
            (name, 150, "classification") for name in models.names
        ]
        wait_until(lambda: memory_metric(server, "s_in_memory", "api") < 10, server.log)
        assert memory_metric(server, "_evictions_total", "api") > 20
        # A new version answers to the name, whether or not the old one is in memory.
        models.store.publish(models.names[3], make_checkpoint(schema_of(150), 4, seed=99))
        wait_until(lambda: http_get(f"{server.url}/models/{models.names[3]}").json()["version"] == 2)
        assert '"level": "error"' not in server.log(), server.log()
