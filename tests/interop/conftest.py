"""Fixtures: one server over the models that all clients ask, with every protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from doors import Doors
from served_models import MODELS
from serving import running

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
