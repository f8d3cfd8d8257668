"""Objects read in ranges: each range comes from the object that was seen before, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import NotSupportedError
from obstore.store import HTTPStore

from models.bucket.objects import Objects
from models.errors import BucketError, StoreError

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta


@dataclass(frozen=True, slots=True)
class ObjectState:
    """The state of one object.

    Attributes:
        key: key of the object.
        size: length in bytes.
        tag: ETag; the time of the last change where the service gives no ETag.
    """

    key: str
    size: int
    tag: str

    def condition(self) -> GetOptions:
        """Returns the condition of a read of this very object, empty for a tag that a service does not compare.

        A weak ETag never meets the condition `If-Match`, and a time is no ETag.
        """
        return {"if_match": self.tag} if self.tag.startswith('"') else {}


class RangedObjects(Objects):
    """The objects of a bucket or of a web server, read in ranges."""

    def states(self, prefix: str) -> Iterator[ObjectState]:
        """Lists the objects under a prefix that ends at a slash, or all objects for an empty one.

        Raises:
            BucketError: The bucket does not answer.
        """
        with self._calling():
            for chunk in obstore.list(self._backend, prefix or None, chunk_size=1000):
                yield from map(_state, chunk)

    def state(self, key: str) -> ObjectState | None:
        """Returns the state of an object; None for a key without one.

        Raises:
            BucketError: The bucket does not answer.
            StoreError: The server does not know ranges.
        """
        try:
            with self._calling():
                if isinstance(self._backend, HTTPStore):
                    # Not HEAD: a signed URL is signed for GET alone, and this tells whether the server knows ranges.
                    return _state(self._get(key, {"range": (0, 1)}).meta)
                return _state(obstore.head(self._backend, key))
        except FileNotFoundError:
            return None

    def read_range(self, seen: ObjectState, start: int, end: int) -> memoryview:
        """Reads a range of an object.

        Args:
            seen: state of the object.
            start: first byte.
            end: byte after the last one.

        Raises:
            BucketError: The bucket does not answer.
            FileNotFoundError: The object is gone.
            FileExistsError: Another object is in its place.
        """
        with self._calling():
            answer = self._get(seen.key, {"range": (start, end), **seen.condition()})
            is_same = _state(answer.meta) == seen
            content = memoryview(answer.bytes()) if is_same else memoryview(b"")
        if not is_same:
            raise FileExistsError
        if len(content) != end - start:
            raise BucketError(self.address, f"{seen.key}: {len(content):,} of {end - start:,} bytes came.")
        return content

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        try:
            with super()._calling():
                yield
        except BucketError as error:
            if not isinstance(self._backend, HTTPStore):
                raise
            raise BucketError(self.address, error.reason.replace("the bucket", "the server")) from None

    def _get(self, key: str, options: GetOptions) -> GetResult:
        try:
            return obstore.get(self._backend, key, options=options)
        except NotSupportedError:
            raise StoreError(
                f"{self.address}/{key}: the server does not answer requests for a range of bytes: download the file."
            ) from None


def _state(meta: ObjectMeta) -> ObjectState:
    return ObjectState(meta["path"], meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())
