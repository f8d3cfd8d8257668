"""Writing a file, or files that belong together, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

_LONGEST_NAME_BYTES = 200  # of a file's name in the name of its temporary file: file systems take 255 in all


def write_whole(path: Path, content: bytes, *, named: str | None = None) -> None:
    """Writes a file in place of an earlier one, as `whole_file` does.

    Args:
        path: place of the file.
        content: bytes of the file.
        named: name that the temporary file's name has; None for the file's own.

    Raises:
        OSError: The disk refuses the write.
    """
    with whole_file(path, named=named) as file:
        file.write(content)


def write_whole_together(contents: Mapping[Path, bytes]) -> None:
    """Writes files that belong together; all are on the disk before the first one takes the place of an earlier one.

    Args:
        contents: bytes of each file by place.

    Raises:
        OSError: The disk refuses a file, so that no earlier one is replaced; or a rename fails after another one.
    """
    with ExitStack() as temporaries:
        written = [(temporaries.enter_context(_temporary_file(path, path.name)), path) for path in contents]
        for (file, _), content in zip(written, contents.values(), strict=True):
            with file.open("xb") as opened:
                opened.write(content)
                _flush(opened)
        for file, path in written:
            file.replace(path)
        for folder in {path.parent for path in contents}:
            sync_folder(folder)


@contextmanager
def whole_file(path: Path, *, named: str | None = None) -> Iterator[BinaryIO]:
    """Opens a file that takes the place of an earlier one at the end of the block, and never if the block fails.

    The file has a temporary name until it is on the disk, so a reader sees the earlier file or the whole new one.

    Args:
        path: place of the file.
        named: name that the temporary file's name has; None for the file's own.

    Yields:
        The open file.

    Raises:
        OSError: The disk refuses the write.
    """
    with _temporary_file(path, named or path.name) as temporary:
        with temporary.open("xb") as file:
            yield file
            _flush(file)
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def _temporary_file(path: Path, named: str) -> Iterator[Path]:
    """Yields a free place beside a file, and removes what is there at the end."""
    name = os.fsdecode(os.fsencode(named)[:_LONGEST_NAME_BYTES])
    temporary = path.with_name(f".{name}.{secrets.token_hex(8)}")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # after a success, the file is renamed already
            temporary.unlink()


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that a user named: whole or not at all as `whole_file` does, or directly where that is impossible.

    What a link leads to is written, and an earlier file's permissions stay. A device or a pipe is written directly, and
    so is a file whose folder takes no new files.

    Args:
        path: place of the file.

    Yields:
        The open file.

    Raises:
        OSError: The disk refuses the write.
    """
    path = Path(os.path.realpath(path))
    is_there = path.exists()
    if is_there and not (path.is_file() and os.access(path.parent, os.W_OK) and not path.is_mount()):
        with path.open("wb") as file:
            yield file
        return
    with whole_file(path) as file:
        if is_there:
            os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
        yield file


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
