"""Fixtures: a store with three models, and a server over that store; other helpers are in `tests/serving.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, make_store, running

from models.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with three models."""
    return make_store(tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the three models, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("server")
    store = make_store(folder)
    with running(store.root, folder, max_body_bytes=200_000, max_request_rows=500, access_log=True) as server:
        yield server
