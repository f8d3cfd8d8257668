"""Environments of the clients whose dependencies conflict with Axon's, and of the engines that run Axon.

`python -m tests.interop.client_environments` makes those that are missing.

Each file of `tests/interop/environments` is a virtual environment, made in `$INTEROP_ENVIRONMENTS` (by default
`.interop` in the working tree). Those of `ABOVE_OURS` see the packages of the environment that makes them.
`perf_analyzer` is a program of its own. The tests skip what is not there.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from benchmarks.peer import ROOT
from benchmarks.perf_analyzer import PerfAnalyzer, Unavailable
from benchmarks.virtual_environment import VirtualEnvironment

REQUIREMENTS = {path.stem: path for path in sorted((Path(__file__).parent / "environments").glob("*.txt"))}
ABOVE_OURS = {"boosting", "engines"}

_MADE_FROM = "requirements.txt"  # file in an environment with what it was made from


def environments_folder() -> Path:
    """Returns the folder of the environments."""
    return Path(os.environ.get("INTEROP_ENVIRONMENTS") or ROOT / ".interop")


def client_environment(name: str) -> VirtualEnvironment:
    """Returns the environment of the requirement file `NAME.txt`."""
    return VirtualEnvironment(environments_folder() / name)


def is_current(name: str) -> bool:
    """Returns True if an environment was made from the present requirement file, and above the present packages."""
    made_from = environments_folder() / name / _MADE_FROM
    return client_environment(name).is_complete and made_from.exists() and made_from.read_text() == _recipe(name)


def perf_analyzer() -> PerfAnalyzer:
    """Returns Triton's load generator."""
    return PerfAnalyzer(environments_folder() / "perf_analyzer")


def main() -> int:
    """Makes what is missing; returns 1 if an environment could not be made."""
    failed = [name for name in REQUIREMENTS if not is_current(name) and not _make(name)]
    try:
        perf_analyzer().install()
    except Unavailable as reason:  # a program for one platform: its tests are skipped elsewhere
        print(f"perf_analyzer: not installed: {reason}", file=sys.stderr)
    if failed:
        print(f"not made: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _make(name: str) -> bool:
    if not client_environment(name).make([["--requirement", str(REQUIREMENTS[name])]], packages=_packages(name)):
        return False
    (environments_folder() / name / _MADE_FROM).write_text(_recipe(name))
    return True


def _packages(name: str) -> Path | None:
    return Path(sysconfig.get_path("purelib")) if name in ABOVE_OURS else None


def _recipe(name: str) -> str:
    packages = _packages(name)
    return REQUIREMENTS[name].read_text() + (f"# above {packages}\n" if packages else "")


if __name__ == "__main__":
    sys.exit(main())
