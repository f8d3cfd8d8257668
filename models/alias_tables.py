"""The place of one model's aliases, histories and shadows, for a writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from models.alias_file import read_history, write_aliases, write_history
from models.alias_target import Target
from models.shadow_file import ShadowSetting, write_shadows


class AliasTables(Protocol):
    """The place of one model's aliases, histories and shadows."""

    def read_history(self, alias: str) -> list[Target]:
        """Reads what an alias meant before, oldest first."""

    def write_history(self, alias: str, steps: Sequence[Target]) -> None:
        """Writes what an alias meant before, oldest first."""

    def write_aliases(self, aliases: Mapping[str, Target]) -> None:
        """Writes all aliases."""

    def write_shadows(self, shadows: Mapping[str, ShadowSetting]) -> None:
        """Writes all shadows."""


class FolderTables:
    """The files of one model's folder.

    Args:
        folder: folder of the model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read_history(self, alias: str) -> list[Target]:
        """Reads what an alias meant before, oldest first; an empty list if the history cannot be read."""
        return read_history(self._folder, alias)

    def write_history(self, alias: str, steps: Sequence[Target]) -> None:
        """Writes what an alias meant before, oldest first.

        Raises:
            OSError: The disk refuses the write.
        """
        write_history(self._folder, alias, steps)

    def write_aliases(self, aliases: Mapping[str, Target]) -> None:
        """Writes all aliases, atomically.

        Raises:
            OSError: The disk refuses the write.
        """
        write_aliases(self._folder, aliases)

    def write_shadows(self, shadows: Mapping[str, ShadowSetting]) -> None:
        """Writes all shadows, atomically.

        Raises:
            OSError: The disk refuses the write.
        """
        write_shadows(self._folder, shadows)
