"""What an id means, against a real store: new versions, aliases, and files that are not what they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint
from models.config import MLPConfig
from models.errors import AxonError, InvalidName, ModelNotFound, StoreError
from models.numpy_mlp import NumpyMLP
from models.schema import ClassTarget, NumericColumn, Schema
from models.store import Store
from service.batching.catalog import Catalog
from service.batching.link import Loaded
from service.errors import ModelUnavailable, NoWorker
from service.keys import parse_key
from service.metrics import ModelMetrics
from service.served_ahead import served_versions

SCHEMA = Schema(
    columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
    target=ClassTarget(name="y", labels=("no", "yes")),
)


def checkpoint(seed: int = 0) -> Checkpoint:
    config = MLPConfig(layer_sizes=(1, 3, 2))
    return Checkpoint(
        config=config, schema=SCHEMA, tensors=NumpyMLP(config, rng=np.random.default_rng(seed)).to_tensors()
    )


class Workers:
    """What loads a key as a worker does: from the store, whole, checked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.loaded: list[str] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.down = False

    async def load(self, key: str) -> Loaded:
        self.loaded.append(key)
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.down:
            raise NoWorker("the workers died.")
        name, version, _ = parse_key(key)
        try:
            self.store.load(f"{name}@{version}")
        except AxonError as error:
            return Loaded(str(error))
        return Loaded(batch_invariant=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def workers(store: Store) -> Workers:
    return Workers(store)


@pytest.fixture
def catalog(store: Store, workers: Workers) -> Catalog:
    return make_catalog(store, workers)


def make_catalog(store: Store, workers: Workers, *, capacity: int = 256, default_model: str | None = None) -> Catalog:
    return Catalog(
        store,
        workers.load,
        lambda name, version: ModelMetrics(name, version, lambda _: None),
        capacity=capacity,
        default_model=default_model,
    )


def version_of(catalog: Catalog, id_: str | None) -> int | None:
    served = catalog.get(id_)
    return None if served is None else served.version


def refresh(catalog: Catalog) -> None:
    asyncio.run(catalog.refresh())


def spoil(path: Path) -> None:
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)


def test_ids_follow_versions_and_aliases(store: Store, catalog: Catalog) -> None:
    store.publish("a", checkpoint(1))
    refresh(catalog)
    assert [version_of(catalog, id_) for id_ in ("a", "a@1", "a@latest", "a@prod", None)] == [1, 1, 1, None, 1]
    store.publish("a", checkpoint(2))
    assert version_of(catalog, "a") == 1, "nothing moves before the store is looked at"
    store.set_alias("a", "prod", 1)
    refresh(catalog)
    assert [version_of(catalog, id_) for id_ in ("a", "a@1", "a@2", "a@latest", "a@prod")] == [2, 1, 2, 2, 1]
    store.set_alias("a", "default", 1)
    refresh(catalog)
    assert [version_of(catalog, id_) for id_ in ("a", "a@latest")] == [1, 2]
    store.remove_alias("a", "prod")
    refresh(catalog)
    assert version_of(catalog, "a@prod") is None
    with pytest.raises(ModelNotFound, match="prod"):
        asyncio.run(catalog.find("a@prod"))


def test_an_id_moves_only_after_the_workers_have_loaded_its_version(
    store: Store, catalog: Catalog, workers: Workers
) -> None:
    store.publish("a", checkpoint(1))
    refresh(catalog)
    seen: list[int | None] = []

    async def meanwhile() -> None:
        seen.append(version_of(catalog, "a"))

    workers.meanwhile = meanwhile
    store.publish("a", checkpoint(2))
    refresh(catalog)
    assert seen == [1]
    assert version_of(catalog, "a") == 2


def test_a_version_is_whole_to_whoever_asks_while_the_first_look_goes_on(
    store: Store, catalog: Catalog, workers: Workers
) -> None:
    for name in ("a", "b"):
        store.publish(name, checkpoint())
    seen = []

    async def meanwhile() -> None:
        served = catalog.get("a@1")
        if served is not None:
            seen.append(catalog.entry(served.name).versions)

    workers.meanwhile = meanwhile
    refresh(catalog)
    assert seen == [(1,)]


@pytest.mark.parametrize("damage", ["tensors", "truncated", "missing", "not a checkpoint"])
def test_a_bad_version_is_a_problem_and_the_one_before_it_goes_on(store: Store, catalog: Catalog, damage: str) -> None:
    store.publish("a", checkpoint(1))
    refresh(catalog)
    path = store.publish("a", checkpoint(2)).path
    match damage:
        case "tensors":
            spoil(path)
        case "truncated":
            path.write_bytes(path.read_bytes()[:100])
        case "missing":
            path.unlink()
        case _:
            path.write_bytes(b"{}")
    refresh(catalog)
    assert (version_of(catalog, "a"), version_of(catalog, "a@latest")) == (1, 1)
    assert list(catalog.problems) == ["a@2"]
    with pytest.raises(ModelUnavailable, match="a@2"):
        asyncio.run(catalog.find("a@2"))
    store.publish("a", checkpoint(3))
    refresh(catalog)
    assert version_of(catalog, "a") == 3
    store.delete("a", 2)
    refresh(catalog)
    assert catalog.problems == {}


def test_a_bad_file_is_loaded_once_and_again_when_it_has_changed(
    store: Store, catalog: Catalog, workers: Workers
) -> None:
    path = store.publish("a", checkpoint()).path
    sound = path.read_bytes()
    spoil(path)
    refresh(catalog)
    refresh(catalog)
    assert len(workers.loaded) == 1
    path.write_bytes(sound)
    refresh(catalog)
    assert version_of(catalog, "a") == 1
    assert catalog.problems == {}


def test_workers_that_die_are_no_verdict_on_a_version(store: Store, catalog: Catalog, workers: Workers) -> None:
    store.publish("a", checkpoint(1))
    refresh(catalog)
    store.publish("a", checkpoint(2))
    workers.down = True
    refresh(catalog)
    assert version_of(catalog, "a") == 1, "a version that nobody has loaded is not served"
    assert list(catalog.problems) == ["a@2"]
    workers.down = False
    refresh(catalog)
    assert version_of(catalog, "a") == 2
    assert catalog.problems == {}


def test_unreadable_aliases_leave_every_id_where_it_was(store: Store, catalog: Catalog) -> None:
    store.publish("a", checkpoint(1))
    store.publish("a", checkpoint(2))
    store.set_alias("a", "default", 1)
    refresh(catalog)
    (store.root / "a" / "aliases.json").write_text("{")
    refresh(catalog)
    assert [version_of(catalog, id_) for id_ in ("a", "a@latest")] == [1, 2]
    assert list(catalog.problems) == ["a"]
    with pytest.raises(StoreError, match="not JSON"):
        asyncio.run(catalog.find("a@staging"))


def test_what_is_not_served_ahead_is_made_ready_when_asked_for_and_forgotten_beyond_the_capacity(
    store: Store, workers: Workers
) -> None:
    catalog = make_catalog(store, workers, capacity=3)
    for seed in range(6):
        store.publish("a", checkpoint(seed))
    refresh(catalog)
    assert [served.version for served in catalog.ready_versions()] == [6]
    for version in (1, 2, 3, 4):
        assert asyncio.run(catalog.find(f"a@{version}")).version == version
    assert sorted(served.version for served in catalog.ready_versions()) == [3, 4, 6]
    assert version_of(catalog, "a@1") is None
    store.delete("a", 4)
    refresh(catalog)
    assert version_of(catalog, "a@4") is None


def test_a_replaced_file_is_another_key(store: Store, catalog: Catalog) -> None:
    path = store.publish("a", checkpoint(1)).path
    refresh(catalog)
    before = catalog.get("a")
    assert before is not None
    other = store.publish("b", checkpoint(2)).path
    other.replace(path)
    refresh(catalog)
    after = catalog.get("a")
    assert after is not None
    assert after.key != before.key
    assert after.digest != before.digest
    spoil(path)
    refresh(catalog)
    assert catalog.get("a") is after, "the old one goes on being served"
    assert "a@1" in catalog.problems


def test_the_default_is_the_only_model_or_the_one_that_is_set(store: Store, catalog: Catalog, workers: Workers) -> None:
    refresh(catalog)
    with pytest.raises(ModelNotFound, match="none yet"):
        asyncio.run(catalog.find(None))
    for name in ("a", "b"):
        store.publish(name, checkpoint())
    refresh(catalog)
    with pytest.raises(ModelNotFound, match="a, b"):
        asyncio.run(catalog.find(None))
    chosen = make_catalog(store, workers, default_model="b@latest")
    refresh(chosen)
    served = chosen.get(None)
    assert served is not None
    assert served.name == "b"
    with pytest.raises(InvalidName):
        asyncio.run(chosen.find("../a"))


def test_a_worker_loads_ahead_what_is_served_ahead(store: Store) -> None:
    for seed in range(4):
        store.publish("a", checkpoint(seed))
    store.set_alias("a", "prod", 2)
    spoil(store.publish("b", checkpoint()).path)
    store.version("b", 1).path.write_bytes(b"not a checkpoint")
    assert [(version.name, version.version) for version in served_versions(store)] == [("a", 2), ("a", 4)]


def test_a_request_that_comes_before_the_first_look_waits_for_it(store: Store, catalog: Catalog) -> None:
    store.publish("a", checkpoint())

    async def scenario() -> None:
        early = [asyncio.ensure_future(catalog.find(id_)) for id_ in ("a", "a@1", None, "b")]
        await asyncio.sleep(0)
        assert not any(task.done() for task in early)
        await catalog.refresh()
        *found, unknown = await asyncio.gather(*early, return_exceptions=True)
        assert [str(served) for served in found] == ["a@1"] * 3
        assert isinstance(unknown, ModelNotFound)

    asyncio.run(scenario())
