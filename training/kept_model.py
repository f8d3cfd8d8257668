"""A kept model: a trained model on the disk that is not published, with report and model card in the same folder.

    STORE/.unpublished/flowers-1/model.safetensors, report.html, README.md

The store ignores folders whose names begin with a dot, so a kept model is not served. The command `publish` makes a
version of it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from models.checkpoint import Checkpoint, save_checkpoint
from models.errors import CheckpointError, StoreError
from models.store import CHECKPOINT_FILE
from models.whole_file import write_whole
from training.program import program

UNPUBLISHED = "unpublished"  # folder of kept models and interrupted runs, if the store is no folder
_MEMORY = Path("/dev/shm")  # noqa: S108 -- Axon makes its own folder in it  # nosec B108


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptModel:
    """A trained model on the disk that is not a version in the store.

    Attributes:
        name: name of the model for publishing.
        path: path of the checkpoint.
    """

    name: str
    path: Path

    def __str__(self) -> str:
        return self.name

    def publish_command(self, store: str) -> str:
        """Returns the command that publishes the model."""
        return f"{program()} publish {shlex.quote(str(self.path))} --store {shlex.quote(store)}"

    def write_page(self, file_name: str, content: bytes) -> Path:
        """Writes a page beside the checkpoint, whole or not at all, and returns its path.

        Args:
            file_name: `README.md` or `report.html`.
            content: text of the page, in UTF-8.

        Raises:
            OSError: the disk refuses the write.
        """
        path = self.path.with_name(file_name)
        write_whole(path, content)
        return path

    def remove(self) -> None:
        """Removes the folder of the model after publishing, and ignores errors of the disk."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        if self.path.parents[1].name.endswith(UNPUBLISHED):
            with contextlib.suppress(OSError):
                self.path.parents[1].rmdir()  # fails if the folder has other models


def keep(name: str, checkpoint: Checkpoint, store: Path | None) -> KeptModel:
    """Writes a checkpoint to the first possible place: the store, the working folder, temporary files or memory.

    Args:
        name: name of the model.
        checkpoint: trained model.
        store: folder of the store; None for a store that is no folder.

    Raises:
        StoreError: no place can be written; the message has the reason for each.
    """
    reasons: list[str] = []
    for make_folder in _places(name, store):
        folder: Path | None = None
        try:
            folder = make_folder()
            path = folder / CHECKPOINT_FILE
            save_checkpoint(checkpoint, path)
        except OSError as error:
            reasons.append(f"{error.filename or folder}: {error.strerror}")
        except CheckpointError as error:
            reasons.append(f"{error.path.parent}: {error.reason.removesuffix('.')}")
        else:
            return KeptModel(name=name, path=path)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    raise StoreError(f"the model {name} could not be kept anywhere ({'; '.join(reasons)}).")


def _places(name: str, store: Path | None) -> Iterator[Callable[[], Path]]:
    """Yields a function for each place that makes a folder there. Each place may be on another disk."""
    if store is not None:
        yield lambda: _next_folder(store / f".{UNPUBLISHED}", name)
    yield lambda: _next_folder(Path(UNPUBLISHED), name)
    yield lambda: Path(tempfile.mkdtemp(prefix=f"axon-{name}-"))
    if os.access(_MEMORY, os.W_OK):
        yield lambda: Path(tempfile.mkdtemp(prefix=f"axon-{name}-", dir=_MEMORY))


def _next_folder(parent: Path, name: str) -> Path:
    """Makes the first folder of `NAME-1`, `NAME-2`, … that does not exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = parent / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError  # count has no end
