"""The objects of a bucket: listing, reading, and conditional writing, with bounded times and plain errors.

Two conditions make a store of a bucket: an object is created only if its key is free, and an object is replaced only if
it still is what the writer has read (by its ETag). No error names a credential: messages are written here, and what the
service sent is never repeated.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import HTTPStore, LocalStore, from_url

from models.bucket.address import BucketAddress
from models.errors import BucketError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK_BYTES = 4 << 20  # bytes that one request reads; a slow line gets them through before it times out
# S3 refuses an upload with a part of less than 5 MiB before its last, and one of more than 10,000 parts.
_PART_BYTES = 8 << 20
_MOST_PARTS = 10_000
_MOST_LISTED = 1_000_000
_CLIENT: dict[str, Any] = {"connect_timeout": "3s", "read_timeout": "10s", "timeout": "60s"}
_RETRY: dict[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
_HTTP_VARIABLES = ("AWS_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP", "AZURE_ALLOW_HTTP")
# Variables that say where the bucket of a URL is, such as AWS_ENDPOINT_URL_S3 and AZURE_STORAGE_ACCOUNT_NAME.
_PLACE_VARIABLES = re.compile(r"(AWS|AZURE|GOOGLE)_\w*(ENDPOINT|ACCOUNT_NAME|BASE_URL|USE_EMULATOR)\w*", re.ASCII)
_STATUS = re.compile(r"status(?: code)?:? \(?(\d{3})\b|status: (\d{3})")
_LOCK_FILE = ".lock"

# What the debug text of an error tells of its cause, and the words for users.
_CAUSES = (
    ("BadScheme", "the address uses http, which AWS_ALLOW_HTTP=true allows"),
    ("ConnectionRefused", "nothing answers at its address (connection refused)"),
    ("dns error", "the name of its address is not known"),
    ("TimedOut", "it did not answer in time"),
    ("Timeout", "it did not answer in time"),
    ("operation timed out", "it did not answer in time"),
    ("ConnectionReset", "the connection broke off"),
    ("IncompleteMessage", "the connection broke off"),
    ("UnexpectedEof", "the connection broke off"),
    ("certificate", "its certificate is not trusted"),
    ("Connect", "no connection to it can be made"),
    ("Error getting credentials", "this process has no credentials for it"),
    ("MissingRegion", "AWS_REGION is not set"),
    ("NoSuchBucket", "there is no such bucket"),
    ("Body", "the answer broke off"),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing.

    Attributes:
        key: key under the prefix of the store.
        tag: ETag, or what stands for it; changes with the content.
        size: length in bytes.
    """

    key: str
    tag: str
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """An object that was read.

    Attributes:
        content: bytes of the object.
        condition: condition under which a writer may replace the object.
    """

    content: bytes
    condition: Mapping[str, str]


class _Client:
    """Flags about the client's threads. A forked process lacks these threads, and a call there would wait forever.

    Attributes:
        is_used: True once this process has called a bucket.
        is_lost: True in a process that was forked after that.
    """

    is_used = False
    is_lost = False

    @classmethod
    def after_fork(cls) -> None:
        """Marks the client as lost in a forked process, which has none of the threads."""
        cls.is_lost = cls.is_lost or cls.is_used


os.register_at_fork(after_in_child=_Client.after_fork)


class Objects:
    """The objects of a store in a bucket.

    Args:
        backend: store of `obstore` with the prefix of the store.
        address: URL of the store, for messages.
        folder: folder of a backend on a disk, which has no conditional replacement of its own; None for a bucket.
        place: text that tells the bucket from one of the same URL at another service; the URL if empty.

    Attributes:
        address: URL of the store.
        place: text that tells the bucket from one of the same URL at another service.
    """

    def __init__(self, backend: ObjectStore, address: str, *, folder: Path | None = None, place: str = "") -> None:
        self._backend = backend
        self._folder = folder
        self.address = address
        self.place = place or address

    @classmethod
    def open(cls, address: BucketAddress) -> Self:
        """Opens the bucket of a URL with the credentials of the environment; sends nothing yet.

        Raises:
            BucketError: The environment does not fit the URL.
        """
        with _failures(address.url):
            if address.folder is not None:
                return cls(LocalStore(address.folder, mkdir=True), address.url, folder=address.folder)
            is_allowed = any(os.environ.get(name, "").lower() in ("1", "true") for name in _HTTP_VARIABLES)
            client = _CLIENT | ({"allow_http": True} if is_allowed else {})
            backend = from_url(address.url, client_options=client, retry_config=_RETRY)  # type: ignore[call-overload]
            where = sorted(item for item in os.environ.items() if _PLACE_VARIABLES.fullmatch(item[0]))
            place = " ".join([address.url, *(f"{name}={value}" for name, value in where)])
            return cls(backend, address.url, place=place)

    @classmethod
    def open_server(cls, url: str, shown: str) -> Self:
        """Opens a web server, whose paths are the keys of its objects; sends nothing yet.

        Args:
            url: URL of the server's root, with the query that each request gets.
            shown: URL of the server's root for messages.

        Raises:
            BucketError: The URL is not valid.
        """
        options: Any = _CLIENT | {"allow_http": True}  # the user wrote http://
        retry: Any = _RETRY
        with _failures(shown):
            return cls(HTTPStore(url, client_options=options, retry_config=retry), shown)

    def list(self, prefix: str) -> list[Listed]:
        """Lists all objects under a prefix that ends at a slash.

        Raises:
            BucketError: The bucket does not answer, or has more than a million such objects.
        """
        found: list[Listed] = []
        with self._calling():
            for chunk in obstore.list(self._backend, prefix, chunk_size=1000):
                for one in chunk:
                    tag = one["e_tag"] or f"{one['last_modified'].timestamp()}"
                    found.append(Listed(one["path"], f"{tag} {one['size']}", one["size"]))
                if len(found) > _MOST_LISTED:
                    raise BucketError(self.address, f"the bucket lists more than {_MOST_LISTED:,} objects.")
        return found

    def get(self, key: str, most_bytes: int) -> Found | None:
        """Reads a small object; returns None if there is none.

        Args:
            key: key of the object.
            most_bytes: largest size of the object.

        Raises:
            BucketError: The bucket does not answer, or the object is larger.
        """
        try:
            with self._calling():
                answer = obstore.get(self._backend, key)
                meta = answer.meta
                if meta["size"] > most_bytes:
                    raise BucketError(self.address, f"{key} has more than {most_bytes:,} bytes.")
                content = bytes(answer.bytes())
        except FileNotFoundError:
            return None
        if len(content) != meta["size"]:
            raise BucketError(self.address, f"{key}: {len(content):,} of {meta['size']:,} bytes came.")
        condition = {"e_tag": meta["e_tag"], "version": meta["version"]}
        return Found(content, {name: value for name, value in condition.items() if value is not None})

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        """Reads an object of any size, piece by piece.

        Args:
            key: key of the object.
            size: length of the object in bytes.

        Raises:
            BucketError: The bucket does not answer, or has no such object.
        """
        for start in range(0, size, CHUNK_BYTES):
            end = min(start + CHUNK_BYTES, size)
            try:
                with self._calling():
                    yield bytes(obstore.get_range(self._backend, key, start=start, end=end))
            except FileNotFoundError:
                raise BucketError(self.address, f"{key} is not in the bucket.") from None

    def put(self, key: str, content: bytes) -> None:
        """Writes an object, in place of an earlier one.

        Raises:
            BucketError: The bucket refuses the write.
        """
        with self._calling():
            part = max(_PART_BYTES, -(-len(content) // _MOST_PARTS))
            obstore.put(self._backend, key, content, chunk_size=part, max_concurrency=4)

    def upload(self, key: str, path: Path, size: int) -> None:
        """Writes an object from a file, in place of an earlier one; readers see all of the object or nothing.

        Args:
            key: key of the object.
            path: path of the file.
            size: length of the file in bytes.

        Raises:
            BucketError: The bucket refuses the write.
        """
        with self._calling():
            part = max(_PART_BYTES, -(-size // _MOST_PARTS))
            obstore.put(self._backend, key, path, chunk_size=part, max_concurrency=4)

    def create(self, key: str, content: bytes) -> bool:
        """Writes a small object if the key is free; returns False for a key that is taken.

        After a lost answer, the object may be there although the result is False: a caller has to look whose it is.

        Raises:
            BucketError: The bucket does not answer; the object may be there.
        """
        try:
            with self._calling():
                obstore.put(self._backend, key, content, mode="create", use_multipart=False)
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, content: bytes, seen: Found | None) -> bool:
        """Writes a small object if the present one is what was seen; returns False if another writer was first.

        Args:
            key: key of the object.
            content: new bytes of the object.
            seen: object as the writer has read it; None if there was none.

        Raises:
            BucketError: The bucket does not answer; the object may be written.
        """
        if seen is None:
            return self.create(key, content)
        if self._folder is not None:
            return self._replace_file(self._folder, key, content, seen)
        try:
            with self._calling():
                obstore.put(self._backend, key, content, mode=seen.condition, use_multipart=False)  # type: ignore[arg-type]
        except FileExistsError:
            return False
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Removes objects; an object that is not there is no error.

        Raises:
            BucketError: The bucket refuses.
        """
        for key in keys:
            with contextlib.suppress(FileNotFoundError), self._calling():
                obstore.delete(self._backend, key)

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Calls the client, and turns its errors into plain ones.

        Raises:
            BucketError: The bucket does not answer, or this process cannot call one.
            FileNotFoundError: There is no such object.
            FileExistsError: A condition does not hold.
        """
        if self._folder is None:
            if _Client.is_lost:
                raise BucketError(
                    self.address,
                    "this process was forked from one that has used a bucket, which does not work: start processes "
                    "with spawn or forkserver, or open the store in the child alone.",
                )
            _Client.is_used = True
        with _failures(self.address):
            yield

    def _replace_file(self, folder: Path, key: str, content: bytes, seen: Found) -> bool:
        """Replaces a file under a lock, since a disk has no conditional replacement."""
        with self._calling(), (folder / _LOCK_FILE).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            now = obstore.get(self._backend, key)
            if now.meta["e_tag"] != seen.condition.get("e_tag"):
                return False
            obstore.put(self._backend, key, content, use_multipart=False)
        return True


@contextlib.contextmanager
def _failures(address: str) -> Iterator[None]:
    """Turns errors of the client into `BucketError`, a missing object into `FileNotFoundError`, and a condition that
    does not hold into `FileExistsError`.
    """
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        if "NoSuchBucket" in str(error):
            raise BucketError(address, "there is no such bucket.") from None
        raise FileNotFoundError from None
    except (AlreadyExistsError, PreconditionError):
        raise FileExistsError from None
    except (BaseError, NotImplementedError, OSError, ValueError) as error:
        raise BucketError(address, f"{_reason(error)}.") from None


def _reason(error: Exception) -> str:
    """Returns the reason of an error in words, without what the service sent."""
    text = str(error)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "the bucket refuses these credentials, or what they ask for"
    if isinstance(error, NotImplementedError):
        return "the service of the bucket has no conditional writes"
    if isinstance(error, OSError) and error.strerror:
        return f"the bucket cannot be reached: {error.strerror}"
    status = next((one or two for one, two in _STATUS.findall(text)), None)
    if status == "404":
        return "there is no such bucket"
    if status is not None:
        return f"the bucket answers with status {status}"
    for mark, words in _CAUSES:
        if mark in text:
            return f"the bucket cannot be reached: {words}"
    return "the bucket's answer is not understood"
