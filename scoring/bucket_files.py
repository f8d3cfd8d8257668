"""The files of a source in a bucket or on a web server, each with its length and ETag."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from models.bucket.address import BucketAddress
from models.bucket.ranged_objects import ObjectState, RangedObjects
from models.errors import DataError
from scoring.address import ObjectAddress, first_pattern
from scoring.bucket_calls import again
from scoring.listed_keys import shown_keys
from scoring.range_plan import RangePlan
from scoring.ranged_file import ForwardFile, RangedFile
from scoring.source_file import KNOWN, Form, Range, SourceFile, forms_of

_REQUESTS_AT_ONCE = 8
_FILES_AT_ONCE = 16
_TAIL_BYTES = 1 << 19  # of a file, which hold the footer of most Parquet files
_TAILS = 32  # of files, kept because each part opens its file again
_HEAD_BYTES = 1 << 16  # of a request for the head of a batch in an Arrow file


class Bucket:
    """An open bucket, or an open web server.

    Args:
        address: URL of an object, of which the root counts.

    Attributes:
        objects: objects of the bucket.
        pool: threads for requests ahead.

    Raises:
        BucketError: the environment does not fit the URL.
    """

    def __init__(self, address: ObjectAddress) -> None:
        if address.is_server:
            query = f"/?{address.query}" if address.query else ""
            self.objects = RangedObjects.open_server(f"{address.root}{query}", address.root)
        else:
            self.objects = RangedObjects.open(BucketAddress(address.root, address.root.partition("://")[0]))
        self.pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "axon-score-bucket")
        self._tails: OrderedDict[ObjectState, memoryview] = OrderedDict()

    def tail(self, state: ObjectState, fetch: Callable[[int, int], memoryview]) -> tuple[int, memoryview]:
        """Returns the place of the last bytes of an object, and the bytes."""
        start = max(state.size - _TAIL_BYTES, 0)
        found = self._tails.get(state)
        if found is None:
            found = fetch(start, state.size) if state.size else memoryview(b"")
            self._tails[state] = found
            while len(self._tails) > _TAILS:
                self._tails.popitem(last=False)
        return start, found


class BucketFile(SourceFile):
    """One object of a bucket or of a web server.

    Args:
        bucket: bucket of the object.
        state: length and ETag of the object.
        url: URL of the object, for messages.
        name: key of the object below the source.
        form: format of the object.
    """

    opens_at_once = _FILES_AT_ONCE

    def __init__(self, bucket: Bucket, state: ObjectState, *, url: str, name: str, form: Form) -> None:
        super().__init__(name=name, form=form, size=state.size)
        self._bucket = bucket
        self._state = state
        self._url = url

    @property
    def address(self) -> str:
        """URL of the object, without a query."""
        return self._url

    @property
    def place(self) -> str:
        """URL of the object."""
        return self._url

    def identity(self) -> list[Any]:
        """Returns the length, and the ETag or the time of the last change."""
        return [self.size, self._state.tag]

    def check_unchanged(self) -> None:
        """Refuses an object that is not the one that the job began with.

        Raises:
            DataError: the object is gone, or another one is in its place.
            BucketError: the bucket does not answer.
        """
        found = again(lambda: self._bucket.objects.state(self._state.key))
        if found is None:
            raise DataError(f"{self._url} is gone.")
        if found != self._state:
            raise self._changed()

    def open(self) -> pa.NativeFile:
        """Opens the object for reads at any place.

        Raises:
            DataError: another object is in the place of this one.
            BucketError: the bucket does not answer.
        """
        return self._ranged(_TAIL_BYTES)

    def open_heads(self) -> pa.NativeFile:
        """Opens the object for a few small reads at many places.

        Raises:
            DataError: another object is in the place of this one.
            BucketError: the bucket does not answer.
        """
        return self._ranged(_HEAD_BYTES)

    def open_stream(self) -> pa.NativeFile:
        """Opens the object for reads from the beginning to the end; nothing is read yet."""
        return _File.over(ForwardFile(self._fetch, self.size, self._bucket.pool))

    def expect(self, opened: pa.NativeFile, groups: Iterable[Sequence[Range]]) -> None:
        """Requests what will be read ahead of the need.

        Args:
            opened: file from `open`.
            groups: ranges that are read side by side, group by group.
        """
        opened.ranged.follow(RangePlan(groups))

    def _ranged(self, loose_bytes: int) -> _File:
        ranged = RangedFile(self._fetch, self.size, self._bucket.pool, loose_bytes=loose_bytes)
        ranged.keep(*self._bucket.tail(self._state, self._fetch))
        return _File.over(ranged)

    def _fetch(self, start: int, end: int) -> memoryview:
        """Reads a range, which comes from the object that the job began with or not at all."""
        try:
            return again(lambda: self._bucket.objects.read_range(self._state, start, end))
        except FileNotFoundError:
            raise DataError(f"{self._url} is gone.") from None
        except FileExistsError:
            raise self._changed() from None

    def _changed(self) -> DataError:
        return DataError(f"{self._url} changed while it was read: score it again, into another --out.")


class _File(pa.PythonFile):  # type: ignore[misc]  # pyarrow has no types
    """A file of Arrow over a file of Python."""

    ranged: RangedFile | ForwardFile

    @classmethod
    def over(cls, ranged: RangedFile | ForwardFile) -> _File:
        """Returns a file of Arrow that is open for reading.

        Args:
            ranged: file of Python.
        """
        file = cls(ranged, mode="r")
        file.ranged = ranged
        return file

    def close(self) -> None:
        """Closes both."""
        super().close()
        self.ranged.close()


def bucket_files_of(address: ObjectAddress, left_out: Callable[[str], bool] | None) -> list[SourceFile]:
    """Returns the files of a source in a bucket or on a web server, ordered by name.

    Args:
        address: URL of an object, a folder of objects or a pattern.
        left_out: function that says whether a match of a pattern, given as its place, is left out; None to take all.

    Raises:
        DataError: there is no such object, or one that is of no known format, or a lake's old rows are among them.
        BucketError: the bucket does not answer.
    """
    bucket = Bucket(address)
    at, url = first_pattern(address.key), address.url()
    if not address.ends_in_slash:
        state = again(lambda: bucket.objects.state(address.key))
        if state is not None:
            return _files(bucket, address, [(address.key.rpartition("/")[2], state)])
        if address.is_server:
            raise DataError(f"there is no file {url}.")
    if at is None:
        found = _listed(bucket, address, address.key, None)
        if not found:
            raise DataError(f"there is no file {url}, and no file of rows below it ({KNOWN}).")
        return _files(bucket, address, found)
    parts = address.key.split("/")
    found = _listed(bucket, address, "/".join(parts[:at]), "/".join(parts[at:]))
    if not found:
        raise DataError(f"no object matches {url!r}. In a shell, the pattern has to stand between quotes.")
    kept = [(name, state) for name, state in found if left_out is None or not left_out(address.url(state.key))]
    if not kept:
        raise DataError(f"{url!r} matches answers of this job alone: name another --out.")
    return _files(bucket, address, kept)


def _listed(bucket: Bucket, address: ObjectAddress, root: str, pattern: str | None) -> list[tuple[str, ObjectState]]:
    prefix = f"{root}/" if root else ""
    # An empty object without a suffix is what some tools make of a folder.
    states = again(lambda: [state for state in bucket.objects.states(prefix) if state.size or "." in state.key])
    listed = [(state.key.removeprefix(prefix), state) for state in states]
    return shown_keys(listed, pattern, f"{address.root}/{root}")


def _files(bucket: Bucket, address: ObjectAddress, found: Sequence[tuple[str, ObjectState]]) -> list[SourceFile]:
    forms = forms_of([name for name, _ in found])
    return [
        BucketFile(bucket, state, url=address.url(state.key), name=name, form=form)
        for (name, state), form in zip(found, forms, strict=True)
    ]
