"""Fixtures: servers for the fuzzers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzed_models import DEFAULT_MODEL, KEY, MODELS
from serving import Server, running

from models.store import Store


@pytest.fixture(scope="session")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without access control."""
    yield from unharmed(tmp_path_factory.mktemp("fuzzed"))


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that requires `SECRET`."""
    yield from unharmed(tmp_path_factory.mktemp("locked"), api_keys=KEY)


def unharmed(folder: Path, **settings: object) -> Iterator[Server]:
    """Runs a server; checks at the end that no process died, that no error was logged, and that the stop is orderly."""
    store = Store(folder / "store")
    for name, checkpoint in MODELS.items():
        store.publish(name, checkpoint)
    limits = {"max_body_bytes": 200_000, "max_request_rows": 500, "header_seconds": 2, "body_seconds": 2}
    with running(store.root, folder, default_model=DEFAULT_MODEL, idle_seconds=2, **limits, **settings) as server:
        before = server.processes()
        yield server
        assert server.processes() == before
        assert '"level": "error"' not in server.log(), server.log()
