"""The field's environments: one virtual environment per server, since their dependencies conflict."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peer import ROOT

# Packages that a handler needs in addition to the server's dependencies.
_HANDLER_PACKAGES = ("numpy", "orjson", "uvloop", "httptools")
PACKAGES = {
    "bentoml": ("bentoml==1.4.40",),
    "granian": ("granian==2.8.7", "onnx==1.23.2", "onnxruntime==1.31.1"),
    "kserve": ("kserve==0.21.0",),
    "mlflow": ("mlflow==3.17.2",),
    "mlserver": ("mlserver==1.7.1",),
    "mosec": ("mosec==0.9.8",),
    "pytriton": ("nvidia-pytriton==0.7.0",),
    "ray": ("ray[serve]==2.60.0",),
    # torchserve needs pkg_resources, which later versions of setuptools lack; it does not declare the other packages.
    "torchserve": (
        "torchserve==0.12.0",
        "torch-model-archiver==0.12.0",
        "setuptools<81",
        "psutil",
        "pyyaml",
        "packaging",
    ),
}
_DONE = ".ok"  # file that marks an environment as complete


def environments_folder() -> Path:
    """Returns the environments' folder: `AXON_BENCH_ENVIRONMENTS`, or one below `axon-bench` in the user's cache."""
    given = os.environ.get("AXON_BENCH_ENVIRONMENTS")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "axon-bench", "environments")


def bin_folder(name: str) -> Path:
    """Returns the folder of an environment's commands."""
    return environments_folder() / name / "bin"


def is_set_up(name: str) -> bool:
    """Returns True if an environment is complete."""
    return (environments_folder() / name / _DONE).exists()


def set_up(names: Iterable[str]) -> list[str]:
    """Makes those environments that do not exist yet; returns the names of those that could not be made."""
    return [name for name in names if not is_set_up(name) and not _make(name)]


def _make(name: str) -> bool:
    folder = environments_folder() / name
    shutil.rmtree(folder, ignore_errors=True)  # left by an attempt that failed
    folder.parent.mkdir(parents=True, exist_ok=True)
    install = [str(folder / "bin/pip"), "install", "--quiet", "--find-links", str(ROOT / "wheels")]
    torch = _pinned_torch()
    print(f"{name}: {' '.join(PACKAGES[name])}", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*install, torch],  # first and alone, so that no server chooses another build
        [*install, torch, *_HANDLER_PACKAGES, *PACKAGES[name]],
    ):
        if subprocess.run(command, check=False).returncode != 0:
            return False
    (folder / _DONE).touch()
    return True


def _pinned_torch() -> str:
    found = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None, "constraints.txt pins torch"
    return found[0]
