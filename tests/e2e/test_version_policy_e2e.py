"""A running server serves the versions of the policy, and names the policy for the others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import CHECKPOINTS, ROOT, Server, http_get, http_post, metric_sum, running, wait_until

from models.store import Store
from models.version_policy import POLICY_FILE

ROWS = [[80, 3]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("policy") / "store")
    for _ in range(4):
        for name in ("price", "other"):
            store.publish(name, CHECKPOINTS["price"])
    store.set_alias("price", "production", 1)
    return store


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(store.root, tmp_path_factory.mktemp("server"), versions="newest:2") as server:
        yield server


def axon(store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "axon", *words, "--store", str(store.root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def predict(server: Server, reference: str) -> httpx.Response:
    return http_post(f"{server.url}/predict", json={"model": reference, "instances": ROWS})


def listed(server: Server, name: str) -> dict[str, Any]:
    models: list[dict[str, Any]] = http_get(f"{server.url}/models").json()["models"]
    return next(model for model in models if model["name"] == name)


def served_versions(server: Server, name: str) -> list[int]:
    """Returns the versions that answer, of 1 to 4."""
    return [version for version in range(1, 5) if predict(server, f"{name}@{version}").status_code == 200]


def test_the_newest_two_and_those_with_an_alias_are_served(server: Server) -> None:
    assert served_versions(server, "other") == listed(server, "other")["versions"] == [3, 4]
    assert served_versions(server, "price") == listed(server, "price")["versions"] == [1, 3, 4]
    assert predict(server, "price@production").json()["version"] == 1
    # Preloaded: each is ready before its first request.
    assert all(
        http_get(f"{server.url}/v2/models/price/versions/{version}/ready").status_code == 200 for version in (1, 3)
    )


def test_a_version_that_is_withheld_is_404_with_the_policy_and_the_remedy(server: Server) -> None:
    answer = predict(server, "other@2")
    assert answer.status_code == 404
    assert "'newest:2' (AXON_VERSIONS) serves versions 3, 4" in answer.json()["detail"]
    assert "axon versions other POLICY" in answer.json()["detail"]
    assert http_get(f"{server.url}/v2/models/other/versions/1").status_code == 404
    assert http_get(f"{server.url}/v1/models/other/versions/1").status_code == 404
    assert "no version 9" in predict(server, "other@9").json()["detail"]


def test_the_policy_of_one_model_changes_while_the_server_runs(store: Store, server: Server) -> None:
    assert axon(store, "versions", "other", "1,2").stdout == "other is served by 1,2\n"
    wait_until(lambda: served_versions(server, "other") == [1, 2])
    assert predict(server, "other").json()["version"] == 2, "the newest version that is served"
    assert "policy.json" in predict(server, "other@3").json()["detail"]
    assert axon(store, "versions", "other", "listed").returncode == 0
    wait_until(lambda: predict(server, "other").status_code == 404)
    assert "o version of model 'other' is served" in predict(server, "other").json()["detail"]
    assert axon(store, "versions", "other", "on-demand").returncode == 0
    wait_until(lambda: served_versions(server, "other") == [1, 2, 3, 4])
    assert axon(store, "versions", "other", "--remove").returncode == 0
    wait_until(lambda: served_versions(server, "other") == [3, 4])


def test_an_alias_brings_a_version_and_its_end_takes_the_version(store: Store, server: Server) -> None:
    assert predict(server, "price@2").status_code == 404
    store.set_alias("price", "candidate", 2)
    wait_until(lambda: predict(server, "price@2").status_code == 200)
    store.remove_alias("price", "candidate")
    wait_until(lambda: predict(server, "price@2").status_code == 404)


def test_the_command_refuses_what_is_no_policy(store: Store) -> None:
    for policy in ("newest:0", "some", "9"):
        refused = axon(store, "versions", "other", policy)
        assert (refused.returncode, refused.stdout) == (2, ""), policy
    assert "no version 9" in refused.stderr


@pytest.mark.parametrize("content", ['{"versions": "newest:x"}', '{"versions": [3, 99]}'])
def test_a_wrong_file_is_told_and_nothing_stops(store: Store, server: Server, content: str) -> None:
    path = store.root / "price" / POLICY_FILE
    try:
        path.write_text(content)
        wait_until(lambda: POLICY_FILE in http_get(f"{server.url}/models").json()["problems"].get("price", ""))
        assert metric_sum(server, "axon_store_problems") == 1
        assert predict(server, "price@3").status_code == 200
        assert predict(server, "price@production").status_code == 200
    finally:
        path.unlink()
    wait_until(lambda: not http_get(f"{server.url}/models").json()["problems"])


@pytest.mark.parametrize("policy", ["newest:0", "1,3", "some"])
def test_a_server_does_not_start_with_a_wrong_policy(store: Store, tmp_path: Path, policy: str) -> None:
    server = Server(store.root, tmp_path, versions=policy)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        assert "AXON_VERSIONS" in ended.stderr
    finally:
        server.kill()
