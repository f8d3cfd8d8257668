"""An API process's view of the store: which version an id means, its columns, its limits; reloaded without a gap.

Ids are `name`, `name@version` and `name@alias`. What is served by default, the newest versions and those that an
alias names, is made ready ahead; any other version of the store is made ready when it is first asked for. A new
version is loaded and warmed on the workers before an id moves to it. A version that cannot be loaded is named in
`problems`, and the id stays where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from models.config import MLPConfig
from models.encoding import RowEncoder
from models.errors import AxonError, CheckpointError, ModelNotFound, StoreError, reason_of
from models.file_identity import FileIdentity
from models.labels import Label
from models.schema import ClassTarget, NumericTarget, Schema
from models.store import ModelVersion, Reference, Store, StoreEntry
from models.summary import Summary, summarize
from service.batching.link import Loaded
from service.batching.store_reader import StoreReader
from service.errors import ModelUnavailable, NoWorker
from service.keys import make_key
from service.logs import get_logger
from service.metrics import ModelMetrics
from service.served_ahead import ids_served_ahead

_FIRST_LOOK_SECONDS = 10.0
_SILENT_SECONDS = 10.0  # a look at the store that takes longer is told as a problem

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
        self._intend = intend
        self._load_on_workers = load_on_workers
        self._new_metrics = new_metrics
        self._capacity = capacity
        self._default_model = default_model
        self._entries: dict[str, StoreEntry] = {}
        self._ids: dict[str, ServedVersion] = {}
        self._versions: OrderedDict[tuple[str, int], ServedVersion] = OrderedDict()
        self._bad: dict[tuple[str, int], tuple[FileIdentity | None, str]] = {}
        self._lock = asyncio.Lock()
        self._looked = asyncio.Event()
        self._found: set[tuple[str, int]] = set()
        self._store_problems: dict[str, str] = {}
        self._lacking: dict[str, str] = {}
        self.problems: dict[str, str] = {}

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
        if reference.name not in self._entries:
            raise ModelNotFound(f"there is no model {reference.name!r}.")
        version = self._entries[reference.name].resolve(reference)
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

    def models(self) -> list[ServedModel]:
        """The models that answer, by name."""
        return [
            ServedModel(entry, self._ids[name]) for name, entry in sorted(self._entries.items()) if name in self._ids
        ]

    def entry(self, name: str) -> StoreEntry:
        """What the store held under a served name at the last look that was finished."""
        # A version can be asked for by number as soon as it is ready, before the look that found it is over.
        versions = sorted(version for known, version in self._versions if known == name)
        return self._entries.get(name) or StoreEntry(name, tuple(versions))

    def ready_versions(self) -> list[ServedVersion]:
        """Every version that is ready."""
        return list(self._versions.values())

    def keys_ahead(self) -> list[str]:
        """Keys of the versions that some name or alias means."""
        return list(dict.fromkeys(served.key for id_, served in self._ids.items() if id_ != str(served)))

    def known_versions(self) -> set[tuple[str, int]]:
        """Names and versions of all that the store holds or this process serves."""
        return self._found | self._versions.keys()

    def tell_lacking(self, reasons: Mapping[str, str]) -> None:
        """Takes in which versions some worker cannot load, as problems.

        Args:
            reasons: reasons by key.
        """
        ready = {served.key: str(served) for served in self._versions.values()}
        self._lacking = {ready[key]: reason for key, reason in reasons.items() if key in ready}
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
                entries, identities = await self._reader.run(self._look)
                if self._ids and not entries:
                    # A disk that is lost, or a mount that is not there, leaves an empty folder or none.
                    raise StoreError("the store is empty or gone; what was served stays served.")
            except StoreError as error:
                log.debug("store not read", reason=str(error))
                self._report({**self._store_problems, "": reason_of(error)})
                return
            ids: dict[str, ServedVersion] = {}
            found = {(entry.name, version) for entry in entries for version in entry.versions}
            self._bad = {place: bad for place, bad in self._bad.items() if place in found}
            for entry in entries:
                if entry.problem is not None:  # a guess at what its ids mean might serve another model
                    kept = {id_: served for id_, served in self._ids.items() if served.name == entry.name}
                    ids |= kept
                    found |= {(served.name, served.version) for served in kept.values()}
                    continue
                for id_, candidates in ids_served_ahead(entry):
                    served = await self._first_ready(entry.name, candidates, identities) or self._still(entry, id_)
                    if served is not None:
                        ids[id_] = served
            for place in [place for place in self._versions if place not in found]:
                del self._versions[place]
            self._found = found
            self._entries = {entry.name: entry for entry in entries}
            self._ids = ids | {str(served): served for served in self._versions.values()}
            self._forget_surplus()
            problems = {entry.name: entry.problem for entry in entries if entry.problem is not None}
            self._report(problems | {f"{name}@{version}": reason for (name, version), (_, reason) in self._bad.items()})

    def _look(self) -> tuple[list[StoreEntry], dict[tuple[str, int], FileIdentity]]:
        """What the store holds, and the identities of the files that ids mean first. In the reader's thread, at once:
        for each file alone, changing threads would cost more than the look.
        """
        entries = self._store.entries()
        identities: dict[tuple[str, int], FileIdentity] = {}
        for entry in entries:
            firsts = (next(candidates, None) for _, candidates in ids_served_ahead(entry))
            for version in {version for version in firsts if version is not None}:
                with contextlib.suppress(CheckpointError):  # looked at again, and told, when it is made ready
                    identities[entry.name, version] = self._store.version(entry.name, version).identity()
        return entries, identities

    def _still(self, entry: StoreEntry, id_: str) -> ServedVersion | None:
        """What answered to an id so far, where its version is still in the store."""
        served = self._ids.get(id_)
        return served if served is not None and served.version in entry.versions else None

    @property
    def _default_id(self) -> str:
        if self._default_model is not None:
            return self._default_model
        return next(iter(self._entries)) if len(self._entries) == 1 else ""

    def _no_default(self) -> str:
        names = ", ".join(sorted(self._entries)[:10]) or "none yet"
        raise ModelNotFound(f'the request names no model, and there is no default; set "model" to one of: {names}.')

    async def _first_ready(
        self, name: str, candidates: Iterator[int], identities: Mapping[tuple[str, int], FileIdentity]
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
            served = await self._reader.run(lambda: ServedVersion(file, identity, metrics))
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
        log.info("model ready", model=name, version=version, parameters=served.config.parameter_count)
        return served

    def _forget_surplus(self) -> None:
        """Drops what was asked for least recently, beyond the capacity; never what is served by default."""
        needed = {served.key for id_, served in self._ids.items() if id_ != str(served)}
        for place, served in list(self._versions.items()):
            if len(self._versions) <= self._capacity:
                break
            if served.key not in needed:
                del self._versions[place]
                self._ids.pop(str(served), None)

    def _report(self, store_problems: dict[str, str]) -> None:
        """Takes in the store's problems, and logs what is new in all of them."""
        self._store_problems = store_problems
        problems = dict(store_problems)
        for id_, reason in self._lacking.items():
            problems[id_] = f"{problems[id_]} {reason}" if id_ in problems else reason
        for id_, reason in problems.items():
            if self.problems.get(id_) != reason:
                log.error("store problem", id=id_, reason=reason)
        self.problems = problems
