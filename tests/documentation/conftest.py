"""Fixtures: a temporary folder for each test's child processes, so that tests can run beside any other work."""

from __future__ import annotations

from pathlib import Path

import pytest

import axon
from axon.cli import main
from models.store import Store


@pytest.fixture(autouse=True)
def temporary_folder(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the processes that a test starts; no other process uses this folder."""
    monkeypatch.setenv("TMPDIR", str(short_folder))
    return short_folder


@pytest.fixture
def flowers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A working folder with `flowers.csv`, and a store with the model `flowers` of that table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXON_STORE", raising=False)
    assert main(["data", "iris"]) == 0
    Path("flowers.csv").write_text(capsys.readouterr().out, encoding="utf-8")
    fitted = axon.fit("flowers.csv", target="species", name="flowers", epochs=30, hidden_sizes=(16,), progress=False)
    fitted.publish(Store("checkpoints"), report=False)
    return tmp_path
