"""Models with logged answers, one for classes and one for values."""

from __future__ import annotations

import pytest
from logged_models import LoggedModel, make_logged_model


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> LoggedModel:
    """A classifier with two versions, and ten days of answers of the first."""
    return make_logged_model(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="session")
def values(tmp_path_factory: pytest.TempPathFactory) -> LoggedModel:
    """A regressor with two versions, and ten days of answers of the first."""
    return make_logged_model(tmp_path_factory.mktemp("values"), target="spent")
