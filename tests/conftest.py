"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The time of an example depends more on other work of the machine than on the code.
settings.register_profile("axon", deadline=None)
settings.load_profile("axon")

# Set before a test imports NumPy or torch, and for the processes that tests start. Tests run one per core, so more
# threads would only wait for each other, and OpenMP's threads wait at full speed: trees for 1,200 rows take 0.7 s of
# CPU with two threads, 0.08 s with one. A test of threads sets their number itself.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


# Their tests start servers and type whole tutorials.
_SLOW_FOLDERS = {"console", "documentation", "e2e", "interop"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of some folders as slow."""
    for item in items:
        if item.path.parent.name in _SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for one test with a path that is short enough for Unix sockets, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="axon-"))
    yield folder
    shutil.rmtree(folder)
