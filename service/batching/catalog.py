"""An API process's view of the store: which version an id means, its columns, its limits; reloaded without a gap.

Ids are `name`, `name@version` and `name@alias`. What is served by default, the newest versions and those that an
alias names, is made ready ahead; any other version of the store is made ready when it is first asked for. A new
version is loaded and warmed on the workers before an id moves to it. A version that cannot be loaded is named in
`problems`, and the id stays where it was.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from models.columns.encoding import RowEncoder
from models.columns.labels import Label
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.errors import AxonError, CheckpointError, ModelNotFound, StoreError, reason_of
from models.file_identity import FileIdentity
from models.keys import make_key
from models.network.config import MLPConfig
from models.network.summary import Summary, summarize
from models.store import ModelVersion, Reference, Store, StoreEntry
from service.batching.link import Loaded
from service.batching.store_look import Place, StoreLook
from service.batching.store_reader import StoreReader
from service.collector import LongLived, collector_paused
from service.errors import ModelUnavailable, NoWorker
from service.logs import get_logger
from service.metrics import ModelMetrics
from service.preloaded_versions import preloaded_ids
from service.time_slices import in_slices

_FIRST_LOOK_SECONDS = 10.0
_SILENT_SECONDS = 10.0  # a look at the store that takes longer is told as a problem
_UNCOLLECTED_COLUMNS = 1000  # columns that the garbage collector may walk over, in 3 ms
_MOST_LOGGED = 50  # problems of one look; a thousand lines would hold the event loop for 30 ms, and help nobody

log = get_logger(__name__)

LoadOnWorkers = Callable[[str], Awaitable[Loaded]]  # a key → what the workers say of it


class ServedVersion:
    """One model version as an API process knows it: all but the weights."""

    def __init__(self, place: ModelVersion, identity: FileIdentity, metrics: ModelMetrics) -> None:
        self.header = place.read_header()
        try:
            self.config = MLPConfig.from_dict(self.header["architecture"])
            self.schema = Schema.from_dict(self.header)
        except (AxonError, KeyError, TypeError) as error:
            raise CheckpointError(place.path, f"is inconsistent: {error}") from error
        self.name, self.version = place.name, place.version
        self.identity = identity
        self.digest: str = self.header["digest"]
        self.key = make_key(place.name, place.version, self.digest)
        self.encoder = RowEncoder(self.schema)
        self.total_params = self.config.parameter_count
        self.metrics = metrics
        self.batch_invariant = False  # until the workers have said otherwise

    @property
    def labels(self) -> tuple[Label, ...] | None:
        """A classifier's labels in the order of its probabilities; None for a regressor."""
        target = self.schema.target
        return target.labels if isinstance(target, ClassTarget) else None

    @property
    def origin(self) -> float:
        """The number that a regressor's float32 answers leave out."""
        target = self.schema.target
        return target.origin if isinstance(target, NumericTarget) else 0.0

    @cached_property
    def summary(self) -> Summary:
        """The layers and their parameters."""
        return summarize(self.config)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class ServedModel:
    """What `/models` says of one name: the version that answers to it, and what else there is."""

    entry: StoreEntry
    served: ServedVersion


class Catalog:
    """The models that can be asked for.

    Args:
        store: where checkpoints are.
        load_on_workers: makes a key ready on every worker; answers with the reason where one cannot.
        new_metrics: a model version's figures, by name and version.
        intend: called with each key before workers are asked to load it.
        capacity: versions remembered; those served by default are always kept.
        default_model: the id that a request without one means; None is the only model, where there is just one.

    Attributes:
        problems: reasons by id why something is not served.
        revision: number that rises whenever the known or the ready versions change, or what an id means.
    """

    def __init__(
        self,
        store: Store,
        load_on_workers: LoadOnWorkers,
        new_metrics: Callable[[str, str], ModelMetrics],
        *,
        capacity: int,
        default_model: str | None,
        intend: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._reader = StoreReader()
        self._long_lived = LongLived(together=_UNCOLLECTED_COLUMNS)
        self._intend = intend
        self._load_on_workers = load_on_workers
        self._new_metrics = new_metrics
        self._capacity = capacity
        self._default_model = default_model
        self._seen = StoreLook()  # the last look that was taken in
        self._ids: dict[str, ServedVersion] = {}
        self._ahead: dict[str, dict[str, ServedVersion]] = {}  # by name: ids served ahead, and what they mean
        self._ahead_keys: dict[str, None] = {}  # keys of these versions, in order
        self._versions: OrderedDict[Place, ServedVersion] = OrderedDict()
        self._bad: dict[Place, tuple[FileIdentity | None, str]] = {}
        self._lock = asyncio.Lock()
        self._looked = asyncio.Event()
        self._store_problems: dict[str, str] = {}
        self._lacking: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.revision = 0

    def get(self, id_: str | None) -> ServedVersion | None:
        """The version that an id means, where it is ready: one look-up, for the hot path."""
        return self._ids.get(id_ if id_ is not None else self._default_id)

    async def find(self, id_: str | None) -> ServedVersion:
        """The version that an id means, made ready if it is not.

        Raises:
            InvalidName, ModelNotFound: no such model, version or alias.
            ModelUnavailable: it is there and cannot be loaded, or nobody has come to look yet.
        """
        served = self.get(id_)
        if served is None and not self._looked.is_set():
            await self._first_look()
            served = self.get(id_)
        if served is not None:
            return served
        reference = Reference.parse(id_ if id_ is not None else self._default_id or self._no_default())
        if reference.name not in self._seen.entries:
            raise ModelNotFound(f"there is no model {reference.name!r}.")
        version = self._seen.entries[reference.name].resolve(reference)
        async with self._lock:
            served = await self._make_ready(reference.name, version)
            self._forget_surplus()
        if served is None:
            raise ModelUnavailable(f"{reference.name}@{version} cannot be loaded; GET /models says why.")
        return served

    async def _first_look(self) -> None:
        """Waits for it: readiness is asked of one API process, and the next request may come to another."""
        try:
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await self._looked.wait()
        except TimeoutError:
            raise ModelUnavailable("no model has been loaded yet.") from None

    def models(self) -> Iterator[ServedModel]:
        """The models that answer, by name. What changes while the iterator is in use is not in it."""
        entries, ahead = self._seen.entries, self._ahead  # replaced as a whole by a look, never changed
        answering = ((entry, ahead.get(name, {}).get(name)) for name, entry in entries.items())
        return (ServedModel(entry, served) for entry, served in answering if served is not None)

    @property
    def names(self) -> int:
        """Number of names that the store holds."""
        return len(self._seen.entries)

    def entry(self, name: str) -> StoreEntry:
        """What the store held under a served name at the last look that was finished."""
        # A version can be asked for by number as soon as it is ready, before the look that found it is over.
        if (entry := self._seen.entries.get(name)) is not None:
            return entry
        return StoreEntry(name, tuple(sorted(version for known, version in self._versions if known == name)))

    def ready_versions(self) -> list[ServedVersion]:
        """Every version that is ready."""
        return list(self._versions.values())

    def keys_ahead(self) -> list[str]:
        """Keys of the versions that some name or alias means."""
        return list(self._ahead_keys)

    def known_versions(self) -> set[tuple[str, int]]:
        """Names and versions of all that the store holds or this process serves."""
        return self._seen.found | self._versions.keys()

    def tell_lacking(self, reasons: Mapping[str, str]) -> None:
        """Takes in which versions some worker cannot load, as problems.

        Args:
            reasons: reasons by key.
        """
        if not reasons and not self._lacking:
            return
        ready = (served for served in self._versions.values() if served.key in reasons)
        self._lacking = {str(served): reasons[served.key] for served in ready}
        self._report(self._store_problems)

    async def refresh(self) -> None:
        """Takes in what changed in the store. Where the store cannot be read, everything stays as it was."""
        silent = asyncio.get_running_loop().call_later(_SILENT_SECONDS, self._tell_silence)
        try:
            await self._refresh()
        finally:
            silent.cancel()
            self._looked.set()

    def _tell_silence(self) -> None:
        reason = f"the store has not answered for {_SILENT_SECONDS:g} s; what was served stays served."
        self._report({**self._store_problems, "": reason})

    async def _refresh(self) -> None:
        async with self._lock:
            try:
                look = await self._reader.run(lambda: StoreLook.take(self._store, self._seen))
                if self._ids and not look.entries:
                    # A disk that is lost, or a mount that is not there, leaves an empty folder or none.
                    raise StoreError("the store is empty or gone; what was served stays served.")
            except StoreError as error:
                log.debug("store not read", reason=str(error))
                self._report({**self._store_problems, "": reason_of(error)})
                return
            if look.changed:
                self._bad = {place: bad for place, bad in self._bad.items() if place in look.found}
            # What could not be served may be by now, with no sign of it in the store: a worker is up again.
            names = dict.fromkeys([*look.changed, *look.problems, *(name for name, _ in self._bad)])
            await self._take_in(look, {name: await self._ahead_of(name, look) async for name in in_slices(names)})
            bad = {f"{name}@{version}": reason for (name, version), (_, reason) in self._bad.items()}
            self._report({**look.problems, **bad})

    async def _ahead_of(self, name: str, look: StoreLook) -> dict[str, ServedVersion]:
        """What the ids of a model mean that are served ahead, made ready."""
        entry = look.entries.get(name)
        if entry is None:
            return {}
        if entry.problem is not None:  # a guess at what its ids mean might serve another model
            return self._ahead.get(name, {})
        ahead: dict[str, ServedVersion] = {}
        for id_, candidates in preloaded_ids(entry):
            served = await self._first_ready(name, candidates, look.identities) or self._still(entry, id_)
            if served is not None:
                ahead[id_] = served
        return ahead

    async def _take_in(self, look: StoreLook, changes: Mapping[str, dict[str, ServedVersion]]) -> None:
        """Moves the ids of some models, all at once.

        Args:
            look: the look that found the changes.
            changes: what ids mean that are served ahead, by the model's name.
        """
        changes = {name: ids for name, ids in changes.items() if ids != self._ahead.get(name, {})}
        if not changes and not look.changed:
            return
        ids, ahead = self._ids.copy(), self._ahead.copy()
        async for name, those in in_slices(changes.items()):
            for id_ in ahead.pop(name, {}):
                del ids[id_]
            if those:
                ids |= those
                ahead[name] = those
        touched = {name for name in look.changed if name not in look.problems}
        gone = [place for place in self._versions if place[0] in touched and place not in look.found]
        for name, version in gone:
            ids.pop(f"{name}@{version}", None)
        keys = {served.key: None async for those in in_slices(ahead.values()) for served in those.values()}
        # From here on without a pause: whoever asks sees all of the store as it was, or as it is.
        for place in gone:
            del self._versions[place]
        self._seen, self._ids, self._ahead, self._ahead_keys = look, ids, ahead, keys
        self.revision += 1
        self._forget_surplus()

    def _still(self, entry: StoreEntry, id_: str) -> ServedVersion | None:
        """What answered to an id so far, where its version is still in the store."""
        served = self._ids.get(id_)
        return served if served is not None and served.version in entry.versions else None

    @property
    def _default_id(self) -> str:
        if self._default_model is not None:
            return self._default_model
        entries = self._seen.entries
        return next(iter(entries)) if len(entries) == 1 else ""

    def _no_default(self) -> str:
        names = ", ".join(islice(self._seen.entries, 10)) or "none yet"
        raise ModelNotFound(f'the request names no model, and there is no default; set "model" to one of: {names}.')

    async def _first_ready(
        self, name: str, candidates: Iterator[int], identities: Mapping[Place, FileIdentity | None]
    ) -> ServedVersion | None:
        for version in candidates:
            served = await self._make_ready(name, version, identities.get((name, version)))
            if served is not None:
                return served
        return None

    async def _make_ready(self, name: str, version: int, identity: FileIdentity | None = None) -> ServedVersion | None:
        """The version, its checkpoint read and loaded on the workers; None where that fails, which `_bad` records.

        Where a served version's file was replaced by one that is not sound, the old one goes on being served.

        Args:
            name: name of the model.
            version: number of the version.
            identity: identity of its file, where that was looked at already.
        """
        place = (name, version)
        known = self._versions.get(place)
        file = self._store.version(name, version)
        try:
            if identity is None:
                identity = await self._reader.run(file.identity)
        except CheckpointError as error:
            self._bad[place] = (None, reason_of(error))
            return known
        if known is not None and known.identity == identity:
            self._bad.pop(place, None)
            self._versions.move_to_end(place)
            return known
        if place in self._bad and self._bad[place][0] == identity:
            return known
        try:
            metrics = known.metrics if known is not None else self._new_metrics(name, str(version))
            served = await self._reader.run(lambda: self._read(file, identity, metrics))
            self._intend(served.key)
            loaded = await self._load_on_workers(served.key)
            reason, served.batch_invariant = loaded.error, loaded.batch_invariant
        except NoWorker as error:  # perhaps no fault of the file: the next look tries again
            self._bad[place] = (None, str(error))
            return known
        except AxonError as error:
            reason = reason_of(error)
        if reason is not None:
            self._bad[place] = (identity, reason)
            return known
        self._bad.pop(place, None)
        if known is not None and known.key == served.key:  # the same content in another file
            known.identity = identity
            return known
        self._versions[place] = served
        self._ids[str(served)] = served
        self.revision += 1
        log.info("model ready", model=name, version=version, parameters=served.total_params)
        return served

    def _read(self, file: ModelVersion, identity: FileIdentity, metrics: ModelMetrics) -> ServedVersion:
        """Reads a version, in the reader's thread."""
        with collector_paused():
            served = ServedVersion(file, identity, metrics)
            self._long_lived.add(len(served.schema.columns))
        return served

    def _forget_surplus(self) -> None:
        """Drops what was asked for least recently, beyond the capacity; never what is served by default."""
        if len(self._versions) <= self._capacity:
            return
        surplus = [place for place, served in self._versions.items() if served.key not in self._ahead_keys]
        for name, version in surplus[: len(self._versions) - self._capacity]:
            del self._versions[name, version]
            self._ids.pop(f"{name}@{version}", None)
            self.revision += 1

    def _report(self, store_problems: dict[str, str]) -> None:
        """Takes in the store's problems, and logs what is new in all of them."""
        self._store_problems = store_problems
        problems = dict(store_problems)
        for id_, reason in self._lacking.items():
            problems[id_] = f"{problems[id_]} {reason}" if id_ in problems else reason
        new = {id_: reason for id_, reason in problems.items() if self.problems.get(id_) != reason}
        for id_, reason in islice(new.items(), _MOST_LOGGED):
            log.error("store problem", id=id_, reason=reason)
        if len(new) > _MOST_LOGGED:
            log.error("more store problems; GET /models lists them", problems=len(new) - _MOST_LOGGED)
        self.problems = problems
