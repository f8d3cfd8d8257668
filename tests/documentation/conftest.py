"""Fixtures: a temporary folder for each test's child processes, so that tests can run beside any other work."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def temporary_folder(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the processes that a test starts; no other process uses this folder."""
    monkeypatch.setenv("TMPDIR", str(short_folder))
    return short_folder
