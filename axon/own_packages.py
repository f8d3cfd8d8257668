"""A check that Axon's other packages are Axon's own: their names are common, and a user's project may have the same."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

_NAMES = ("models", "conversion", "inference", "training", "scoring", "monitoring", "service")
_HOME = Path(__file__).resolve().parents[1]


class HiddenPackage(ImportError):
    """A package of Axon that cannot be imported, since Python finds a user's file or folder of this name first."""


def check_own_packages(*names: str) -> None:
    """Looks up where Python finds Axon's packages, without an import.

    Args:
        names: packages to look up; all of them if none is given.

    Raises:
        HiddenPackage: the user's file or folder comes before a package of Axon on Python's path.
    """
    for name in names or _NAMES:
        place = _place(name)
        if place is not None and place != _HOME / name:
            raise HiddenPackage(
                f"Axon's package {name!r} is hidden by {place}, which Python finds first: {_remedy(place)}",
                name=name,
                path=str(place),
            )


def drop_working_folder() -> None:
    """Takes the working folder, which `python -m` puts first, off Python's path; Axon's own folder stays."""
    with contextlib.suppress(OSError):  # the working folder was deleted
        if not sys.flags.safe_path and sys.path and Path(sys.path[0]).resolve() == Path.cwd() != _HOME:
            del sys.path[0]


def _place(name: str) -> Path | None:
    """Returns the file or folder of a package; None for a package that cannot be found."""
    if name in sys.modules:
        module = sys.modules[name]
        spec = getattr(module, "__spec__", None)
    else:
        spec = find_spec(name)
    return None if spec is None else _place_of(spec)


def _place_of(spec: ModuleSpec) -> Path | None:
    folders = list(spec.submodule_search_locations or ())
    place = folders[0] if folders else spec.origin
    return None if place is None else Path(place).resolve()


def _remedy(place: Path) -> str:
    folder = place.parent
    if folder in {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}:
        return f"rename it, or take {folder} out of PYTHONPATH."
    if not sys.flags.safe_path and sys.path and folder == Path(sys.path[0]).resolve():
        return f"rename it, or start Python with -P, which leaves {folder} out. The command axon works in any folder."
    return f"rename it, or take {folder} off Python's path."
