"""Disks of a few kilobytes, full or read-only, each in a mount namespace of its own that no other process sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def has_namespaces() -> bool:
    """Returns True if a process may have its own mount namespace on this machine."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and not subprocess.run([unshare, "-rm", "true"], check=False, capture_output=True).returncode
    )


def on_a_tiny_disk(
    folder: Path, mount_options: str, code: str, *arguments: str, before: str = "true"
) -> subprocess.CompletedProcess[str]:
    """Runs Python code with a disk of its own at `folder`.

    Args:
        folder: mount point of the disk.
        mount_options: options of the tmpfs, such as `size=8k,ro`.
        code: Python program to run.
        arguments: arguments of the program.
        before: shell command that runs first, in the mount point's parent.
    """
    if not has_namespaces():
        pytest.skip("needs unshare and mount namespaces")
    folder.mkdir(exist_ok=True)
    script = 'mount -t tmpfs -o "$1" none "$2" && { eval "$3"; shift 3; exec "$@"; }'
    return subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            script,
            "sh",
            mount_options,
            folder,
            before,
            sys.executable,
            "-c",
            code,
            *arguments,
        ],
        cwd=folder.parent,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
