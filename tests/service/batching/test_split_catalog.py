"""The catalog and split aliases: the former meaning stays until all versions of a split are ready."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from test_catalog import SCHEMA, Workers, checkpoint, make_catalog, spoil

from models.columns.schema import NumericColumn
from models.errors import ModelNotFound
from models.shadow_file import ShadowSetting
from models.store import Store
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.batching.shadow import Shadow
from service.batching.ticket import Ticket
from service.batching.version_memory import VersionMemory
from service.errors import ModelUnavailable
from service.http.problems import problem_of
from service.shadow_metrics import Outcome


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"))
    for seed in range(4):
        store.publish("a", checkpoint(seed))
    return store


@pytest.fixture
def catalog(store: Store) -> Catalog:
    return make_catalog(store, Workers(store))


def shares(catalog: Catalog, id_: str | None, requests: int = 1000) -> dict[int, int]:
    """Returns how many of some requests each version gets, in tens of requests."""

    def version() -> int:
        served = catalog.get(id_) or catalog.get_split(id_, None)
        assert served is not None
        return served.version

    return {at: round(n / requests * 100) for at, n in Counter(version() for _ in range(requests)).items()}


def refresh(catalog: Catalog) -> None:
    asyncio.run(catalog.refresh())


def by_hand(store: Store, document: object) -> None:
    (store.root / "a/aliases.json").write_text(json.dumps(document))


@pytest.mark.slow
def test_a_split_divides_requests_and_a_plain_alias_ends_it(store: Store, catalog: Catalog) -> None:
    store.split("a", "p", {1: 90, 2: 10})
    refresh(catalog)
    assert catalog.get("a@p") is None, "the one look-up of the hot path knows no split"
    assert shares(catalog, "a@p") == {1: 90, 2: 10}
    assert shares(catalog, "a") == {4: 100}
    assert asyncio.run(catalog.find("a@p")).version == 1
    assert catalog.get_lead("a@p") is catalog.get("a@1")
    store.split("a", "p", {1: 80, 2: 20})
    refresh(catalog)
    assert shares(catalog, "a@p") == {1: 80, 2: 20}
    store.set_alias("a", "p", 2)
    refresh(catalog)
    assert shares(catalog, "a@p") == {2: 100}
    assert catalog.get("a@1") is not None, "a version stays in memory as one that was asked for"
    store.remove_alias("a", "p")
    refresh(catalog)
    assert catalog.get("a@p") is None
    assert catalog.get_split("a@p", None) is None
    with pytest.raises(ModelNotFound, match="'p'"):
        asyncio.run(catalog.find_to_answer("a@p", None))


def test_the_bare_name_and_the_default_model_can_be_split(store: Store, catalog: Catalog) -> None:
    store.split("a", "default", {1: 50, 2: 50})
    refresh(catalog)
    for id_ in ("a", "a@default", None):
        assert shares(catalog, id_) == {1: 50, 2: 50}
    values = [f"u{n}".encode() for n in range(50)]
    versions = {id_: [str(catalog.get_split(id_, value)) for value in values] for id_ in ("a", "a@default", None)}
    assert versions["a"] == versions["a@default"] == versions[None], "they are one alias"
    assert [model.served.version for model in catalog.models()] == [2], "equal weights: the newest stands for it"


@pytest.mark.parametrize("document", [{"weights": {"1": 90, "2": 5}}, {"weights": {"1": 90, "9": 10}}, "x", {}])
@pytest.mark.parametrize("former", ["plain", "split"])
def test_a_split_by_hand_that_is_not_valid_is_named_and_nothing_moves(
    store: Store, catalog: Catalog, document: object, former: str
) -> None:
    if former == "plain":
        store.set_alias("a", "p", 3)
    else:
        store.split("a", "p", {3: 70, 4: 30})
    refresh(catalog)
    before = shares(catalog, "a@p")
    by_hand(store, {"p": document})
    refresh(catalog)
    assert shares(catalog, "a@p") == before == ({3: 100} if former == "plain" else {3: 70, 4: 30})
    assert catalog.problems
    store.root.joinpath("a/aliases.json").write_text('{"p": 4}')
    refresh(catalog)
    assert shares(catalog, "a@p") == {4: 100}
    assert catalog.problems == {}


def test_a_version_that_cannot_be_loaded_keeps_the_former_meaning(store: Store, catalog: Catalog) -> None:
    store.set_alias("a", "p", 1)
    refresh(catalog)
    spoil(store.version("a", 2).path)
    store.split("a", "p", {1: 90, 2: 10})
    refresh(catalog)
    assert shares(catalog, "a@p") == {1: 100}
    assert catalog.problems["a@p"] == "a@2 of the split cannot be served; a@p stays a@1."
    assert "a@2" in catalog.problems
    store.split("a", "p", {1: 90, 3: 10})
    refresh(catalog)
    assert shares(catalog, "a@p") == {1: 90, 3: 10}
    store.split("a", "p", {2: 50, 3: 50})
    refresh(catalog)
    assert shares(catalog, "a@p") == {1: 90, 3: 10}
    assert "the split before stays" in catalog.problems["a@p"]
    store.set_alias("a", "p", 2)
    refresh(catalog)
    assert shares(catalog, "a@p") == {1: 90, 3: 10}, "nor does a plain alias move to what cannot be loaded"


def test_a_split_without_any_version_says_that_none_is_left(store: Store) -> None:
    for version in (1, 2):
        spoil(store.version("a", version).path)
    store.split("a", "p", {1: 60, 2: 40})
    catalog = make_catalog(store, Workers(store))
    refresh(catalog)
    assert catalog.problems["a@p"] == "a@1, a@2 of the split cannot be served: none is left."
    with pytest.raises(ModelUnavailable) as refused:
        asyncio.run(catalog.find("a@p"))
    detail = problem_of(refused.value).detail
    assert detail == "Version a@1 cannot be loaded; GET /models says why.", "the name keeps its small letter"


def test_without_a_former_meaning_the_others_get_the_share(store: Store) -> None:
    spoil(store.version("a", 2).path)
    store.split("a", "p", {1: 60, 2: 30, 3: 10})
    catalog = make_catalog(store, Workers(store))
    refresh(catalog)
    assert shares(catalog, "a@p", 7000) == {1: 86, 3: 14}
    assert catalog.problems["a@p"] == "a@2 of the split cannot be served; the other versions get its share."
    refresh(catalog)
    assert shares(catalog, "a@p", 7000) == {1: 86, 3: 14}
    path = store.version("a", 2).path
    path.write_bytes(store.version("a", 4).path.read_bytes())
    refresh(catalog)
    assert shares(catalog, "a@p") == {1: 60, 2: 30, 3: 10}
    assert catalog.problems == {}


def test_a_version_that_is_removed_by_hand_leaves_its_share_to_the_others(store: Store, catalog: Catalog) -> None:
    store.split("a", "p", {1: 60, 2: 30, 3: 10})
    refresh(catalog)
    shutil.rmtree(store.root / "a/2")
    refresh(catalog)
    assert shares(catalog, "a@p", 7000) == {1: 86, 3: 14}
    assert "a@2 of the split cannot be served" in catalog.problems["a@p"]


def test_a_split_of_which_nothing_can_be_loaded_is_not_served(store: Store) -> None:
    for version in (1, 2):
        spoil(store.version("a", version).path)
    store.split("a", "p", {1: 60, 2: 40})
    catalog = make_catalog(store, Workers(store))
    refresh(catalog)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        asyncio.run(catalog.find_to_answer("a@p", None))
    assert shares(catalog, "a") == {4: 100}


def test_many_splits_do_not_push_their_versions_out_of_memory(store: Store) -> None:
    catalog = make_catalog(store, Workers(store), capacity=1)
    store.split("a", "p", {1: 60, 2: 30, 3: 10})
    refresh(catalog)
    assert all(catalog.is_ready("a", version) for version in (1, 2, 3))
    store.set_alias("a", "p", 1)
    refresh(catalog)
    assert not catalog.is_ready("a", 2)
    assert catalog.get("a@2") is None
    assert asyncio.run(catalog.find("a@2")).version == 2


def test_a_version_that_has_left_the_memory_gets_its_share(store: Store) -> None:
    memory = VersionMemory(1, lambda key: False, lambda key: store.resolve(key.partition("#")[0]).path)
    catalog = make_catalog(store, Workers(store), memory=memory)
    for version, alias in ((1, "one"), (2, "two")):
        store.set_alias("a", alias, version)
    refresh(catalog)
    store.split("a", "p", {1: 90, 2: 10})
    refresh(catalog)
    assert catalog.get("a@2") is None, "the memory holds nothing of it"

    async def ask() -> int:
        served = catalog.get_split("a@p", None)
        return (served or await catalog.find_to_answer("a@p", None)).version

    async def ask_all() -> Counter[int]:
        return Counter([await ask() for _ in range(100)])

    assert asyncio.run(ask_all())[2] in range(8, 13)


class NoSchedule:
    """A schedule that never comes to a shadow."""

    def wake(self, shadow: Shadow) -> None:
        """Does nothing."""


def make_shadow(name: str, alias: str, setting: ShadowSetting, served: ServedVersion | None) -> Shadow:
    return Shadow(name, alias, setting, served, NoSchedule())


def test_only_requests_to_an_alias_with_a_shadow_have_it(store: Store) -> None:
    catalog = make_catalog(store, Workers(store), make_shadow=make_shadow)
    store.set_alias("a", "p", 1)
    store.split("a", "q", {1: 50, 2: 50})
    store.set_shadow("a", "p", 3)
    store.set_shadow("a", "q", 4, 10)
    refresh(catalog)

    def shadow(id_: str) -> int | None:
        served = catalog.get(id_) or catalog.get_split(id_, None)
        assert served is not None
        found = served.shadow
        return found.setting.version if isinstance(found, Shadow) else None

    assert [shadow(id_) for id_ in ("a", "a@1", "a@3", "a@latest", "a@p", "a@q")] == [None] * 4 + [3, 4]
    one, other = catalog.get("a@p"), catalog.get("a@1")
    assert one is not None
    assert other is not None
    assert (one.key, one.metrics, one.encoder) == (other.key, other.metrics, other.encoder)
    kept = catalog.routes.shadows("a")["p"]
    store.set_alias("a", "p", 2)
    refresh(catalog)
    assert shadow("a@p") == 3
    assert catalog.routes.shadows("a")["p"] is kept, "the shadow stays while its alias moves"
    store.remove_shadow("a", "p")
    refresh(catalog)
    assert shadow("a@p") is None


class Answered(Ticket):
    """A request whose answer nobody reads."""

    def answered(self, answer: object, start: int) -> None:
        """Takes the answer."""


def outcomes_of(shadow: Shadow, main: ServedVersion) -> dict[Outcome, int]:
    """Offers an answered row of a main version to a shadow; returns the counts, and 1 as `AGREE` if the row waits."""
    ticket = Answered()
    ticket.served, ticket.rows, ticket.row_bytes = main, 1, 4
    shadow.outcomes = {}
    shadow.offer(ticket, bytes(4), None, 0, 1, np.zeros((1, 2), np.float32))
    waiting = {Outcome.AGREE: len(shadow.take(10))} if shadow.is_waiting else {}
    return {**waiting, **{kind: n for counts in shadow.outcomes.values() for kind, n in counts.items()}}


@pytest.mark.parametrize("split", [False, True])
def test_a_shadow_forgets_the_versions_that_its_alias_means_no_more(store: Store, split: bool) -> None:
    def move(*versions: int) -> None:
        if split:
            store.split("a", "p", dict.fromkeys(versions, 100 // len(versions)))
        else:
            store.set_alias("a", "p", versions[0])
        refresh(catalog)

    def mains() -> dict[int, ServedVersion]:
        found = [catalog.get("a@p") or catalog.get_split("a@p", None) for _ in range(20)]
        return {served.version: served for served in found if served is not None}

    column = NumericColumn(name="other", mean=0, std=1, minimum=-1, maximum=1)
    store.publish("a", replace(checkpoint(9), schema=replace(SCHEMA, columns=(column,))))
    catalog = make_catalog(store, Workers(store), make_shadow=make_shadow)
    move(5, 1)
    store.set_shadow("a", "p", 3)
    refresh(catalog)
    shadow = catalog.routes.shadows("a")["p"]
    former = mains()[5]
    assert shadow.needs_cells, "a@5 has another column"
    assert outcomes_of(shadow, former) == {Outcome.DROPPED: 1}, "without the row as it was before the encoding"
    move(1, 2)
    assert catalog.routes.shadows("a")["p"] is shadow
    assert not shadow.needs_cells
    assert outcomes_of(shadow, former) == {Outcome.DROPPED: 1}, "the request was under way"
    assert [outcomes_of(shadow, main) for main in mains().values()] == [{Outcome.AGREE: 1}] * (2 if split else 1)
    gone = weakref.ref(former)
    del former
    gc.collect()
    assert gone() is None


def test_a_dropped_request_counts_all_its_rows_where_the_shadow_gets_a_share_of_requests(store: Store) -> None:
    catalog = make_catalog(store, Workers(store), make_shadow=make_shadow)
    store.set_alias("a", "p", 1)
    store.set_shadow("a", "p", 3, 50)
    refresh(catalog)
    shadow, former = catalog.routes.shadows("a")["p"], catalog.get("a")
    assert former is not None
    for _ in range(20):
        ticket = Answered()
        ticket.served, ticket.rows, ticket.row_bytes = former, 7, 4
        shadow.offer(ticket, bytes(28), None, 0, 7, np.zeros((7, 2), np.float32))
    [counts] = shadow.outcomes.values()
    assert counts == {Outcome.DROPPED: 70}


def test_a_shadow_that_cannot_be_loaded_is_named_and_harms_nothing(store: Store) -> None:
    catalog = make_catalog(store, Workers(store), make_shadow=make_shadow)
    store.set_alias("a", "p", 1)
    spoil(store.version("a", 3).path)
    store.set_shadow("a", "p", 3)
    refresh(catalog)
    served = catalog.get("a@p")
    assert served is not None
    assert (served.version, served.shadow) == (1, None)
    assert "a@3" in catalog.problems
    assert catalog.routes.shadows("a")["p"].state[0] == "not loaded"
    (store.root / "a/shadows.json").write_text("{")
    refresh(catalog)
    assert "shadows.json is not JSON" in catalog.problems["a"]
    (store.root / "a/shadows.json").write_text('{"nobody": {"version": 2}}')
    refresh(catalog)
    assert "is not there" in catalog.problems["a@nobody"]


def test_a_version_that_is_only_a_shadow_does_not_decide_about_readiness(store: Store) -> None:
    catalog = make_catalog(store, Workers(store), make_shadow=make_shadow)
    store.split("a", "q", {1: 50, 2: 50})
    store.set_shadow("a", "q", 3)
    refresh(catalog)
    keys = {catalog.get(f"a@{version}").key for version in (1, 2, 4)}  # type: ignore[union-attr]
    assert catalog.answering_keys() == keys
    store.set_shadow("a", "q", 2)
    refresh(catalog)
    assert keys <= catalog.answering_keys()
