"""The ids of an API process that mean more than a version: split among versions, or copied to a shadow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from models.alias_file import DEFAULT_ALIAS
from models.alias_target import Split
from models.shadow_file import ShadowSetting
from models.store_entry import StoreEntry
from service.batching.served_version import ServedVersion
from service.batching.shadow import Shadow
from service.batching.version_choice import VersionChoice

MakeShadow = Callable[[str, str, ShadowSetting, ServedVersion | None], Shadow]

_NO_ROUTES: dict[str, Route] = {}


@dataclass(frozen=True, slots=True)
class Route:
    """The way of the requests with one id.

    Attributes:
        choice: chooser of the version; None for a plain alias.
        shadow: shadow of the alias, or None.
    """

    choice: VersionChoice | None
    shadow: Shadow | None

    @property
    def lead_id(self) -> str:
        """Id of the version with the largest weight; only for a split."""
        assert self.choice is not None  # noqa: S101
        return self.choice.lead_id

    def choose(self, sticky: bytes | None) -> str:
        """Returns the id of the version for a request; only for a split."""
        assert self.choice is not None  # noqa: S101
        return self.choice.choose(sticky)

    def take_back(self, sticky: bytes | None) -> None:
        """Takes the last choice back, which served no request; only for a split."""
        assert self.choice is not None  # noqa: S101
        self.choice.take_back(sticky)

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions of a split; empty for a plain alias."""
        return () if self.choice is None else self.choice.versions

    def beside_shadow(self, served: ServedVersion) -> ServedVersion:
        """Returns a version with the shadow of this route, if the route has a shadow that can be asked."""
        return served if self.shadow is None else self.shadow.beside(served)


class AliasRoutes:
    """The routes of all models. A refresh prepares new ones, and `commit` makes them valid at once.

    Args:
        make_shadow: function that makes a shadow from the name of the model, the alias, its setting and its
            version; None if this process has no shadows.

    Attributes:
        split: routes of ids that are split, by id.
        problems: reasons by id why an alias does not mean what the store says.
    """

    def __init__(self, make_shadow: MakeShadow | None) -> None:
        self._make_shadow = make_shadow
        self._by_name: dict[str, dict[str, Route]] = {}
        self._prepared: dict[str, dict[str, Route]] = {}
        self._problems: dict[str, dict[str, str]] = {}
        self.split: Mapping[str, Route] = {}

    @property
    def problems(self) -> dict[str, str]:
        """Reasons by id why an alias does not mean what the store says."""
        return {id_: reason for reasons in self._problems.values() for id_, reason in reasons.items()}

    def of(self, name: str) -> Collection[Route]:
        """Returns the routes of a model."""
        return self._by_name.get(name, _NO_ROUTES).values()

    def shadows(self, name: str) -> Mapping[str, Shadow]:
        """Returns the shadows of a model, by alias."""
        return {route.shadow.alias: route.shadow for route in self.of(name) if route.shadow is not None}

    def shadow_keys(self) -> set[str]:
        """Returns the keys of all versions that are shadows."""
        routes = (route for routes in self._by_name.values() for route in routes.values())
        return {route.shadow.served.key for route in routes if route.shadow is not None and route.shadow.served}

    def start(self) -> None:
        """Begins a refresh."""
        self._prepared = {}

    def prepare(
        self, entry: StoreEntry, preloaded: dict[str, ServedVersion], before: Mapping[str, ServedVersion]
    ) -> None:
        """Prepares the routes of a model.

        A split becomes valid once all of its versions are ready. Until then, its alias means what it meant before. If
        that is not known, the versions that are ready share the requests.

        Args:
            entry: entry of the store.
            preloaded: versions that are ready, by id; changed where an alias keeps its former meaning.
            before: the same before this refresh.
        """
        former = self._by_name.get(entry.name, _NO_ROUTES)
        problems: dict[str, str] = {}
        routes: dict[str, Route] = {}
        before_shadows = self.shadows(entry.name)
        shadows: dict[str, Shadow | None] = {}  # by alias: the bare name and its alias `default` share one
        for id_, alias in _ids(entry):
            old = former.get(id_)
            choice = self._choice(entry, id_, alias, old, preloaded, before, problems)
            if alias not in shadows:
                shadows[alias] = self._shadow(entry, alias, before_shadows.get(alias), preloaded)
            shadow = shadows[alias]
            if choice is not None or shadow is not None:
                routes[id_] = Route(choice, shadow)
        aliases = {alias for _, alias in _ids(entry)}
        for alias in entry.shadows.keys() - aliases:
            problems[f"{entry.name}@{alias}"] = "shadows.json gives a shadow to this alias, which is not there."
        for alias, setting in entry.shadows.items():
            if alias in aliases and setting.version not in entry.versions:
                problems[f"{entry.name}@{setting.version}"] = f"is the shadow of alias {alias!r}, and is not there."
        if entry.shadow_problem is not None:
            problems[entry.name] = f"{entry.shadow_problem} The shadows stay as they were."
        self._prepared[entry.name] = routes
        self._problems[entry.name] = problems

    def drop(self, name: str) -> None:
        """Prepares the end of all routes of a model, which is no longer served."""
        self._prepared[name] = {}
        self._problems.pop(name, None)

    def has_changed(self, name: str) -> bool:
        """Returns True if the prepared routes of a model differ from the valid ones."""
        return name in self._prepared and self._prepared[name] != self._by_name.get(name, _NO_ROUTES)

    def place(self, ids: dict[str, ServedVersion], name: str) -> None:
        """Gives the ids of a model their shadows, and removes ids that are split.

        Args:
            ids: version by id, changed in place.
            name: name of the model.
        """
        for id_, route in self._prepared.get(name, self._by_name.get(name, _NO_ROUTES)).items():
            if route.choice is not None:
                ids.pop(id_, None)
            elif id_ in ids:
                ids[id_] = route.beside_shadow(ids[id_])

    def commit(self, ids: Mapping[str, ServedVersion]) -> None:
        """Makes the prepared routes valid.

        Args:
            ids: version by id, as `place` has left it.
        """
        if not self._prepared:
            return
        for name, routes in self._prepared.items():
            kept = {route.shadow for route in routes.values()}
            for route in self.of(name):
                if route.shadow is not None and route.shadow not in kept:
                    route.shadow.retire()
            _forget_former_versions(name, routes, ids)
            if routes:
                self._by_name[name] = routes
            else:
                self._by_name.pop(name, None)
        self._prepared = {}
        self.split = {
            id_: route for routes in self._by_name.values() for id_, route in routes.items() if route.choice is not None
        }

    def _choice(
        self,
        entry: StoreEntry,
        id_: str,
        alias: str,
        old: Route | None,
        preloaded: dict[str, ServedVersion],
        before: Mapping[str, ServedVersion],
        problems: dict[str, str],
    ) -> VersionChoice | None:
        """Returns the chooser of a split alias; None if the alias means one version."""
        name, target = entry.name, entry.aliases.get(alias)
        kept = old.choice if old is not None else None
        was_plain = kept is None
        if kept is not None and not set(kept.versions) <= set(entry.versions):
            kept = None
        served = preloaded.get(id_)
        if not isinstance(target, Split):
            if kept is None or target is None or (served is not None and served.version == target):
                return None
            _keep(name, id_, kept, preloaded, before)  # the version cannot be loaded, and is named as a problem
            return kept
        ready = [version for version in target.versions if f"{name}@{version}" in preloaded]
        if missing := [f"{name}@{version}" for version in target.versions if version not in ready]:
            problem = f"{', '.join(missing)} of the split cannot be served"
            if kept is not None and kept.split != target:
                problems[id_] = f"{problem}; the split before stays."
                _keep(name, id_, kept, preloaded, before)
                return kept
            former = before.get(id_)
            if was_plain and former is not None and former.version in entry.versions:
                problems[id_] = f"{problem}; {id_} stays {former}."
                preloaded[id_] = former
                return None
            shares = "its share" if len(missing) == 1 else "their shares"
            problems[id_] = f"{problem}; the other versions get {shares}." if ready else f"{problem}: none is left."
        choice = VersionChoice(name, alias, target, ready)
        if choice.lead is None:
            preloaded.pop(id_, None)
            return None
        preloaded[id_] = preloaded[f"{name}@{choice.lead}"]
        is_same = kept is not None and kept.split == target and kept.versions == choice.versions
        return kept if is_same else choice

    def _shadow(
        self, entry: StoreEntry, alias: str, former: Shadow | None, preloaded: Mapping[str, ServedVersion]
    ) -> Shadow | None:
        """Returns the shadow of an alias, the one before if nothing has changed."""
        if entry.shadow_problem is not None:
            return former
        setting = entry.shadows.get(alias)
        if setting is None or self._make_shadow is None:
            return None
        served = preloaded.get(f"{entry.name}@{setting.version}")
        if former is not None and former.setting == setting and former.served is served:
            return former
        return self._make_shadow(entry.name, alias, setting, served)


def _ids(entry: StoreEntry) -> Iterator[tuple[str, str]]:
    """Yields the ids of a model that may have a route, each with its alias."""
    yield entry.name, DEFAULT_ALIAS
    for alias in entry.aliases:
        yield f"{entry.name}@{alias}", alias


def _forget_former_versions(name: str, routes: Mapping[str, Route], ids: Mapping[str, ServedVersion]) -> None:
    """Has the shadows of a model forget the versions that their aliases mean no more."""
    keys: dict[Shadow, set[str]] = {}
    for id_, route in routes.items():
        if route.shadow is not None:
            meant = (id_,) if route.choice is None else (f"{name}@{version}" for version in route.versions)
            keys.setdefault(route.shadow, set()).update(ids[known].key for known in meant if known in ids)
    for shadow, present in keys.items():
        shadow.keep_only(present)


def _keep(
    name: str,
    id_: str,
    kept: VersionChoice,
    preloaded: dict[str, ServedVersion],
    before: Mapping[str, ServedVersion],
) -> None:
    """Keeps the versions of a former split ready."""
    for known in (id_, *(f"{name}@{version}" for version in kept.versions)):
        if known in before and (known == id_ or known not in preloaded):
            preloaded[known] = before[known]
