"""A destination in a bucket: files are written to the disk of this machine first, and then put whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from models.bucket.address import BucketAddress
from models.bucket.ranged_objects import RangedObjects
from models.errors import BucketError, DataError
from scoring.address import ObjectAddress, suffix_of
from scoring.bucket_calls import again
from scoring.destination import COMPLETE, MANIFEST, Destination, manifest_from, part_name, record_from, written
from scoring.writing import SUFFIXES, OutForm

_MOST_DOCUMENT_BYTES = 1 << 26
_REQUESTS_AT_ONCE = 16


class BucketDestination(Destination):
    """The files of a job in a bucket.

    An object appears whole or not at all, so the writes have the order of a disk: list of faults, answers, record.

    Args:
        address: URL of the folder of the parts, or of a file with a suffix.
        form: format of the parts.

    Raises:
        DataError: the URL names no folder or file of a bucket.
        BucketError: the environment does not fit the URL.
    """

    def __init__(self, address: ObjectAddress, form: OutForm) -> None:
        if address.is_server:
            raise DataError(f"{address.url()}: a web server takes no answers: name a path, or the URL of a bucket.")
        if not address.key:
            raise DataError(f"{address.root} is a whole bucket: name a folder in it, such as {address.root}/answers.")
        suffix = "" if address.ends_in_slash else suffix_of(address.key)
        super().__init__(form, is_file=suffix in SUFFIXES, suffix=suffix)
        self._address = address
        self._key = address.key
        self._state = f"{self._key}.axon" if self.is_file else f"{self._key}/_axon"
        self._objects = RangedObjects.open(BucketAddress(address.root, address.root.partition("://")[0]))
        self._sizes: dict[int, int] = {}  # of the answers that this process has put, by part
        self._has_begun: bool | None = None

    @property
    def address(self) -> str:
        """URL of the folder or of the file."""
        return self._address.url()

    @property
    def state_address(self) -> str:
        """URL of the folder with the manifest."""
        return self._address.url(self._state)

    @property
    def place(self) -> str:
        """URL of the folder or of the file."""
        return self.address

    @property
    def state_place(self) -> str:
        """URL of the folder with the manifest."""
        return self.state_address

    def has_begun(self) -> bool:
        """Returns True if there was a manifest at the first look.

        Raises:
            BucketError: the bucket does not answer.
        """
        if self._has_begun is None:
            self._has_begun = self._read(self._manifest) is not None
        return self._has_begun

    def begin(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the manifest, unless there is one; returns the manifest that is there.

        Raises:
            DataError: the folder holds objects that are not a job's.
            BucketError: the bucket does not answer.
        """
        place = self._manifest
        if (found := self._read(place)) is None:
            strangers = self._strangers()
            # Another shard may have begun since the first look, and its parts are no strangers.
            if strangers is not None and self._read(place) is None:
                raise DataError(strangers)
            again(lambda: self._objects.create(place, written(manifest).encode()))
            # Read, because another shard may have been first, or the answer to a request that succeeded was lost.
            if (found := self._read(place)) is None:
                raise BucketError(self.address, "the bucket does not give back what was written.")
        return manifest_from(found, self._address.url(place), self)

    def finished(self, numbers: Iterable[int]) -> set[int]:
        """Returns the numbers of the parts among these that are finished, by one listing.

        Raises:
            BucketError: the bucket does not answer.
        """
        listed = self._listed()
        return {number for number in numbers if self._record(number) in listed and self._part(number) in listed}

    def records(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Returns the records of the parts among these that are finished, by number.

        Raises:
            BucketError: the bucket does not answer.
        """
        listed = self._listed()
        present = [number for number in numbers if self._record(number) in listed]
        found = {}
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            for number, text in zip(present, pool.map(self._read, map(self._record, present)), strict=True):
                record = None if text is None else record_from(text, listed.get(self._part(number)))
                if record is not None:
                    found[number] = record
        return found

    def clear(self, number: int) -> None:
        """Removes what an earlier process left of a part.

        Raises:
            BucketError: the bucket does not answer.
        """
        # First the record: without it, nobody takes the other two for a finished part.
        again(lambda: self._objects.delete([self._record(number), self._faults(number)]))

    @contextmanager
    def answers(self, number: int) -> Iterator[Path]:
        """Yields a new path on this machine for a part's answers; afterwards the whole file is in the bucket.

        Raises:
            BucketError: the bucket does not answer.
        """
        with self._uploaded(self._part(number)) as path:
            yield path
            self._sizes[number] = path.stat().st_size

    def faults(self, number: int) -> AbstractContextManager[Path]:
        """Yields a new path for the list of a part's rows without an answer, as `answers` does.

        Raises:
            BucketError: the bucket does not answer.
        """
        return self._uploaded(self._faults(number))

    def finish(self, number: int, record: Mapping[str, Any]) -> None:
        """Records a part as finished; its objects are in the bucket by then.

        Raises:
            BucketError: the bucket does not answer.
        """
        self._put(self._record(number), written({**record, "bytes": self._sizes.pop(number)}))

    def complete(self, summary: Mapping[str, Any] | None) -> None:
        """Writes that all parts are finished, or removes what was written.

        Raises:
            BucketError: the bucket does not answer.
        """
        place = f"{self._state}/{COMPLETE}"
        if summary is None:
            again(lambda: self._objects.delete([place]))
        elif self._read(place) != written(summary).encode():
            self._put(place, written(summary))

    def faults_address(self, number: int) -> str:
        """Returns the URL of the list of a part's rows without an answer."""
        return self._address.url(self._faults(number))

    @property
    def _manifest(self) -> str:
        return f"{self._state}/{MANIFEST}"

    def _part(self, number: int) -> str:
        return self._key if self.is_file else f"{self._key}/{self.name(number)}"

    def _faults(self, number: int) -> str:
        return f"{self._state}/faults/{part_name(number)}.csv"

    def _record(self, number: int) -> str:
        return f"{self._state}/parts/{part_name(number)}.json"

    def _read(self, key: str) -> bytes | None:
        found = again(lambda: self._objects.get(key, _MOST_DOCUMENT_BYTES))
        return None if found is None else found.content

    def _put(self, key: str, text: str) -> None:
        again(lambda: self._objects.put(key, text.encode()))

    def _listed(self) -> dict[str, int]:
        """Returns the keys of the job, with the lengths of their objects."""
        listed = again(lambda: [*self._objects.states(f"{self._state if self.is_file else self._key}/")])
        sizes = {state.key: state.size for state in listed}
        if self.is_file and (state := again(lambda: self._objects.state(self._key))) is not None:
            sizes[self._key] = state.size
        return sizes

    def _strangers(self) -> str | None:
        """Returns a sentence on objects in the place of the answers that no job wrote; None without such."""
        if again(lambda: self._objects.state(self._key)) is not None:
            if self.is_file:
                return f"{self.address} exists: remove it, or name another --out."
            return f"{self.address} is an object, and no suffix ({', '.join(SUFFIXES)}) says its format."
        own = f"{self._state}/"
        if not self.is_file and any(not key.startswith(own) for key in self._listed()):
            return f"{self.address} holds objects that axon score did not write: name a new folder as --out."
        return None

    @contextmanager
    def _uploaded(self, key: str) -> Iterator[Path]:
        """Yields a new path on this machine, and puts the file after the block."""
        try:
            with tempfile.TemporaryDirectory(prefix="axon-score-") as folder:
                path = Path(folder) / "file"
                yield path
                size = path.stat().st_size
                again(lambda: self._objects.upload(key, path, size))
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()} cannot be written, where answers wait until they are put in the bucket: "
                f"{error.strerror or error}. TMPDIR names another folder."
            ) from error
