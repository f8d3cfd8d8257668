"""The models that were unloaded by request, for all API processes of a server: one empty file for each."""

from __future__ import annotations

from pathlib import Path


class UnloadedModels:
    """The names of unloaded models. They end with the server: after a restart, all models of the store are served.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> frozenset[str]:
        """Returns the names of all unloaded models."""
        try:
            return frozenset(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return frozenset()

    def add(self, name: str) -> None:
        """Adds a model of the store."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / name).touch()

    def remove(self, name: str) -> None:
        """Removes a model; does nothing if the model is not unloaded."""
        (self._folder / name).unlink(missing_ok=True)
