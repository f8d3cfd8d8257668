"""Symbolic links in the store: a link that leads out of it is refused."""

from __future__ import annotations

import os
from pathlib import Path


def leads_out(path: Path, root: Path) -> bool:
    """Whether a path, its links followed, is no longer under `root`."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def is_link_out(path: Path, root: Path) -> bool:
    """Whether a path is a link that leads out of `root`."""
    return path.is_symlink() and leads_out(path, root)
