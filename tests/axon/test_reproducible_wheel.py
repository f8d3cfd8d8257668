"""The wheel of the same sources has the same bytes in any folder, at any time and with any umask."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("axon", "conversion", "inference", "models", "scoring", "service", "training")

pytestmark = pytest.mark.slow


def build(folder: Path, *, umask: int, modified: int, epoch: str = "1700000000") -> Path:
    """Builds the wheel in a folder of its own, from files with other times and permissions, and returns its path."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in source.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        os.utime(path, (modified, modified))
    environment = os.environ | {"SOURCE_DATE_EPOCH": epoch, "TZ": "Asia/Tokyo" if modified % 2 else "UTC"}
    command = [sys.executable, ROOT / ".ci/wheel.py", "--source", source, "--out", folder / "dist"]
    subprocess.run(command, check=True, env=environment, umask=umask, cwd=folder, timeout=300, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "a", umask=0o022, modified=1_500_000_000)
    second = build(tmp_path / "another place", umask=0o077, modified=1_600_000_001)
    assert first.name == second.name
    assert sha256(first) == sha256(second)
    with zipfile.ZipFile(first) as archive:
        entries = archive.infolist()
    assert {entry.date_time for entry in entries} == {(2023, 11, 14, 22, 13, 20)}
    assert {entry.external_attr >> 16 & 0o777 for entry in entries} <= {0o644, 0o664}
    packed = {entry.filename for entry in entries}
    assert {str(path.relative_to(ROOT)) for name in SOURCES for path in (ROOT / name).rglob("*.py")} <= packed
