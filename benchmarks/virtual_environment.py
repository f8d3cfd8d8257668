"""A virtual environment of its own, for a package whose dependencies conflict with those of others."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import ROOT

DONE = ".ok"  # file that marks an environment as complete


@dataclass(frozen=True)
class VirtualEnvironment:
    """A virtual environment in a folder.

    Attributes:
        folder: folder of the environment.
    """

    folder: Path

    @property
    def bin(self) -> Path:
        """Folder of the commands."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """Path of the interpreter."""
        return self.bin / "python"

    @property
    def is_complete(self) -> bool:
        """True if the last attempt to make the environment came to its end."""
        return (self.folder / DONE).exists()

    def make(
        self, steps: Iterable[Sequence[str]], options: Sequence[str] = (), *, packages: Path | None = None
    ) -> bool:
        """Makes the environment anew; returns False if a step fails.

        Args:
            steps: arguments of each `pip install`.
            options: arguments of every `pip install`.
            packages: folder of packages that the environment sees after its own ones, and that pip does not install
                again; None for no such folder.
        """
        shutil.rmtree(self.folder, ignore_errors=True)  # left by an attempt that failed
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        install = [str(self.bin / "pip"), "install", "--quiet", "--find-links", str(ROOT / "wheels"), *options]
        if not self._run([sys.executable, "-m", "venv", str(self.folder)]):
            return False
        if packages is not None:
            own = Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))
            (own / "packages_of_another_environment.pth").write_text(f"{packages}\n")
        if not all(self._run([*install, *step]) for step in steps):
            return False
        (self.folder / DONE).touch()
        return True

    def _run(self, command: Sequence[str]) -> bool:
        print(f"{self.folder.name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
        return subprocess.run(command, check=False).returncode == 0
