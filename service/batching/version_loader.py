"""The loading of one model version: its checkpoint in an API process, and its network on the workers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable

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
from service.metrics import ModelMetrics

LoadOnWorkers = Callable[[str], Awaitable[Loaded]]  # takes a key

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0  # before further attempts, each twice as long
_UNCOLLECTED_COLUMNS = 1000  # columns that the garbage collector may traverse, in 3 ms


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
        self._failed: dict[Place, tuple[FileIdentity | None, str]] = {}  # file that failed, and the reason
        self._pauses: dict[Place, tuple[float, float]] = {}  # of failures that may pass: seconds, and their end

    @property
    def failed_names(self) -> Iterable[str]:
        """Names of the models with a version that could not be loaded."""
        return (name for name, _ in self._failed)

    @property
    def problems(self) -> dict[str, str]:
        """Reasons by id, `name@version`, why a version could not be loaded."""
        return {f"{name}@{version}": reason for (name, version), (_, reason) in self._failed.items()}

    def forget_others(self, found: Collection[Place]) -> None:
        """Forgets failed versions that the store no longer holds.

        Args:
            found: places of all versions of the store.
        """
        self._failed = {place: failed for place, failed in self._failed.items() if place in found}
        self._pauses = {place: pause for place, pause in self._pauses.items() if place in self._failed}

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
            self._failed[place] = (None, reason_of(error))
            return known
        if known is not None and known.identity == identity:
            self._failed.pop(place, None)
            return known
        if place in self._failed and self._failed[place][0] == identity and not self._is_due(place):
            return known
        try:
            served, reason, passes = await self._try(file, known, identity, self._load_on_workers)
        except (NoWorker, NotFetched) as error:  # perhaps not the fault of the file: the next refresh tries again
            self._failed[place] = (None, reason_of(error))
            return known
        if served is None:
            self._failed[place] = (identity, reason)
            self._plan(place, passes=passes)
            return known
        self._failed.pop(place, None)
        if known is not None and known.key == served.key:  # the same content in another file
            known.identity, known.place, known.signed = identity, served.place, served.signed
            return known
        return served

    def _is_due(self, place: Place) -> bool:
        """Returns True if a version that failed should be tried again, although its file is the same."""
        return place in self._pauses and time.monotonic() >= self._pauses[place][1]

    def _plan(self, place: Place, *, passes: bool) -> None:
        """Plans another attempt for a version that failed, if the failure may pass."""
        seconds, _ = self._pauses.pop(place, (0.0, 0.0))
        if passes:
            seconds = min(max(2 * seconds, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            self._pauses[place] = (seconds, time.monotonic() + seconds)

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
