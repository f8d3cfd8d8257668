"""A destination on a disk: files are written under another name, forced to the disk and renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.whole_file import sync_folder
from scoring.destination import COMPLETE, MANIFEST, Destination, manifest_from, part_name, record_from, written
from scoring.local_files import local_place
from scoring.writing import SUFFIXES, OutForm

_TEMPORARY = ".tmp"


class LocalDestination(Destination):
    """The files of a job on a disk.

    Args:
        path: folder of the parts, or a file with a suffix.
        form: format of the parts.
    """

    def __init__(self, path: Path, form: OutForm) -> None:
        suffix = path.suffix.lower()
        super().__init__(form, is_file=suffix in SUFFIXES and not path.is_dir(), suffix=suffix)
        self._path = path
        self._state = path.with_name(path.name + ".axon") if self.is_file else path / "_axon"
        self._manifest = self._state / MANIFEST

    @property
    def address(self) -> str:
        """Path of the folder or of the file."""
        return str(self._path)

    @property
    def state_address(self) -> str:
        """Path of the folder with the manifest."""
        return str(self._state)

    @property
    def place(self) -> str:
        """URL of the folder or of the file, without links."""
        return local_place(self._path)

    @property
    def state_place(self) -> str:
        """URL of the folder with the manifest, without links."""
        return local_place(self._state)

    def has_begun(self) -> bool:
        """Returns True if there is a manifest."""
        return self._manifest.exists()

    def begin(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the manifest, unless there is one; returns the manifest that is there.

        Raises:
            DataError: the folder cannot be written, or holds files that are not a job's.
        """
        place = self._manifest
        with self._writing():
            if not place.exists():
                self._check_new()
                for folder in ("parts", "faults"):
                    (self._state / folder).mkdir(parents=True, exist_ok=True)
                self._create(place, written(manifest))
            return manifest_from(place.read_bytes(), str(place), self)

    def finished(self, numbers: Iterable[int]) -> set[int]:
        """Returns the numbers of the parts among these that are finished, by their names alone."""
        return {number for number in numbers if self._record(number).exists() and self._part(number).exists()}

    def records(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Returns the records of the parts among these that are finished, by number."""
        found = {}
        for number in numbers:
            with contextlib.suppress(OSError):
                record = record_from(self._record(number).read_bytes(), self._part(number).stat().st_size)
                if record is not None:
                    found[number] = record
        return found

    def clear(self, number: int) -> None:
        """Removes what a killed process left of a part.

        Raises:
            DataError: a file cannot be removed.
        """
        names = {self._part(number).name, self._faults(number).name, self._record(number).name, MANIFEST, COMPLETE}
        with self._writing():
            for path in self._state.glob(f"*{_TEMPORARY}"):
                if any(path.name.startswith(f"{name}.") for name in names):
                    path.unlink(missing_ok=True)
            self._record(number).unlink(missing_ok=True)
            self._faults(number).unlink(missing_ok=True)

    def answers(self, number: int) -> AbstractContextManager[Path]:
        """Yields a new path for a part's answers; afterwards the whole file is on the disk and has its name.

        Raises:
            DataError: the file cannot be written.
        """
        return self._temporary(self._part(number))

    def faults(self, number: int) -> AbstractContextManager[Path]:
        """Yields a new path for the list of a part's rows without an answer, as `answers` does.

        Raises:
            DataError: the file cannot be written.
        """
        return self._temporary(self._faults(number))

    def finish(self, number: int, record: Mapping[str, Any]) -> None:
        """Records a part as finished; its files are on the disk by then.

        Raises:
            DataError: the record cannot be written.
        """
        with self._writing(), self._temporary(self._record(number)) as temporary:
            temporary.write_text(written({**record, "bytes": self._part(number).stat().st_size}), encoding="utf-8")

    def complete(self, summary: Mapping[str, Any] | None) -> None:
        """Writes that all parts are finished, or removes what was written.

        Raises:
            DataError: the file cannot be written.
        """
        place = self._state / COMPLETE
        with self._writing():
            if summary is None:
                place.unlink(missing_ok=True)
            elif not place.exists() or place.read_text(encoding="utf-8") != written(summary):
                with self._temporary(place) as temporary:
                    temporary.write_text(written(summary), encoding="utf-8")

    def faults_address(self, number: int) -> str:
        """Returns the path of the list of a part's rows without an answer."""
        return str(self._faults(number))

    def _part(self, number: int) -> Path:
        return self._path if self.is_file else self._path / self.name(number)

    def _faults(self, number: int) -> Path:
        return self._state / "faults" / f"{part_name(number)}.csv"

    def _record(self, number: int) -> Path:
        return self._state / "parts" / f"{part_name(number)}.json"

    @contextmanager
    def _temporary(self, place: Path) -> Iterator[Path]:
        temporary = self._state / f"{place.name}.{secrets.token_hex(4)}{_TEMPORARY}"
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(place)
            sync_folder(place.parent)
        except FileNotFoundError as error:
            raise DataError(
                f"{place}: another process works on the same part, or removed its file: run each shard once at a time."
            ) from error
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _create(self, place: Path, text: str) -> None:
        """Writes a file that must not replace another one; a file that is there already stays."""
        temporary = self._state / f"{place.name}.{secrets.token_hex(4)}{_TEMPORARY}"
        temporary.write_text(text, encoding="utf-8")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # Another shard began at the same time, or has cleared the temporary file since.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(temporary, place)
        temporary.unlink(missing_ok=True)
        sync_folder(self._state)

    def _check_new(self) -> None:
        """Refuses to write among files that no job wrote."""
        path = self._path
        if self.is_file:
            if path.exists():
                raise DataError(f"{path} exists: remove it, or name another --out.")
            if not path.absolute().parent.is_dir():
                raise DataError(f"there is no folder {path.absolute().parent}: make it first.")
            return
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} is a file, and no suffix ({', '.join(SUFFIXES)}) says its format.")
        # Another shard may have begun since the first look, and its parts are no strangers.
        if path.is_dir() and any(inner.name != "_axon" for inner in path.iterdir()) and not self.has_begun():
            raise DataError(f"{path} holds files that axon score did not write: name a new folder as --out.")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._path} cannot be written: {error.strerror}.") from error
