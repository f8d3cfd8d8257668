"""The state of a store in a bucket: manifests and aliases, brought by one listing and a reading for each change.

The listing has an ETag for each object, so that only what has changed is read. The processes of a machine share the
state as a file in the cache: one of them asks the bucket, the others read what it has found.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models.alias_target import versions_of
from models.bucket import alias_document, manifest
from models.bucket.alias_document import AliasDocument
from models.bucket.manifest import Manifest
from models.bucket.objects import Listed, Objects
from models.errors import BucketError, DataError
from models.store_entry import MODEL_NAME, VERSION, StoreEntry
from models.version_policy import VersionPolicy

MODELS = "models"
ALIASES = "aliases.json"
PARALLEL = 16  # objects that are read at the same time

_KEY = re.compile(
    rf"{MODELS}/({MODEL_NAME.pattern})/(?:({VERSION.pattern})\.(json|sig)|{re.escape(ALIASES)})", re.ASCII
)
_FORMAT = 1
_MOST_SIGNATURE_BYTES = 1 << 20
_LOCK_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.02
_LISTINGS = 3  # listings of one reading, if an alias names a version that is newer than the listing


@dataclass(frozen=True, slots=True)
class Record:
    """One object of the state.

    Attributes:
        tag: tag in the listing; empty to read the object again next time.
        content: text of the object; None if it could not be read.
        fault: reason why it could not be read, or None.
    """

    tag: str
    content: str | None
    fault: str | None = None


Records = dict[str, Record]


@dataclass(frozen=True, slots=True)
class IndexedModel:
    """One model of the state.

    Attributes:
        entry: entry of the store.
        manifests: manifest by version.
        faults: reason by version why there is no sound manifest.
        policy: version policy, and the reason why it is not valid.
        signatures: object of the signature by version.
    """

    entry: StoreEntry
    manifests: Mapping[int, Manifest]
    faults: Mapping[int, str]
    policy: tuple[VersionPolicy | None, str | None] = (None, None)
    signatures: Mapping[int, Record] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """The state of a store in a bucket.

    Attributes:
        records: objects by key.
        models: models by name, sorted.
    """

    records: Records = field(default_factory=dict)
    models: Mapping[str, IndexedModel] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Records) -> Index:
        """Returns the state that some objects describe."""
        keys: dict[str, list[tuple[int | None, str]]] = {}
        signatures: dict[str, dict[int, Record]] = {}
        for key in records:
            if (match := _KEY.fullmatch(key)) is None:
                continue
            if match[3] == "sig":
                signatures.setdefault(match[1], {})[int(match[2])] = records[key]
            else:
                keys.setdefault(match[1], []).append((int(match[2]) if match[2] else None, key))
        return cls(
            records, {name: _model(name, keys[name], records, signatures.get(name, {})) for name in sorted(keys)}
        )

    def is_behind(self) -> bool:
        """Returns True if an alias names a version that the state does not have."""
        return any(
            version not in model.entry.versions
            for model in self.models.values()
            for target in model.entry.aliases.values()
            for version in versions_of(target)
        )


class SharedIndex:
    """The state of a store in a bucket, shared by the processes of a machine.

    Args:
        objects: objects of the bucket.
        folder: folder of the state's file.
        follow_seconds: time between two listings of all processes; None for a listing at each reading, and an error
            if the bucket does not answer.

    Attributes:
        problem: reason why the last reading did not reach the bucket, and its last known state was used; else None.
    """

    def __init__(self, objects: Objects, folder: Path, follow_seconds: float | None) -> None:
        self._objects = objects
        self._file = folder / "index.json"
        self._asked = folder / "asked"
        self._lock_file = folder / ".lock"
        self._follow_seconds = follow_seconds
        self._known: Index | None = None
        self._identity: tuple[int, int, int] | None = None  # of the file that `_known` was read from
        self._is_expired = False
        self.problem: str | None = None

    def current(self) -> Index:
        """Returns the last known state; asks the bucket if there is none.

        Raises:
            BucketError: The bucket does not answer, and no state is known.
        """
        known = self._from_disk() if self._follow_seconds is not None else self._known
        return self.refresh() if known is None else known

    def refresh(self) -> Index:
        """Returns the state by a listing of the bucket, or by a recent one of another process.

        Raises:
            BucketError: The bucket does not answer; a store that is followed has its last known state instead.
        """
        try:
            if (index := self._recent()) is None:
                with self._locked():
                    index = self._recent() or self._ask()
            self.problem = None
        except BucketError as error:
            known = self._from_disk() if self._follow_seconds is not None else None
            if known is None:
                raise
            self.problem, index = f"{error.reason} What was known stays served.", known
        return index

    def expire(self) -> None:
        """Makes the next reading list the bucket."""
        self._is_expired = True

    def _recent(self) -> Index | None:
        """Returns the state of a recent listing of any process; None if there is none.

        Raises:
            BucketError: A recent listing has failed.
        """
        if self._follow_seconds is None or self._is_expired:
            return None
        try:
            if not 0 <= time.time() - self._asked.stat().st_mtime < self._follow_seconds:
                return None
            failure = self._asked.read_text(encoding="utf-8")
        except OSError:
            return None
        if failure:
            raise BucketError(self._objects.address, failure)
        return self._from_disk()

    def _ask(self) -> Index:
        """Lists the bucket, reads what has changed, and writes the state for the other processes."""
        before = self._from_disk()
        records = {} if before is None else before.records
        try:
            for _ in range(_LISTINGS):
                found = self._read(records)
                index = before if before is not None and found == before.records else Index.of(found)
                if found == records or not index.is_behind():
                    break
                records = found
        except BucketError as error:
            self._write(self._asked, error.reason)
            raise
        self._is_expired = False
        if index is not before:
            objects = {key: [one.tag, one.content, one.fault] for key, one in index.records.items()}
            self._write(self._file, json.dumps({"format": _FORMAT, "objects": objects}))
        self._known, self._identity = index, self._identity_of_file()
        self._write(self._asked, "")
        return index

    def _read(self, before: Records) -> Records:
        """Returns the objects of a new listing; only those that differ from before are read."""
        listed = [one for one in self._objects.list(f"{MODELS}/") if _KEY.fullmatch(one.key)]
        records: Records = {}
        changed = []
        for one in listed:
            known = before.get(one.key)
            if known is not None and known.tag == one.tag:
                records[one.key] = known
            else:
                changed.append(one)
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="bucket") as pool:
            for one, record in zip(changed, pool.map(lambda one: self._record(one, before), changed), strict=True):
                if record is not None:
                    records[one.key] = record
        return {key: records[key] for key in sorted(records)}

    def _record(self, listed: Listed, before: Records) -> Record | None:
        """Reads one object; returns None for an object that is gone meanwhile."""
        most = manifest.MOST_BYTES if listed.key.endswith(".json") else _MOST_SIGNATURE_BYTES
        if listed.key.endswith(ALIASES):
            most = alias_document.MOST_BYTES
        try:
            found = self._objects.get(listed.key, most)
        except BucketError as error:
            known = before.get(listed.key)
            if known is not None and known.content is not None:
                return Record("", known.content, error.reason)
            return Record("", None, error.reason)
        if found is None:
            return None
        text = found.content.decode(errors="replace")
        return Record(listed.tag if _is_sound(listed.key, found.content) else "", text)

    def _from_disk(self) -> Index | None:
        """Returns the state that a process of this machine has found last; None if none has."""
        identity = self._identity_of_file()
        if identity is None or identity == self._identity:
            return self._known
        try:
            raw = json.loads(self._file.read_bytes())
            if raw["format"] != _FORMAT:
                return self._known
            records = {key: Record(*one) for key, one in raw["objects"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return self._known
        self._known, self._identity = Index.of(records), identity
        return self._known

    def _identity_of_file(self) -> tuple[int, int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    @staticmethod
    def _write(path: Path, text: str) -> None:
        """Writes a file at once; a full disk is no error, since each process can ask the bucket."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            try:
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps the other processes of this machine from asking the bucket at the same time."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BucketError(self._objects.address, f"the cache cannot be written to: {error.strerror}.") from None
        try:
            if not _wait_until(lambda: _try_lock(descriptor)):
                reason = f"another process of this machine has asked for {_LOCK_SECONDS:g} s."
                raise BucketError(self._objects.address, reason)
            yield
        finally:
            os.close(descriptor)


def _model(
    name: str, keys: list[tuple[int | None, str]], records: Records, signatures: Mapping[int, Record]
) -> IndexedModel:
    """Returns the model that some objects describe."""
    manifests: dict[int, Manifest] = {}
    faults: dict[int, str] = {}
    document, fault = AliasDocument(name, None), None
    for version, key in keys:
        record = records[key]
        content = None if record.content is None else record.content.encode()
        try:
            if content is None:
                raise DataError(f"cannot be read: {(record.fault or '').removesuffix('.')}")
            if version is None:
                document, fault = AliasDocument(name, content), record.fault
            elif (found := Manifest.parse(content, name, version)) is not None:
                manifests[version] = found
        except DataError as error:
            if version is None:
                fault = f"{name}/{ALIASES} {error}."
            else:
                faults[version] = f"its manifest {error}."
    versions = tuple(sorted((manifests.keys() | faults.keys()) - document.deleted))
    aliases, problem = document.aliases()
    shadows, shadow_problem = document.shadows()
    problem = fault or problem
    entry = StoreEntry(name, versions, aliases, problem, shadows, shadow_problem)
    return IndexedModel(entry, manifests, faults, document.policy(), signatures)


def _is_sound(key: str, content: bytes) -> bool:
    """Returns True if an object can be parsed; another one is read again at the next listing."""
    match = _KEY.fullmatch(key)
    try:
        if match is not None and match[3] == "json":
            Manifest.parse(content, match[1], int(match[2]))
        elif match is not None and match[3] is None:
            AliasDocument(match[1], content)
    except DataError:
        return False
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(is_done: Callable[[], bool]) -> bool:
    """Waits until a condition holds; returns False after `_LOCK_SECONDS`."""
    until = time.monotonic() + _LOCK_SECONDS
    while not is_done():
        if time.monotonic() > until:
            return False
        time.sleep(_LOCK_POLL_SECONDS)
    return True
