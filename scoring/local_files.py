"""The files of a source on a disk, each with its length and time of change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.errors import DataError
from scoring.source_file import KNOWN, Form, SourceFile, forms_of
from training.data.folder_files import files_in, files_matching, is_pattern


class LocalFile(SourceFile):
    """One file on a disk.

    Args:
        path: path of the file.
        name: path of the file below the source.
        form: format of the file.

    Attributes:
        path: path of the file.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, path: Path, *, name: str, form: Form) -> None:
        self.path = path
        size, self._modified_ns = self._state()
        super().__init__(name=name, form=form, size=size)

    @property
    def address(self) -> str:
        """Path of the file."""
        return str(self.path)

    @property
    def place(self) -> str:
        """URL of the file, without links."""
        return local_place(self.path)

    def identity(self) -> list[Any]:
        """Returns the length, and the time of the last modification in nanoseconds since the epoch."""
        return [self.size, self._modified_ns]

    def check_unchanged(self) -> None:
        """Refuses a file that is not the one that the job began with.

        Raises:
            DataError: the file is gone, or has another length or time of modification.
        """
        if self._state() != (self.size, self._modified_ns):
            raise DataError(f"{self.path} changed while it was read: score it again, into another --out.")

    def open(self) -> pa.NativeFile:
        """Opens the file.

        Raises:
            DataError: the file cannot be read.
        """
        # Not a file of Python: each read would take Python's lock and copy the bytes once more. Not a memory map: the
        # pages of a large file would count as memory of this process.
        try:
            return pa.OSFile(str(self.path))
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def open_heads(self) -> pa.NativeFile:
        """Opens the file as a memory map, of which the touched pages alone are read.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return pa.memory_map(str(self.path))
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def open_stream(self) -> pa.NativeFile:
        """Opens the file.

        Raises:
            DataError: the file cannot be read.
        """
        return self.open()

    def _state(self) -> tuple[int, int]:
        try:
            stat = self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error
        return stat.st_size, stat.st_mtime_ns


def local_place(path: Path) -> str:
    """Returns the URL of a path, without links."""
    return f"file://{path.resolve()}"


def local_files_of(text: str, left_out: Callable[[str], bool] | None) -> list[SourceFile]:
    """Returns the files of a source on a disk, ordered by name.

    Args:
        text: path of a file or a folder, or a pattern such as `rows/*.parquet`.
        left_out: function that says whether a match of a pattern, given as its place, is left out; None to take all.

    Raises:
        DataError: there is no such file, or one that is of no known format; or as `files_in`.
    """
    path = Path(text)
    if path.is_dir():
        found = [(inner, str(inner.relative_to(path))) for inner in files_in(path)]
        if not found:
            raise DataError(f"{text} is a folder without a file of rows in it ({KNOWN}).")
        return _known(found)
    if path.exists():
        return _known([(path, path.name)])
    if not is_pattern(text):
        raise DataError(f"there is no file {text}.")
    root, matches = files_matching(text)
    if not matches:
        raise DataError(f"no file matches {text!r}. In a shell, the pattern has to stand between quotes.")
    kept = [match for match in matches if left_out is None or not left_out(local_place(match))]
    if not kept:
        raise DataError(f"{text!r} matches answers of this job alone: name another --out.")
    return _known([(match, str(match.relative_to(root))) for match in kept])


def _known(found: list[tuple[Path, str]]) -> list[SourceFile]:
    files: list[SourceFile] = []
    for (path, name), form in zip(found, forms_of([name for _, name in found]), strict=True):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise DataError(f"the file name {name!r} is not UTF-8: rename the file.") from None
        files.append(LocalFile(path, name=name, form=form))
    return files
