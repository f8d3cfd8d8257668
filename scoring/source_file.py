"""The interface of a source's files: what a reader and a job need of a file, wherever the file lies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa

from models.errors import DataError
from training.data.parquet_parts import PARQUET_SUFFIXES

Form = Literal["parquet", "csv", "arrow"]
Range = tuple[int, int]  # first byte, and the byte after the last one

KNOWN = ".parquet, .csv, .tsv (also packed: .csv.gz) and .arrow"
_CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_ARROW_SUFFIXES = (".arrow", ".arrows", ".feather", ".ipc")
_PACKED_SUFFIXES = (".gz", ".bz2", ".zst", ".lz4")
_SHOWN = 3  # files in a message


class SourceFile(ABC):
    """One file of a source.

    Args:
        name: path of the file below the source, for people and for the manifest.
        form: format of the file.
        size: length in bytes.

    Attributes:
        name: path of the file below the source, for people and for the manifest.
        form: format of the file.
        size: length in bytes.
        opens_at_once: number of files that are opened side by side before the first row is read.
    """

    opens_at_once = 1

    def __init__(self, *, name: str, form: Form, size: int) -> None:
        self.name = name
        self.form = form
        self.size = size

    @property
    @abstractmethod
    def address(self) -> str:
        """Path or URL of the file, for messages."""

    @property
    @abstractmethod
    def place(self) -> str:
        """URL of the file, one for all ways to write the same path."""

    @abstractmethod
    def identity(self) -> list[Any]:
        """Returns values for the manifest that change with the content of the file, its length first."""

    @abstractmethod
    def check_unchanged(self) -> None:
        """Refuses a file that is not the one that the job began with.

        Raises:
            DataError: the file is gone, or has changed.
        """

    @abstractmethod
    def open(self) -> pa.NativeFile:
        """Opens the file for reads at any place.

        Raises:
            DataError: the file cannot be read.
        """

    @abstractmethod
    def open_heads(self) -> pa.NativeFile:
        """Opens the file for a few small reads at many places.

        Raises:
            DataError: the file cannot be read.
        """

    @abstractmethod
    def open_stream(self) -> pa.NativeFile:
        """Opens the file for reads from the beginning to the end.

        Raises:
            DataError: the file cannot be read.
        """

    def expect(self, opened: pa.NativeFile, groups: Iterable[Sequence[Range]]) -> None:
        """Announces what will be read of an open file; a disk needs no announcement.

        Args:
            opened: file from `open`.
            groups: ranges that are read side by side, group by group.
        """
        del opened, groups


def form_of(name: str) -> Form | None:
    """Returns the format that a file's name says; None for an unknown one."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    last = suffixes[-1] if suffixes else ""
    if last in _PACKED_SUFFIXES and len(suffixes) > 1 and suffixes[-2] in _CSV_SUFFIXES:
        return "csv"
    if last in PARQUET_SUFFIXES:
        return "parquet"
    if last in _CSV_SUFFIXES:
        return "csv"
    return "arrow" if last in _ARROW_SUFFIXES else None


def forms_of(names: Sequence[str]) -> list[Form]:
    """Returns the formats that the names of files say.

    Raises:
        DataError: a file is of no known format.
    """
    forms = [form_of(name) for name in names]
    unknown = [name for name, form in zip(names, forms, strict=True) if form is None]
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else "")
        raise DataError(f"{shown}: the suffix names no format that can be scored ({KNOWN}).")
    return [form for form in forms if form is not None]
