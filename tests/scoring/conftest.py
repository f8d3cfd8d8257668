"""A store with models of each kind, and tables of rows."""

from __future__ import annotations

import pyarrow as pa
import pytest
import scored_tables

from models.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return scored_tables.make_store(tmp_path_factory.mktemp("scoring") / "store")


@pytest.fixture(scope="session")
def numbers() -> pa.Table:
    return scored_tables.numbers()


@pytest.fixture(scope="session")
def mixed() -> pa.Table:
    return scored_tables.mixed()
