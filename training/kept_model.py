"""A kept model: a trained model that is not published, on the disk, with its pages beside it.

    STORE/.unpublished/flowers-1/model.safetensors, report.html, README.md

The store takes no folder whose name begins with a dot for a model, so nothing serves it. `publish` of the command line
makes a version of it.
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
from training.program import program

_FOLDER = "unpublished"
_MEMORY = Path("/dev/shm")  # noqa: S108 -- a folder of our own is made in it  # nosec B108


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptModel:
    """A trained model on the disk that is no version of the store.

    Attributes:
        name: name under which it would be published.
        path: its checkpoint.
    """

    name: str
    path: Path

    def __str__(self) -> str:
        return self.name

    def publish_command(self, store: Path) -> str:
        """The command that publishes it."""
        return f"{program()} publish {shlex.quote(str(self.path))} --store {shlex.quote(str(store))}"

    def remove(self) -> None:
        """Removes it, as far as the disk allows, for it has been published."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        if self.path.parents[1].name.endswith(_FOLDER):
            with contextlib.suppress(OSError):
                self.path.parents[1].rmdir()  # where it was the only one


def keep(name: str, checkpoint: Checkpoint, store: Path) -> KeptModel:
    """Writes a checkpoint to the first place that takes it: the store, the working folder, temporary files, memory.

    Args:
        name: model's name.
        checkpoint: trained model.
        store: folder of the store.

    Raises:
        StoreError: no place takes it; the message says of each why.
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


def _places(name: str, store: Path) -> Iterator[Callable[[], Path]]:
    """What makes a folder for a model, by place. Each place may lie on another disk."""
    yield lambda: _next_folder(store / f".{_FOLDER}", name)
    yield lambda: _next_folder(Path(_FOLDER), name)
    yield lambda: Path(tempfile.mkdtemp(prefix=f"axon-{name}-"))
    if os.access(_MEMORY, os.W_OK):
        yield lambda: Path(tempfile.mkdtemp(prefix=f"axon-{name}-", dir=_MEMORY))


def _next_folder(parent: Path, name: str) -> Path:
    """Makes the first of `NAME-1`, `NAME-2`, … that is not there yet."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = parent / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError  # count has no end
