"""Fixtures: a server of demo models, and pages in a real browser that fail a test on any error.

The tests need playwright and the system's Chromium, and are skipped where one of them is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from browsing import OpenPage, browsing, opening, train_demo_models
from serving import Server, make_store, running
from viewed_models import publish_studies, train_viewed_models

from models.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for the tests of one file.

    Playwright runs an event loop in this thread until its end, so `asyncio.run` fails in tests beside an open browser.
    """
    with browsing() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """A function that opens an address; the test fails on faults of the page that the test does not allow."""
    with opening(browser) as open_:
        yield open_


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of small models with weights from a seed, which starts without a training."""
    folder = tmp_path_factory.mktemp("untrained")
    with running(make_store(folder).root, folder) as server:
        yield server


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of trained models."""
    store = Store(tmp_path_factory.mktemp("demo") / "store")
    train_demo_models(store)
    return store


@pytest.fixture(scope="session")
def console(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the demo models, for tests that change nothing."""
    with running(demo_store.root, tmp_path_factory.mktemp("console-server")) as server:
        yield server


@pytest.fixture(scope="session")
def viewed_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of models and studies for the views that try, draw, watch and explain."""
    folder = tmp_path_factory.mktemp("viewed")
    store = Store(folder / "store")
    train_viewed_models(store)
    publish_studies(store, folder)
    return store


@pytest.fixture(scope="session")
def viewed(viewed_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of these models, for tests that change nothing."""
    with running(viewed_store.root, tmp_path_factory.mktemp("viewed-server")) as server:
        yield server
