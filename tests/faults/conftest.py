"""Fixtures: a store with three models, and a way to tell what was measured, which is shown after the tests."""

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
def tell(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Keeps a line of figures for the end of the run."""
    lines = request.config.stash.setdefault(_measured, [])
    return lambda figures: lines.append(f"{request.node.name}: {figures}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured."""
    lines = config.stash.get(_measured, [])
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)
