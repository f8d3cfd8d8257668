"""The loading of one model version: its checkpoint in an API process, and its network on the workers."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import NamedTuple

from models.errors import AxonError, CheckpointError, NotFetched, may_pass, reason_of
from models.file_identity import FileIdentity
from models.model_store import ReadableStore
from models.model_version import ModelVersion
from service.batching.inherited import Inherited
from service.batching.link import Loaded
from service.batching.served_version import ServedVersion
from service.batching.store_reader import StoreReader
from service.batching.store_snapshot import Place
from service.batching.version_memory import VersionMemory
from service.collector import LongLived, collector_paused
from service.errors import NoWorker
from service.logs import get_logger
from service.metrics import ModelMetrics

log = get_logger(__name__)

LoadOnWorkers = Callable[[str], Awaitable[Loaded]]  # takes a key

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0  # before further attempts, each twice as long
_UNCOLLECTED_COLUMNS = 1000  # columns that the garbage collector may traverse, in 3 ms


class _Failure(NamedTuple):
    """A failed attempt to load a version.

    Attributes:
        identity: identity of the file that failed; None if the file may be sound, so that the next refresh tries again.
        reason: reason of the failure, as a sentence.
        pause_seconds: time until the next attempt with the same file; 0 if there is none.
        again_at: end of that time on the monotonic clock, in seconds.
    """

    identity: FileIdentity | None
    reason: str
    pause_seconds: float = 0.0
    again_at: float = math.inf

    @classmethod
    def after(cls, before: _Failure | None, identity: FileIdentity, reason: str, *, passes: bool) -> _Failure:
        """Returns a further failure. A failure that may pass has a pause, twice as long as the one before."""
        if not passes:
            return cls(identity, reason)
        seconds = 0.0 if before is None else 2 * before.pause_seconds
        seconds = min(max(seconds, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        return cls(identity, reason, seconds, time.monotonic() + seconds)


class VersionLoader:
    """Loads model versions, and remembers the failed ones.

    Args:
        store: store of checkpoints.
        reader: thread that reads the store.
        load_on_workers: function that loads the version of a key on all workers, and returns their reply.
        new_metrics: function that makes the metrics of a model version from its name and its number.
        intend: function called with each key before the workers are asked to load the version.
        memory: limit of what the process holds of its versions; None for no limit.
        inherited: versions that the predecessor of this process served; None without a predecessor.
    """

    def __init__(
        self,
        store: ReadableStore,
        reader: StoreReader,
        load_on_workers: LoadOnWorkers,
        new_metrics: Callable[[str, str], ModelMetrics],
        intend: Callable[[str], None],
        memory: VersionMemory | None,
        inherited: Inherited | None = None,
    ) -> None:
        self._store = store
        self._reader = reader
        self._load_on_workers = load_on_workers
        self._new_metrics = new_metrics
        self._intend = intend
        self._memory = memory
        self._inherited = inherited
        self._long_lived = LongLived(together=_UNCOLLECTED_COLUMNS)
        self._failed: dict[Place, _Failure] = {}

    @property
    def failed_names(self) -> Iterable[str]:
        """Names of the models with a version that could not be loaded."""
        return (name for name, _ in self._failed)

    @property
    def problems(self) -> dict[str, str]:
        """Reasons by id, `name@version`, why a version could not be loaded."""
        return {f"{name}@{version}": failure.reason for (name, version), failure in self._failed.items()}

    def forget_others(self, found: Collection[Place]) -> None:
        """Forgets failed versions that the store no longer holds.

        Args:
            found: places of all versions of the store.
        """
        self._failed = {place: failure for place, failure in self._failed.items() if place in found}

    async def load(
        self, place: Place, known: ServedVersion | None, identity: FileIdentity | None
    ) -> ServedVersion | None:
        """Reads the checkpoint of a version and loads the version on the workers, unless both were done before.

        If the file of a served version was replaced by a faulty one, the old content stays served. A process that
        replaces a dead one reads the old content from the kept copy.

        Args:
            place: name and number of the version.
            known: version as it is served now; None if it is not.
            identity: identity of the version's file; None if it was not read yet.

        Returns:
            `known` if nothing is new, the new content, or None if the version cannot be loaded.
        """
        served = await self._load(place, known, identity)
        if (inherited := self._inherited) is not None:
            if served is None:
                served = await self._load_inherited(place, inherited)
            if served is not None:
                inherited.forget(place)
                if inherited.lost is not None:  # which is reported for the store as a whole
                    self._failed.pop(place, None)
        return served

    async def _load_inherited(self, place: Place, inherited: Inherited) -> ServedVersion | None:
        """Loads a version from the copy of what the predecessor served; None if there is no such copy."""
        file = inherited.version(place)
        if file is None:
            return None
        try:
            identity = await self._reader.run(file.identity)
            served, *_ = await self._try(file, None, identity, inherited.load_on_workers)
        except (CheckpointError, NoWorker):
            return None
        if served is None or not inherited.is_key_of(place, served.key):
            return None
        return served

    async def _load(
        self, place: Place, known: ServedVersion | None, identity: FileIdentity | None
    ) -> ServedVersion | None:
        """Reads the checkpoint of a version from the store, as `load` does."""
        file = self._store.version(*place)
        try:
            if identity is None:
                identity = await self._reader.run(file.identity)
        except CheckpointError as error:
            self._failed[place] = _Failure(None, reason_of(error))
            return known
        if known is not None and known.identity == identity:
            self._failed.pop(place, None)
            return known
        before = self._failed.get(place)
        if before is not None and before.identity == identity and time.monotonic() < before.again_at:
            return known
        try:
            served, reason, passes = await self._try(file, known, identity, self._load_on_workers)
        except (NoWorker, NotFetched) as error:  # perhaps not the fault of the file: the next refresh tries again
            self._failed[place] = _Failure(None, reason_of(error))
            return known
        if served is None:
            self._failed[place] = _Failure.after(before, identity, reason, passes=passes)
            return known
        self._failed.pop(place, None)
        if known is not None and known.key == served.key:  # the same content in another file
            known.identity, known.place, known.signed = identity, served.place, served.signed
            return known
        return served

    async def _try(
        self, file: ModelVersion, known: ServedVersion | None, identity: FileIdentity, load_on_workers: LoadOnWorkers
    ) -> tuple[ServedVersion | None, str, bool]:
        """Returns the version; or None, the reason, and True if a later attempt may succeed.

        Raises:
            NoWorker: there is no worker to load the version.
            NotFetched: the bucket did not give the file.
        """
        metrics = known.metrics if known is not None else self._new_metrics(file.name, str(file.version))
        try:
            served = await self._reader.run(lambda: self._read(file, identity, metrics))
            self._intend(served.key)
            loaded = await load_on_workers(served.key)
        except (NoWorker, NotFetched):
            raise
        except AxonError as error:
            return None, reason_of(error), may_pass(error)
        except Exception as error:  # one damaged version must not keep the others of the store from being followed
            log.error("version not read", model=str(file), exc_info=error)
            return None, f"{type(error).__name__}: {error!s:.200}", False
        served.batch_invariant = loaded.batch_invariant
        return (served, "", False) if loaded.error is None else (None, loaded.error, loaded.may_pass)

    def _read(self, file: ModelVersion, identity: FileIdentity, metrics: ModelMetrics) -> ServedVersion:
        """Reads a version; runs in the reader's thread."""
        with collector_paused():
            served = ServedVersion(file, identity, metrics)
            self._long_lived.add(served.columns)
        if self._memory is not None:
            self._memory.add(served)
        return served
