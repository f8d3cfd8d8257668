"""Fixtures: one server over the models that all clients ask, with every protocol, and a server of buckets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from client_environments import client_environment
from client_runs import interpreter
from doors import Doors
from served_models import MODELS
from serving import http_get, running, wait_until

from benchmarks.process import free_port
from models.store import Store


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A server over the models, for clients that change nothing."""
    folder = tmp_path_factory.mktemp("interop")
    store = Store(folder / "store")
    for name, checkpoint in MODELS.items():
        store.publish(name, checkpoint)
    store.publish("late", MODELS["late"])  # a second version
    grpc_port = free_port()
    with running(store.root, folder, default_model="visits", access_log=True, grpc_port=grpc_port) as server:
        yield Doors(server, f"127.0.0.1:{server.port}", f"127.0.0.1:{grpc_port}")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Returns the port of a server of S3's protocol."""
    interpreter("moto", "moto")
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [str(client_environment("moto").bin / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: _answers(port), log.read_text)
            yield port
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        return http_get(f"http://127.0.0.1:{port}/moto-api/").status_code == 200
    except httpx.HTTPError:
        return False
