"""The files of a source: one file, a folder, or a pattern of names, each with its length and time of change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import DataError
from training.data.folder_files import files_in, files_matching, is_pattern
from training.data.parquet_parts import PARQUET_SUFFIXES

Form = Literal["parquet", "csv", "arrow"]

_CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_ARROW_SUFFIXES = (".arrow", ".arrows", ".feather", ".ipc")
_PACKED_SUFFIXES = (".gz", ".bz2", ".zst", ".lz4")
_KNOWN = ".parquet, .csv, .tsv (also packed: .csv.gz) and .arrow"
_SHOWN = 3  # files in a message


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: path of the file.
        name: path of the file below the source, for people and for the manifest.
        form: format of the file.
        size: length in bytes.
        modified_ns: time of the last modification, in nanoseconds since the epoch.
    """

    path: Path
    name: str
    form: Form
    size: int
    modified_ns: int

    def check_unchanged(self) -> None:
        """Refuses a file that is not the one that the job began with.

        Raises:
            DataError: the file is gone, or has another length or time of modification.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error
        if (stat.st_size, stat.st_mtime_ns) != (self.size, self.modified_ns):
            raise DataError(f"{self.path} changed while it was read: score it again, into another --out.")


def files_of(source: str | Path, *, left_out: Callable[[Path], bool] | None = None) -> list[SourceFile]:
    """Returns the files of a source, ordered by name.

    Args:
        source: path of a file or a folder, or a pattern such as `rows/*.parquet`. Names below it that begin
            with a dot or `_` are passed over, as Spark and Dask do.
        left_out: function that says whether a match of a pattern is left out; None to take all matches.

    Raises:
        DataError: there is no such file, or one that is of no known format; or as `files_in`.
    """
    text = str(source)
    path = Path(source)
    if "://" in text:
        raise DataError(f"{text}: local files alone can be scored. Copy the files to a disk first.")
    if path.is_dir():
        found = [_file(inner, str(inner.relative_to(path))) for inner in files_in(path)]
        if not found:
            raise DataError(f"{text} is a folder without a file of rows in it ({_KNOWN}).")
        return _known(found)
    if path.exists():
        return _known([_file(path, path.name)])
    if not is_pattern(text):
        raise DataError(f"there is no file {text}.")
    root, matches = files_matching(text)
    if not matches:
        raise DataError(f"no file matches {text!r}. In a shell, the pattern has to stand between quotes.")
    found = [_file(match, str(match.relative_to(root))) for match in matches if left_out is None or not left_out(match)]
    if not found:
        raise DataError(f"{text!r} matches answers of this job alone: name another --out.")
    return _known(found)


def _file(path: Path, name: str) -> tuple[Path, str, Form | None]:
    return path, name, form_of(path)


def form_of(path: Path) -> Form | None:
    """Returns the format that a file's name says; None for an unknown one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in _PACKED_SUFFIXES and len(suffixes) > 1 and suffixes[-2] in _CSV_SUFFIXES:
        return "csv"
    if last in PARQUET_SUFFIXES:
        return "parquet"
    if last in _CSV_SUFFIXES:
        return "csv"
    return "arrow" if last in _ARROW_SUFFIXES else None


def _known(found: list[tuple[Path, str, Form | None]]) -> list[SourceFile]:
    unknown = [name for _, name, form in found if form is None]
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else "")
        raise DataError(f"{shown}: the suffix names no format that can be scored ({_KNOWN}).")
    files = []
    for path, name, form in found:
        if form is None:
            continue  # refused above
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise DataError(f"the file name {name!r} is not UTF-8: rename the file.") from None
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        files.append(SourceFile(path=path, name=name, form=form, size=stat.st_size, modified_ns=stat.st_mtime_ns))
    return files
