"""The field's environments: one virtual environment per server, since their dependencies conflict."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peer import ROOT
from benchmarks.perf_analyzer import PerfAnalyzer, Unavailable
from benchmarks.virtual_environment import VirtualEnvironment

# Packages that a handler needs in addition to the server's dependencies.
_HANDLER_PACKAGES = ("numpy", "orjson", "msgspec", "uvloop", "httptools")
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
ANALYZER = "perf_analyzer"  # a program, set up beside the environments
NAMES = (*PACKAGES, ANALYZER)


def environments_folder() -> Path:
    """Returns the environments' folder: `AXON_BENCH_ENVIRONMENTS`, or one below `axon-bench` in the user's cache."""
    given = os.environ.get("AXON_BENCH_ENVIRONMENTS")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "axon-bench", "environments")


def perf_analyzer() -> PerfAnalyzer:
    """Returns Triton's load generator in its folder."""
    return PerfAnalyzer(environments_folder() / ANALYZER)


def bin_folder(name: str) -> Path:
    """Returns the folder of an environment's commands."""
    return _environment(name).bin


def is_set_up(name: str) -> bool:
    """Returns True if an environment is complete."""
    return _environment(name).is_complete


def set_up(names: Iterable[str]) -> list[str]:
    """Makes those environments that do not exist yet; returns the names of those that could not be made."""
    return [name for name in names if not _make(name)]


def _environment(name: str) -> VirtualEnvironment:
    return VirtualEnvironment(environments_folder() / name)


def _make(name: str) -> bool:
    if name == ANALYZER:
        try:
            perf_analyzer().install()
        except Unavailable as reason:
            print(f"{name}: {reason}", file=sys.stderr, flush=True)
            return False
        return True
    torch = _pinned_torch()
    # torch goes in first and alone, so that no server chooses another build.
    return is_set_up(name) or _environment(name).make([[torch], [torch, *_HANDLER_PACKAGES, *PACKAGES[name]]])


def _pinned_torch() -> str:
    found = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None, "constraints.txt pins torch"
    return found[0]
