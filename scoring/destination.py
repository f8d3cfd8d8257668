"""The interface of a destination: parts that appear complete or not at all, a manifest, and records of finished parts.

A folder `answers`, on a disk or in a bucket, holds the parts and `_axon`, whose name Spark, Dask and Arrow pass over:

    answers/part-00000.parquet
    answers/_axon/manifest.json                 what the answers are of
    answers/_axon/parts/part-00000.json         written last: this part is finished
    answers/_axon/faults/part-00000.csv         the rows without an answer, with reasons
    answers/_axon/complete.json                 written when all parts are finished

A destination with a suffix, `answers.parquet`, is one file; its `_axon` is the folder `answers.parquet.axon`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from models.errors import DataError
from scoring.writing import OutForm

MANIFEST, COMPLETE = "manifest.json", "complete.json"


class Destination(ABC):
    """The files of a job.

    Args:
        form: format of the parts.
        is_file: True if all answers go into one file.
        suffix: suffix of the file, or an empty text for a folder.

    Attributes:
        form: format of the parts.
        is_file: True if all answers go into one file.
        delimiter: character between the cells of a CSV file.
    """

    def __init__(self, form: OutForm, *, is_file: bool, suffix: str) -> None:
        self.form = form
        self.is_file = is_file
        self.delimiter = "\t" if is_file and suffix == ".tsv" else ","

    @property
    @abstractmethod
    def address(self) -> str:
        """Path or URL of the folder or of the file, for messages."""

    @property
    @abstractmethod
    def state_address(self) -> str:
        """Path or URL of the folder with the manifest, for messages."""

    @property
    @abstractmethod
    def place(self) -> str:
        """URL of the folder or of the file, one for all ways to write the same path."""

    @property
    @abstractmethod
    def state_place(self) -> str:
        """URL of the folder with the manifest, one for all ways to write the same path."""

    @abstractmethod
    def has_begun(self) -> bool:
        """Returns True if there is a manifest.

        Raises:
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def begin(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the manifest, unless there is one; returns the manifest that is there.

        Raises:
            DataError: the folder cannot be written, or holds files that are not a job's.
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def finished(self, numbers: Iterable[int]) -> set[int]:
        """Returns the numbers of the parts among these that are finished, by their names alone.

        Raises:
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def records(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Returns the records of the parts among these that are finished, by number.

        Raises:
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def clear(self, number: int) -> None:
        """Removes what a killed process left of a part.

        Raises:
            DataError: a file cannot be removed.
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def answers(self, number: int) -> AbstractContextManager[Path]:
        """Yields a new path for a part's answers; afterwards the whole file has its place and its name.

        After an error, the file is removed.

        Raises:
            DataError: the file cannot be written.
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def faults(self, number: int) -> AbstractContextManager[Path]:
        """Yields a new path for the list of a part's rows without an answer, as `answers` does.

        Raises:
            DataError: the file cannot be written.
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def finish(self, number: int, record: Mapping[str, Any]) -> None:
        """Records a part as finished; its files have their places by then.

        Raises:
            DataError: the record cannot be written.
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def complete(self, summary: Mapping[str, Any] | None) -> None:
        """Writes that all parts are finished.

        Args:
            summary: numbers of parts and rows; None to remove what was written, because a part is made again.

        Raises:
            DataError: the file cannot be written.
            BucketError: the bucket does not answer.
        """

    @abstractmethod
    def faults_address(self, number: int) -> str:
        """Returns the path or URL of the list of a part's rows without an answer, for messages."""

    def owns(self, place: str) -> bool:
        """Returns True for a file that this job wrote: one in the place of the answers, after the job was begun."""
        return any(is_inside(place, own) for own in (self.place, self.state_place)) and self.has_begun()

    def name(self, number: int) -> str:
        """Returns the name of a part's file in a folder."""
        return f"{part_name(number)}.{self.form}"


def part_name(number: int) -> str:
    """Returns the name of a part without a suffix."""
    return f"part-{number:05}"


def is_inside(place: str, folder: str) -> bool:
    """Returns True if a place is that of a folder, or below the folder."""
    return place == folder or place.startswith(f"{folder.rstrip('/')}/")


def written(content: Mapping[str, Any]) -> str:
    """Returns a document as text."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def manifest_from(text: str | bytes, place: str, destination: Destination) -> dict[str, Any]:
    """Returns a manifest from text.

    Args:
        text: text of the file.
        place: path or URL of the file.
        destination: destination that has the file.

    Raises:
        DataError: the text is not JSON.
    """
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        where = destination.address + (f" and {destination.state_address}," if destination.is_file else "")
        raise DataError(f"{place} is damaged: delete {where} and begin again.") from error
    return found


def record_from(text: str | bytes, size: int | None) -> dict[str, Any] | None:
    """Returns the record of a part from text; None for a record of other answers than those that are there.

    Args:
        text: text of the file.
        size: length of the part's answers in bytes; None without answers.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        return found if found["bytes"] == size else None
    except (ValueError, KeyError, TypeError):
        return None
