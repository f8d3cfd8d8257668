"""The list of the model versions that a worker holds in memory: one file for each worker, which API processes read."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from models.keys import parse_key


class HeldList:
    """The list of one worker, as the worker writes the file.

    Args:
        runtime_dir: folder that the server's processes share.
        worker: position of the worker among all workers.
    """

    def __init__(self, runtime_dir: Path, worker: int) -> None:
        folder = runtime_dir / "held"
        folder.mkdir(exist_ok=True)
        self._path = folder / f"worker-{worker}"
        self._path.unlink(missing_ok=True)  # of a predecessor

    def write(self, keys: Sequence[str]) -> None:
        """Replaces the list; after a failure the old list stays, since nothing but `/models` reads the file."""
        temporary = self._path.with_name(f".{self._path.name}")
        with contextlib.suppress(OSError):
            temporary.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
            temporary.replace(self._path)


class HeldLists:
    """The lists of all workers, for readers.

    Args:
        runtime_dir: folder that the server's processes share.
        workers: number of workers.
    """

    def __init__(self, runtime_dir: Path, workers: int) -> None:
        self._paths = [runtime_dir / "held" / f"worker-{number}" for number in range(workers)]

    def read(self) -> dict[str, list[int]]:
        """Returns the versions that at least one worker holds: their numbers, ascending, by name of the model."""
        keys: set[str] = set()
        for path in self._paths:
            with contextlib.suppress(OSError):
                keys.update(path.read_text(encoding="utf-8").splitlines())
        held: dict[str, set[int]] = {}
        for key in keys:
            name, version, _ = parse_key(key)
            held.setdefault(name, set()).add(version)
        return {name: sorted(versions) for name, versions in held.items()}
