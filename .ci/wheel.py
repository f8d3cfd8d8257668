"""Builds Axon's wheel so that the same sources give the same bytes: `make wheel`.

The wheel of `pip wheel .` has the times and permissions of the files in the working folder. This script copies the
sources into a temporary folder with fixed permissions, and builds there with a fixed umask and SOURCE_DATE_EPOCH (by
default the time of the last commit). The build tool has the version of this environment, and its name is in the wheel.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("axon", "conversion", "inference", "models", "scoring", "service", "training")

_EPOCH = "SOURCE_DATE_EPOCH"
_FILE_MODE, _FOLDER_MODE, _UMASK = 0o644, 0o755, 0o022


def main(arguments: list[str]) -> int:
    """Builds the wheel, prints its path and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT, help="folder of the sources (default: this one)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of the wheel (default: dist)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="axon-wheel-") as folder:
        copy = Path(folder) / "axon"
        copy_sources(given.source, copy)
        built = build(copy, Path(folder) / "out", epoch=_epoch(given.source))
        given.out.mkdir(parents=True, exist_ok=True)
        wheel = given.out / built.name
        shutil.copyfile(built, wheel)
    print(wheel)
    return 0


def copy_sources(source: Path, target: Path) -> None:
    """Copies what belongs into the wheel, with the same permissions everywhere.

    Args:
        source: folder of the sources.
        target: folder to make.
    """
    target.mkdir()
    for name in FILES:
        shutil.copyfile(source / name, target / name)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
        shutil.copytree(source / name, target / name, ignore=ignored, copy_function=shutil.copyfile)
    for path in (target, *target.rglob("*")):
        path.chmod(_FOLDER_MODE if path.is_dir() else _FILE_MODE)


def build(source: Path, out: Path, *, epoch: str) -> Path:
    """Builds a wheel with the tools of this environment, and returns its path.

    Args:
        source: folder of the sources.
        out: folder of the wheel.
        epoch: time of all files in the wheel, in seconds since 1970.
    """
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = os.environ | {_EPOCH: epoch, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "--wheel-dir", out, source], check=True, env=environment, umask=_UMASK)
    (wheel,) = out.glob("axon-*.whl")
    return wheel


def _epoch(source: Path) -> str:
    """Returns SOURCE_DATE_EPOCH, else the time of the last commit; ends the program if there is neither."""
    if given := os.environ.get(_EPOCH):
        return given
    command = ["git", "-C", source, "log", "-1", "--format=%ct"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        sys.exit(f"set {_EPOCH}: {source} has no commit whose time could be taken.")
    return asked.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
