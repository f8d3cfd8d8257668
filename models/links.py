"""Symbolic links in the store: a link that leads out of the store is refused."""

from __future__ import annotations

import os
from pathlib import Path


def leads_out(path: Path, root: Path) -> bool:
    """Returns True if a path, with all links resolved, is not under `root`."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def is_link_out(path: Path, root: Path) -> bool:
    """Returns True if a path is a link that leads out of `root`."""
    return path.is_symlink() and leads_out(path, root)
