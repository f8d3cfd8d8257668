"""The destination of a job: parts that appear complete or not at all, a manifest, and a record of each finished part.

A folder `answers` holds the parts and `_axon`, whose name Spark, Dask and Arrow pass over:

    answers/part-00000.parquet
    answers/_axon/manifest.json                 what the answers are of
    answers/_axon/parts/part-00000.json         written last: this part is finished
    answers/_axon/faults/part-00000.csv         the rows without an answer, with reasons

A destination with a suffix, `answers.parquet`, is one file; its `_axon` is the folder `answers.parquet.axon`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.whole_file import sync_folder
from scoring.writing import SUFFIXES, OutForm

_TEMPORARY = ".tmp"


class Destination:
    """The files of a job on a local disk.

    Args:
        path: folder of the parts, or a file with a suffix.
        form: format of the parts.

    Attributes:
        path: folder of the parts, or a file with a suffix.
        form: format of the parts.
        is_file: True if all answers go into one file.
        delimiter: character between the cells of a CSV file.
    """

    def __init__(self, path: Path, form: OutForm) -> None:
        self.path = path
        self.form = form
        self.is_file = path.suffix.lower() in SUFFIXES and not path.is_dir()
        self.delimiter = "\t" if self.is_file and path.suffix.lower() == ".tsv" else ","
        self._state = path.with_name(path.name + ".axon") if self.is_file else path / "_axon"

    def part(self, number: int) -> Path:
        """Returns the path of a part's answers."""
        return self.path if self.is_file else self.path / f"part-{number:05}.{self.form}"

    def faults(self, number: int) -> Path:
        """Returns the path of the list of a part's rows without an answer."""
        return self._state / "faults" / f"part-{number:05}.csv"

    def owns(self, path: Path) -> bool:
        """Returns True for a file that this job wrote: one in the place of the answers, after the job was begun."""
        places = [folder.resolve() for folder in (self.path, self._state)]
        return self._manifest.exists() and any(path.resolve().is_relative_to(place) for place in places)

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
                self._create(place, _written(manifest))
            try:
                found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{place} is damaged: delete {self.path} and begin again.") from error
        return found

    def record(self, number: int) -> dict[str, Any] | None:
        """Returns the record of a finished part; None for a part that is not finished."""
        try:
            found: dict[str, Any] = json.loads(self._record(number).read_text(encoding="utf-8"))
            is_whole = self.part(number).stat().st_size == found["bytes"]
        except (OSError, ValueError, KeyError):
            return None
        return found if is_whole else None

    def finish(self, number: int, record: Mapping[str, Any]) -> None:
        """Records a part as finished; its files are on the disk by then."""
        with self._writing(), self.temporary(self._record(number)) as temporary:
            temporary.write_text(_written({**record, "bytes": self.part(number).stat().st_size}), encoding="utf-8")

    def clear(self, number: int) -> None:
        """Removes what a killed process left of a part."""
        names = {self.part(number).name, self.faults(number).name, self._record(number).name, "manifest.json"}
        with self._writing():
            for path in self._state.glob(f"*{_TEMPORARY}"):
                if any(path.name.startswith(f"{name}.") for name in names):
                    path.unlink(missing_ok=True)
            self._record(number).unlink(missing_ok=True)
            self.faults(number).unlink(missing_ok=True)

    @contextmanager
    def temporary(self, place: Path) -> Iterator[Path]:
        """Yields a new path to write to; afterwards the file is on the disk and has its own name.

        After an error, the file is removed.

        Raises:
            DataError: the file cannot be written.
        """
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

    @property
    def _manifest(self) -> Path:
        return self._state / "manifest.json"

    def _record(self, number: int) -> Path:
        return self._state / "parts" / f"part-{number:05}.json"

    def _check_new(self) -> None:
        """Refuses to write among files that no job wrote."""
        if self.is_file:
            if self.path.exists():
                raise DataError(f"{self.path} exists: remove it, or name another --out.")
            if not self.path.absolute().parent.is_dir():
                raise DataError(f"there is no folder {self.path.absolute().parent}: make it first.")
            return
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path} is a file, and no suffix ({', '.join(SUFFIXES)}) says its format.")
        if self.path.is_dir() and any(inner.name != "_axon" for inner in self.path.iterdir()):
            raise DataError(f"{self.path} holds files that axon score did not write: name a new folder as --out.")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror}.") from error


def _written(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
