"""Fixtures: a store with three models, and a recorder of measurements, which are printed after the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from serving import make_store

from models.store import Store

_measured = pytest.StashKey[list[str]]()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the three models that a crowd asks."""
    return make_store(tmp_path)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """A function that keeps a line of measurements for the end of the run."""
    lines = request.config.stash.setdefault(_measured, [])
    return lambda figures: lines.append(f"{request.node.name}: {figures}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the measurements."""
    lines = config.stash.get(_measured, [])
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
