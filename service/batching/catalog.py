"""The model versions that an API process serves, by id; follows the store without an interruption.

Ids are `name`, `name@version` and `name@alias`. The default and the newest version of each model and all
versions with an alias are preloaded; any other version of the store is loaded by its first request. A new version is
loaded and warmed up on the workers before an id moves to it. If a version cannot be loaded, `problems` has the reason,
and the id keeps its former version.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from models.errors import ModelNotFound, StoreError, reason_of
from models.file_identity import FileIdentity
from models.model_store import ReadableStore
from models.store_entry import Reference, StoreEntry
from service.batching.alias_routes import AliasRoutes, MakeShadow
from service.batching.inherited import Inherited
from service.batching.served_version import ServedVersion
from service.batching.store_problems import LOST, StoreProblems
from service.batching.store_reader import StoreReader
from service.batching.store_snapshot import Place, StoreSnapshot
from service.batching.unloaded import UnloadedModels
from service.batching.version_loader import LoadOnWorkers, VersionLoader
from service.batching.version_memory import VersionMemory
from service.errors import ModelUnavailable
from service.logs import get_logger
from service.metrics import ModelMetrics
from service.preloaded_versions import preloaded_ids
from service.time_slices import in_slices

_FIRST_REFRESH_SECONDS = 10.0  # longest wait of a request for the first refresh
_SILENT_SECONDS = 10.0  # longest scan of the store; a longer one is reported as a problem

log = get_logger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """One name of the store in `/models`.

    Attributes:
        entry: entry of the store.
        served: version that answers to the name.
    """

    entry: StoreEntry
    served: ServedVersion


class Catalog:
    """The model versions that an API process can serve.

    Args:
        store: store of checkpoints.
        load_on_workers: function that loads the version of a key on all workers, and returns their reply.
        new_metrics: function that makes the metrics of a model version from its name and its number.
        capacity: number of versions kept in memory; preloaded versions are always kept.
        default_model: id for requests that name no model; None means the only model of a store with one model.
        intend: function called with each key before the workers are asked to load the version.
        unloaded: models that were unloaded by request; None if there is no such request.
        make_shadow: function that makes the shadow of an alias; None if there are no shadows.
        memory: limit of what the process holds of its versions; None for no limit.
        inherited: models and versions that the predecessor of this process served; None without a predecessor.

    Attributes:
        routes: aliases that are split among versions, or have shadows.
        revision: number that rises whenever the known versions, the ready versions or the meaning of an id change.
    """

    def __init__(
        self,
        store: ReadableStore,
        load_on_workers: LoadOnWorkers,
        new_metrics: Callable[[str, str], ModelMetrics],
        *,
        capacity: int,
        default_model: str | None,
        intend: Callable[[str], None] = lambda _: None,
        unloaded: UnloadedModels | None = None,
        make_shadow: MakeShadow | None = None,
        memory: VersionMemory | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self._memory = memory
        self._inherited = inherited
        self.routes = AliasRoutes(make_shadow)
        self._store = store
        self._reader = StoreReader()
        self._loader = VersionLoader(store, self._reader, load_on_workers, new_metrics, intend, memory, inherited)
        self._unloaded = unloaded
        self._absent: frozenset[str] = frozenset()  # names of unloaded models at the last refresh
        self._capacity = capacity
        self._default_model = default_model
        self._snapshot = StoreSnapshot()  # the last one that was applied
        self._ids: dict[str, ServedVersion] = {}
        self._preloaded: dict[str, dict[str, ServedVersion]] = {}  # versions by name of the model, then by id
        self._preloaded_keys: dict[str, None] = {}  # keys of these versions, in order
        self._versions: dict[Place, ServedVersion] = {}
        self._lock = asyncio.Lock()
        self._refreshed = asyncio.Event()  # set after the first refresh
        self._problems = StoreProblems()
        self.revision = 0

    @property
    def default_model(self) -> str | None:
        """Id for requests that name no model, which may have a version or an alias; None if there is no such id."""
        return self._default_id or None

    @property
    def problems(self) -> Mapping[str, str]:
        """Reasons by id why a model or a version is not served."""
        return self._problems.all

    def get(self, id_: str | None) -> ServedVersion | None:
        """Returns the version of an id if the version is ready, else None. One look-up, for the hot path."""
        return self._ids.get(id_ if id_ is not None else self._default_id)

    def get_split(self, id_: str | None, sticky: bytes | None) -> ServedVersion | None:
        """Returns the version for a request to an id that is split; None if the id is not, or the version not ready.

        Args:
            id_: id that `get` does not know; None for the default model.
            sticky: value of the sticky header; None for a request without one.
        """
        route = self.routes.split.get(id_ if id_ is not None else self._default_id)
        if route is None:
            return None
        served = self._ids.get(route.choose(sticky))
        if served is None:
            route.take_back(sticky)  # `find_to_answer` chooses again
            return None
        return route.beside_shadow(served)

    def get_lead(self, id_: str | None) -> ServedVersion | None:
        """Returns the version that `find` returns if the version is ready, else None.

        A version that has left the memory is ready too, since the next request for rows brings it back.
        """
        id_ = id_ if id_ is not None else self._default_id
        if (route := self.routes.split.get(id_)) is not None:
            id_ = route.lead_id
        if self._memory is None or id_ in self._ids:
            return self._ids.get(id_)
        name, _, version = id_.partition("@")
        known = self._versions.get((name, int(version))) if version.isascii() and version.isdecimal() else None
        return known or self._preloaded.get(name, {}).get(id_)

    async def find_to_answer(self, id_: str | None, sticky: bytes | None) -> ServedVersion:
        """Does what `find` does for a request for predictions, whose version a split may choose.

        Args:
            id_: id; None for the default model.
            sticky: value of the sticky header; None for a request without one.

        Raises:
            InvalidName, ModelNotFound, ModelUnavailable: the cases of `find`.
        """
        if not self._refreshed.is_set():
            await self._wait_for_first_refresh()
        route = self.routes.split.get(id_ if id_ is not None else self._default_id)
        return await self.find(id_) if route is None else route.beside_shadow(await self.find(route.choose(sticky)))

    async def find_of_client(self, id_: str, sticky: bytes) -> ServedVersion:
        """Does what `find` does, with the version that a split gives to the requests of a sticky value."""
        if not self._refreshed.is_set():
            await self._wait_for_first_refresh()
        route = self.routes.split.get(id_)
        return await self.find(id_ if route is None else route.choose(sticky))

    async def find(self, id_: str | None) -> ServedVersion:
        """Returns the version of an id, after loading the version if necessary; the lead version of a split.

        Raises:
            InvalidName, ModelNotFound: no such model, version or alias.
            ModelUnavailable: the version is in the store but cannot be loaded, or the store was not read yet.
        """
        served = self.get(id_)
        if served is None and not self._refreshed.is_set():
            await self._wait_for_first_refresh()
            served = self.get(id_)
        if served is not None:
            return served
        id_ = id_ if id_ is not None else self._default_id or self._raise_no_default()
        if (route := self.routes.split.get(id_)) is not None:
            return await self.find(route.lead_id)
        reference = Reference.parse(id_)
        self._check_is_there(reference.name)
        served = None if self._memory is None else self._preloaded.get(reference.name, {}).get(id_)
        if served is None:
            async with self._lock:
                self._check_is_there(reference.name)  # again: the wait for the lock may have been that for an unload
                version = self._snapshot.entries[reference.name].resolve(reference)
                served = await self._make_ready(reference.name, version)
                if served is not None:
                    served.metrics.last_request = time.monotonic()
                self._drop_surplus(served)
            if served is None:
                raise ModelUnavailable(f"version {reference.name}@{version} cannot be loaded; GET /models says why.")
        return await self._in_memory(served)

    def _check_is_there(self, name: str) -> None:
        """Refuses a name that the store does not hold, or that is unloaded.

        Raises:
            ModelNotFound: the store holds no such name.
            ModelUnavailable: the model is unloaded.
        """
        if name not in self._snapshot.entries:
            raise ModelNotFound(f"there is no model {name!r}.")
        if name in self._absent:
            raise ModelUnavailable(f"model {name!r} is unloaded; POST /v2/repository/models/…/load loads it.")

    async def _in_memory(self, served: ServedVersion) -> ServedVersion:
        """Returns a ready version after reading again what had left the memory.

        Raises:
            ModelUnavailable: the copy of the checkpoint is gone.
        """
        if self._memory is None:
            return served
        if served.is_released:
            await self._memory.restore(served)
        # Unless the version has ended meanwhile. Its ids may be missing although it is in memory: a request that was on
        # its way, or the log of predictions, has read it again.
        if str(served) not in self._ids and self._versions.get((served.name, served.version)) is served:
            same = {id_: one for id_, one in self._preloaded.get(served.name, {}).items() if one is served}
            self._ids |= {**same, str(served): served}
            self.routes.place(self._ids, served.name)
        self._release_surplus(served)
        return served

    def _release_surplus(self, spared: ServedVersion | None = None) -> None:
        """Keeps what the process holds of its versions within the limit; `find` reads the rest again."""
        if self._memory is None:
            return
        # A version with routes has copies, which would keep what is released.
        versions = (served for served in self._versions.values() if not self.routes.of(served.name))
        self._memory.release(versions, spared)
        if any(served.is_released for served in self._ids.values()):
            self._ids = {id_: served for id_, served in self._ids.items() if not served.is_released}

    async def _wait_for_first_refresh(self) -> None:
        """Waits until the store was read for the first time.

        A client may ask one API process for readiness, and its next request may come to another one.

        Raises:
            ModelUnavailable: the store was not read in time.
        """
        try:
            async with asyncio.timeout(_FIRST_REFRESH_SECONDS):
                await self._refreshed.wait()
        except TimeoutError:
            raise ModelUnavailable("no model has been loaded yet.") from None

    def models(self) -> Iterator[ServedModel]:
        """Returns an iterator over the models that are served, by name. Later changes do not affect the iterator."""
        entries, preloaded = self._snapshot.entries, self._preloaded  # a refresh replaces both, and changes neither
        answering = ((entry, preloaded.get(name, {}).get(name)) for name, entry in entries.items())
        return (ServedModel(entry, served) for entry, served in answering if served is not None)

    @property
    def names(self) -> int:
        """Number of names that the store holds."""
        return len(self._snapshot.entries)

    def entry(self, name: str) -> StoreEntry:
        """Returns the entry of a served name at the last refresh."""
        # A version can be asked for by its number as soon as it is ready, before the refresh that found it has ended.
        if (entry := self._snapshot.entries.get(name)) is not None:
            return entry
        return StoreEntry(name, tuple(sorted(version for known, version in self._versions if known == name)))

    def entries(self) -> list[StoreEntry]:
        """Returns the entries of all names that the store holds."""
        return list(self._snapshot.entries.values())

    def has(self, name: str) -> bool:
        """Returns True if the store holds a name."""
        return name in self._snapshot.entries

    def is_ready(self, name: str, version: int) -> bool:
        """Returns True if a version is in memory and on the workers."""
        return (name, version) in self._versions

    def ready_versions(self) -> list[ServedVersion]:
        """Returns all versions that are ready."""
        return list(self._versions.values())

    def answering_keys(self) -> set[str]:
        """Returns the keys of all versions that are ready, without those that are only shadows."""
        keys = {served.key for served in self._versions.values()}
        if only := self.routes.shadow_keys():
            answering = (
                served.key
                for name, ids in self._preloaded.items()
                for id_, served in ids.items()
                if id_ != str(served) or any(served.version in route.versions for route in self.routes.of(name))
            )
            keys -= only.difference(answering)
        return keys

    def preloaded_keys(self) -> list[str]:
        """Returns the keys of the preloaded versions."""
        return list(self._preloaded_keys)

    def known_versions(self) -> set[tuple[str, int]]:
        """Returns the names and numbers of all versions that the store holds or this process serves."""
        return self._snapshot.found | self._versions.keys()

    def report_load_failures(self, reasons: Mapping[str, str]) -> None:
        """Reports the versions that some worker cannot load as problems.

        Args:
            reasons: reasons by key.
        """
        ready = (served for served in self._versions.values() if served.key in reasons) if reasons else ()
        self._problems.set_load_failures({str(served): reasons[served.key] for served in ready})

    async def refresh(self, *, fresh: bool = False) -> None:
        """Reads the store and applies the changes. If the store cannot be read, everything stays as it was.

        Args:
            fresh: True to list a bucket now, even if another process of the server has just done so.
        """
        if fresh:
            self._store.expire()
        silent = asyncio.get_running_loop().call_later(_SILENT_SECONDS, self._report_silence)
        try:
            await self._refresh()
        finally:
            silent.cancel()
            self._refreshed.set()

    def _report_silence(self) -> None:
        """Reports that the store does not answer."""
        reason = f"the store has not answered for {_SILENT_SECONDS:g} s; what was served stays served."
        self._problems.add_whole(reason)

    async def _refresh(self) -> None:
        async with self._lock:
            try:
                snapshot = await self._reader.run(self._take_snapshot)
                if self._versions and not snapshot.entries:
                    raise StoreError(LOST)
            except StoreError as error:
                log.debug("store not read", reason=str(error))
                self._problems.add_whole(reason_of(error))
                return
            absent = frozenset() if self._unloaded is None else await self._reader.run(self._unloaded.names)
            moved, self._absent = absent ^ self._absent, absent
            if snapshot.changed:
                self._loader.forget_others(snapshot.found)
                changed = set(snapshot.changed)
                new = [place for place in snapshot.identities if place[0] in changed and place not in self._versions]
                await self._reader.run(lambda: self._store.fetch(new))
            self.routes.start()
            # A version that failed may load by now without any change in the store: a worker is up again.
            names = dict.fromkeys([*snapshot.changed, *moved, *snapshot.problems, *self._loader.failed_names])
            await self._apply(snapshot, {name: await self._preload(name, snapshot) async for name in in_slices(names)})
            problems = {**self.routes.problems, **snapshot.policy_problems, **snapshot.problems}
            lost = None if self._inherited is None else self._inherited.lost
            whole = {} if (problem := self._store.problem or lost) is None else {"": problem}
            self._problems.set_store({**problems, **self._loader.problems, **whole})

    def _take_snapshot(self) -> StoreSnapshot:
        """Reads the store; a process without any version yet takes what the store has lost from its predecessor."""
        inherited = self._inherited
        found = None
        if inherited is not None:
            found = inherited.scan(self._store) if not self._versions else inherited.follow(self._store)
        return StoreSnapshot.take(self._store, self._snapshot, found)

    async def _preload(self, name: str, snapshot: StoreSnapshot) -> dict[str, ServedVersion]:
        """Preloads versions of a model, and returns these versions by id."""
        entry = snapshot.entries.get(name)
        if entry is None or name in self._absent:
            self.routes.drop(name)
            return {}
        if entry.problem is not None:  # with a guess at the meaning of its ids, the wrong model might be served
            return self._preloaded.get(name, {})
        preloaded: dict[str, ServedVersion] = {}
        for id_, candidates in preloaded_ids(entry):
            served = await self._first_ready(name, candidates, snapshot.identities) or self._current(entry, id_)
            if served is not None:
                preloaded[id_] = served
        self.routes.prepare(entry, preloaded, self._preloaded.get(name, {}))
        return preloaded

    async def _apply(self, snapshot: StoreSnapshot, changes: Mapping[str, dict[str, ServedVersion]]) -> None:
        """Moves the ids of some models, all at once.

        Args:
            snapshot: snapshot of the store with the changes.
            changes: preloaded versions by name of the model, then by id.
        """
        changes = {
            name: ids
            for name, ids in changes.items()
            if ids != self._preloaded.get(name, {}) or self.routes.has_changed(name)
        }
        if not changes and not snapshot.changed:
            return
        ids, preloaded = self._ids.copy(), self._preloaded.copy()
        async for name, new in in_slices(changes.items()):
            for id_, served in preloaded.pop(name, {}).items():
                if id_ != str(served):  # the id of a version ends with the version
                    ids.pop(id_, None)
            if new:
                ids |= new
                preloaded[name] = new
                self.routes.place(ids, name)
        touched = {name for name in snapshot.changed if name not in snapshot.problems}
        gone = [
            place
            for place in self._versions
            if (place[0] in touched and place not in snapshot.found) or place[0] in self._absent
        ]
        for name, version in gone:
            ids.pop(f"{name}@{version}", None)
        keys = {served.key: None async for versions in in_slices(preloaded.values()) for served in versions.values()}
        # No `await` from here on: each request sees the whole store either before or after the change.
        for place in gone:
            del self._versions[place]
        self._snapshot, self._ids, self._preloaded, self._preloaded_keys = snapshot, ids, preloaded, keys
        self.routes.commit(ids)
        self.revision += 1
        self._drop_surplus()
        self._release_surplus()

    def _current(self, entry: StoreEntry, id_: str) -> ServedVersion | None:
        """Returns the present version of an id; None for an unknown id, or if the store no longer holds the version."""
        served = self._preloaded.get(entry.name, {}).get(id_) or self._ids.get(id_)
        return served if served is not None and served.version in entry.versions else None

    @property
    def _default_id(self) -> str:
        """Id for requests that name no model; empty if there is no such id."""
        if self._default_model is not None:
            return self._default_model
        entries = self._snapshot.entries
        return next(iter(entries)) if len(entries) == 1 else ""

    def _raise_no_default(self) -> str:
        """Raises `ModelNotFound`, since a request names no model and there is no default."""
        names = ", ".join(islice(self._snapshot.entries, 10)) or "none yet"
        raise ModelNotFound(f'the request names no model, and there is no default; set "model" to one of: {names}.')

    async def _first_ready(
        self, name: str, candidates: Iterator[int], identities: Mapping[Place, FileIdentity | None]
    ) -> ServedVersion | None:
        """Tries the candidates in order; returns the first version that is ready or can be loaded, None without one."""
        for version in candidates:
            served = await self._make_ready(name, version, identities.get((name, version)))
            if served is not None:
                return served
        return None

    async def _make_ready(self, name: str, version: int, identity: FileIdentity | None = None) -> ServedVersion | None:
        """Loads a version that is not loaded, and adds the id `name@version`.

        Args:
            name: name of the model.
            version: number of the version.
            identity: identity of the version's file; None if it was not read yet.

        Returns:
            The version, None if it cannot be loaded; `problems` then has the reason after the next refresh.
        """
        place = (name, version)
        known = self._versions.get(place)
        served = await self._loader.load(place, known, identity)
        if served is None:
            return None
        if served is known:
            return served
        self._versions[place] = served
        self._ids[str(served)] = served
        self.revision += 1
        log.info("model ready", model=name, version=version, parameters=served.total_params)
        return served

    def _drop_surplus(self, spared: ServedVersion | None = None) -> None:
        """Drops the least recently used versions beyond the capacity, but no preloaded version.

        Args:
            spared: version that a request waits for, which stays; None for none.
        """
        surplus = len(self._versions) - self._capacity
        if surplus <= 0:
            return
        droppable = [
            one for one in self._versions.values() if one.key not in self._preloaded_keys and one is not spared
        ]
        # By requests, which `get` answers: only the first one of a version comes by `find`.
        for served in sorted(droppable, key=lambda one: one.metrics.last_request)[:surplus]:
            del self._versions[served.name, served.version]
            self._ids.pop(str(served), None)
            self.revision += 1
