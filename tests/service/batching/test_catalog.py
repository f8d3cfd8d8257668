"""The meaning of an id, with a real store: new versions, aliases, and invalid files."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from models.checkpoint import METADATA_KEY, Checkpoint, _canonical, _digest, read_header
from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.errors import (
    AxonError,
    CheckpointError,
    InvalidName,
    ModelNotFound,
    NotFetched,
    StoreError,
    may_pass,
    reason_of,
)
from models.keys import parse_key
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import Store
from models.store_entry import StoreEntry
from service.batching.catalog import Catalog
from service.batching.link import Loaded
from service.batching.unloaded import UnloadedModels
from service.batching.version_memory import VersionMemory
from service.errors import ModelUnavailable, NoWorker
from service.metrics import ApiMetrics, ModelMetrics
from service.open_inference.readiness import readiness
from service.preloaded_versions import preloaded_versions

SCHEMA = Schema(
    columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
    target=ClassTarget(name="y", labels=("no", "yes")),
)


def checkpoint(seed: int = 0) -> Checkpoint:
    config = MLPConfig(layer_sizes=(1, 3, 2))
    return Checkpoint(
        config=config, schema=SCHEMA, tensors=NumpyMLP(config, rng=np.random.default_rng(seed)).to_tensors()
    )


def rewrite_header(path: Path, change: dict[str, Any]) -> None:
    """Changes the header of a checkpoint, with a correct digest."""
    tensors = safetensors.numpy.load(path.read_bytes())
    header = read_header(path) | change
    del header["digest"]
    text = _canonical(header | {"digest": _digest(header, tensors)})
    path.write_bytes(safetensors.numpy.save(tensors, metadata={METADATA_KEY: text}))


class Workers:
    """A stand-in for the workers, which loads a key from the store with all checks."""

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
            return Loaded(reason_of(error))
        return Loaded(batch_invariant=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def workers(store: Store) -> Workers:
    return Workers(store)


@pytest.fixture
def catalog(store: Store, workers: Workers) -> Catalog:
    return make_catalog(store, workers)


def make_catalog(
    store: Store, workers: Workers, *, capacity: int = 256, default_model: str | None = None, **more: Any
) -> Catalog:
    return Catalog(
        store,
        workers.load,
        lambda name, version: ModelMetrics(name, version, lambda _: None),
        capacity=capacity,
        default_model=default_model,
        **more,
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


def test_a_fault_that_may_pass_is_no_verdict_on_a_version(
    store: Store, catalog: Catalog, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("a", checkpoint())
    replies = [Loaded("CUDA out of memory.", may_pass=True)] * 2

    async def load(key: str) -> Loaded:
        workers.loaded.append(key)
        return replies.pop() if replies else Loaded(batch_invariant=True)

    monkeypatch.setattr(workers, "load", load)
    catalog = make_catalog(store, workers)
    refresh(catalog)
    refresh(catalog)
    assert len(workers.loaded) == 1, "it is not asked for at each look"
    assert "out of memory" in catalog.problems["a@1"]
    monkeypatch.setattr("service.batching.version_loader.time.monotonic", lambda: time.time() + 3600)
    refresh(catalog)
    assert version_of(catalog, "a") is None
    monkeypatch.setattr("service.batching.version_loader.time.monotonic", lambda: time.time() + 7200)
    refresh(catalog)
    assert version_of(catalog, "a") == 1
    assert catalog.problems == {}
    assert len(workers.loaded) == 3


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (MemoryError(), True),
        (NotFetched("models/a/1", "the bucket is silent."), True),
        (CheckpointError("models/a/1", "is damaged."), False),
        (ValueError("no"), False),
    ],
    ids=repr,
)
def test_what_may_pass_is_what_is_not_in_the_file(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


def test_a_checkpoint_that_could_not_be_opened_may_be_read_later(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read") as refused:
        read_header(tmp_path)
    assert may_pass(refused.value)


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


def test_a_version_is_equally_ready_in_all_spellings(store: Store, catalog: Catalog) -> None:
    for seed in range(4):
        store.publish("a", checkpoint(seed))
    store.set_alias("a", "production", 3)
    refresh(catalog)
    for ready in (False, True):
        assert [readiness(catalog, id_) for id_ in ("a", "a@4", "a@latest", "a@3", "a@production")] == [True] * 5
        assert readiness(catalog, "a@1") is ready
        assert [readiness(catalog, id_) for id_ in ("a@99", "a@staging", "a@-1", "b", "b@1", "", None)] == [
            None
        ] * 6 + [True]
        asyncio.run(catalog.find("a@1"))


def test_the_least_recently_asked_version_goes_first_whatever_was_loaded_first(
    store: Store, workers: Workers, tmp_path: Path
) -> None:
    for seed in range(6):
        store.publish("a", checkpoint(seed))

    async def run() -> list[list[int]]:
        metrics = ApiMetrics(tmp_path)
        metrics.start("api-0", lambda: 0)
        catalog = Catalog(store, workers.load, metrics.for_model, capacity=4, default_model=None)
        await catalog.refresh()
        ready = []
        for version in range(1, 6):
            await catalog.find(f"a@{version}")
            served = catalog.get("a@1")  # as each request to a version that is ready
            assert served is not None
            served.metrics.observe_request(200, 0.001)
            metrics.flush()
            ready.append(sorted(served.version for served in catalog.ready_versions()))
        return ready

    assert asyncio.run(run()) == [[1, 6], [1, 2, 6], [1, 2, 3, 6], [1, 3, 4, 6], [1, 4, 5, 6]]


def test_the_version_that_a_request_waits_for_stays_among_busier_ones(store: Store, workers: Workers) -> None:
    catalog = make_catalog(store, workers, capacity=1)
    for seed in range(3):
        store.publish("a", checkpoint(seed))
    refresh(catalog)
    for version in (1, 2):
        asyncio.run(catalog.find(f"a@{version}"))
        assert sorted(served.version for served in catalog.ready_versions()) == [version, 3]


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
    assert catalog.default_model is None
    store.publish("a", checkpoint())
    refresh(catalog)
    assert catalog.default_model == "a"
    store.publish("b", checkpoint())
    refresh(catalog)
    assert catalog.default_model is None
    with pytest.raises(ModelNotFound, match="a, b"):
        asyncio.run(catalog.find(None))
    chosen = make_catalog(store, workers, default_model="b@latest")
    refresh(chosen)
    assert chosen.default_model == "b@latest"
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
    assert [(version.name, version.version) for version in preloaded_versions(store)] == [("a", 2), ("a", 4)]


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


def overwrite(path: Path, content: bytes) -> None:
    """Overwrites a file in place and keeps its size and its time of modification."""
    stat = path.stat()
    assert len(content) == stat.st_size
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_file_overwritten_with_its_size_and_time_kept_is_seen(store: Store, catalog: Catalog) -> None:
    path = store.publish("a", checkpoint(1)).path
    other = store.publish("b", checkpoint(2)).path.read_bytes()
    refresh(catalog)
    before = catalog.get("a")
    assert before is not None
    for _ in range(20):  # also within the clock tick in which the file was read
        for content in (other, path.read_bytes()):
            overwrite(path, content)
            refresh(catalog)
            served = catalog.get("a")
            assert served is not None
            assert served.digest == read_header(path)["digest"]


def test_a_file_altered_behind_a_sound_header_is_a_problem_until_it_is_sound_again(
    store: Store, catalog: Catalog
) -> None:
    path = store.publish("a", checkpoint(1)).path
    sound = path.read_bytes()
    refresh(catalog)
    before = catalog.get("a")
    spoil(path)
    for _ in range(2):
        refresh(catalog)
        assert catalog.get("a") is before
        assert "SHA-256" in catalog.problems["a@1"]
        assert str(store.root) not in str(catalog.problems)
    path.write_bytes(sound)
    refresh(catalog)
    assert catalog.get("a") is before
    assert catalog.problems == {}


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": []},
        {"architecture": None},
        {"architecture": "mlp"},
        {
            "architecture": {
                "kind": "sequence",
                "in_features": 1,
                "sequence": [{"kind": "activation", "activation": []}],
            }
        },
        {"architecture": {"kind": "sequence", "in_features": 1, "sequence": [{"name": "a", "eps": 10**400}]}},
        {"columns": 3},
        {"conformal": {"rows": 2**70}},
        {"distributions": [2**70]},
    ],
    ids=str,
)
def test_a_header_of_other_kinds_of_values_is_a_problem_of_its_version_alone(
    store: Store, catalog: Catalog, change: dict[str, Any]
) -> None:
    rewrite_header(store.publish("a", checkpoint()).path, change)
    store.publish("b", checkpoint())
    refresh(catalog)
    assert catalog.get("a") is None
    assert version_of(catalog, "b") == 1
    assert list(catalog.problems) == ["a@1"]
    assert len(catalog.problems["a@1"]) < 1_000


def test_a_metric_larger_than_any_float_is_left_out(store: Store, catalog: Catalog) -> None:
    metrics = {"accuracy": 0.5, "huge": 10**400, "large": 2**70}
    rewrite_header(store.publish("a", checkpoint()).path, {"metrics": {"test": metrics}})
    refresh(catalog)
    served = catalog.get("a")
    assert served is not None
    assert served.test_metrics == {"accuracy": 0.5, "large": float(2**70)}


@pytest.mark.parametrize("how", ["emptied", "each model emptied", "gone", "a file"])
def test_an_empty_store_where_models_were_served_is_a_lost_disk(store: Store, catalog: Catalog, how: str) -> None:
    for name in ("a", "b"):
        store.publish(name, checkpoint())
    refresh(catalog)
    moved = store.root.with_name("moved")
    store.root.rename(moved)
    if how == "a file":
        store.root.write_text("")
    elif how != "gone":
        store.root.mkdir()
        if how == "each model emptied":
            (store.root / "a").mkdir()
            (store.root / "b").mkdir()
    refresh(catalog)
    assert list(catalog.problems) == [""]
    assert str(store.root) not in catalog.problems[""]
    assert [version_of(catalog, id_) for id_ in ("a", "b@1", "a@latest")] == [1, 1, 1]
    assert [model.served.name for model in catalog.models()] == ["a", "b"]
    shutil.rmtree(store.root, ignore_errors=True)
    store.root.unlink(missing_ok=True)
    moved.rename(store.root)
    shutil.rmtree(store.root / "a")  # the deletion of one model of several is intended
    refresh(catalog)
    assert catalog.problems == {}
    assert [version_of(catalog, id_) for id_ in ("a", "b")] == [None, 1]


def test_a_store_that_never_held_a_sound_model_may_be_emptied(store: Store, catalog: Catalog) -> None:
    spoil(store.publish("a", checkpoint()).path)
    refresh(catalog)
    assert list(catalog.problems) == ["a@1"]
    shutil.rmtree(store.root / "a")
    refresh(catalog)
    assert catalog.problems == {}


def test_a_store_that_does_not_answer_is_a_problem_and_holds_up_nobody(
    store: Store, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batching.catalog._SILENT_SECONDS", 0.05)
    answers = threading.Event()
    answers.set()

    class SlowStore(Store):
        def scan(self) -> Iterator[StoreEntry]:
            assert answers.wait(30)
            return super().scan()

    catalog = make_catalog(SlowStore(store.root), workers)
    store.publish("a", checkpoint())

    async def scenario() -> None:
        await catalog.refresh()
        answers.clear()
        look = asyncio.ensure_future(catalog.refresh())
        while not catalog.problems:
            await asyncio.sleep(0.01)
        assert "has not answered" in catalog.problems[""]
        assert version_of(catalog, "a") == 1
        answers.set()
        await look
        assert catalog.problems == {}

    asyncio.run(scenario())


def test_each_key_is_told_before_the_workers_are_asked_to_load_it(store: Store, workers: Workers) -> None:
    told: list[str] = []
    catalog = Catalog(
        store,
        workers.load,
        lambda name, version: ModelMetrics(name, version, lambda _: None),
        capacity=8,
        default_model=None,
        intend=told.append,
    )

    async def meanwhile() -> None:
        assert told[-1] == workers.loaded[-1]

    workers.meanwhile = meanwhile
    for seed in range(3):
        store.publish("a", checkpoint(seed))
        refresh(catalog)
    assert told == workers.loaded
    assert catalog.preloaded_keys() == told[-1:]
    assert catalog.known_versions() == {("a", 1), ("a", 2), ("a", 3)}


def test_what_workers_lack_is_a_problem_of_its_id(store: Store, catalog: Catalog) -> None:
    path = store.publish("a", checkpoint()).path
    refresh(catalog)
    served = catalog.get("a")
    assert served is not None
    catalog.report_load_failures({served.key: "no worker can load it: lost.", "b@1#sha256:0": "never heard of."})
    assert catalog.problems == {"a@1": "no worker can load it: lost."}
    path.unlink()
    refresh(catalog)
    assert catalog.problems["a@1"].endswith("no worker can load it: lost.")
    assert "cannot be read" in catalog.problems["a@1"]
    catalog.report_load_failures({})
    assert "lost" not in catalog.problems["a@1"]


def calls_of(act: Callable[[], object]) -> int:
    """Counts the calls of Python functions in this thread: the number of steps, independent of time."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return calls


def test_a_look_at_a_store_that_has_not_changed_costs_the_event_loop_nothing(
    store: Store, catalog: Catalog, workers: Workers
) -> None:
    source = store.publish("m0", checkpoint()).path
    for number in range(1, 200):
        (store.root / f"m{number}" / "1").mkdir(parents=True)
        shutil.copy(source, store.root / f"m{number}" / "1" / source.name)
    refresh(catalog)
    revision, loaded = catalog.revision, len(workers.loaded)
    with asyncio.Runner() as runner:
        runner.run(catalog.refresh())
        assert calls_of(lambda: runner.run(catalog.refresh())) < 200
        assert (catalog.revision, len(workers.loaded)) == (revision, loaded) == (revision, 200)
        store.set_alias("m7", "prod", 1)
        runner.run(catalog.refresh())
    assert catalog.revision > revision
    assert version_of(catalog, "m7@prod") == 1


def test_all_models_of_one_look_move_together(store: Store, catalog: Catalog, workers: Workers) -> None:
    names = [f"m{number}" for number in range(20)]
    for name in names:
        store.publish(name, checkpoint(1))
    refresh(catalog)
    for name in names:
        store.publish(name, checkpoint(2))
    seen: set[tuple[int | None, ...]] = set()

    async def scenario() -> None:
        look = asyncio.ensure_future(catalog.refresh())
        while not look.done():
            seen.add(tuple(version_of(catalog, name) for name in names))
            seen.add(tuple(model.served.version for model in catalog.models()))
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert seen | {(2,) * 20} == {(1,) * 20, (2,) * 20}
    assert [version_of(catalog, name) for name in names] == [2] * 20


def test_a_listing_tells_of_one_look(store: Store, catalog: Catalog) -> None:
    for name in ("a", "b", "c"):
        store.publish(name, checkpoint(1))
    refresh(catalog)
    listing = catalog.models()
    first = next(listing)
    store.publish("b", checkpoint(2))
    shutil.rmtree(store.root / "c")
    refresh(catalog)
    told = [(model.served.name, model.served.version, model.entry.versions) for model in (first, *listing)]
    assert told == [("a", 1, (1,)), ("b", 1, (1,)), ("c", 1, (1,))]
    assert [(model.served.name, model.served.version) for model in catalog.models()] == [("a", 1), ("b", 2)]


def test_a_thousand_problems_are_told_in_few_lines(
    store: Store, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        "service.batching.store_problems.log", SimpleNamespace(error=lambda event, **_: lines.append(event))
    )
    for number in range(200):
        (store.root / f"m{number}" / "1").mkdir(parents=True)
        (store.root / f"m{number}" / "1" / "model.safetensors").write_bytes(b"{}")
    refresh(catalog)
    assert len(catalog.problems) == 200
    assert len(lines) == 51


def test_a_version_that_others_have_read_again_gets_its_ids_back(store: Store, workers: Workers) -> None:
    for name in ("a", "b"):
        store.publish(name, checkpoint())
    memory = VersionMemory(1, lambda key: False, lambda key: store.resolve(key.partition("#")[0]).path)
    catalog = make_catalog(store, workers, memory=memory)
    refresh(catalog)
    asyncio.run(catalog.find("b"))
    released = catalog.get_lead("a")
    assert released is not None, "what has left the memory is ready, since a request brings it back"
    assert released.is_released
    assert catalog.get_lead("a@1") is released
    assert catalog.get_lead("a@2") is catalog.get_lead("c") is None
    assert catalog.get("a") is None
    assert released.schema.names == ("x",), "a request that was on its way reads it again"
    assert not released.is_released
    assert asyncio.run(catalog.find("a")) is catalog.get("a") is catalog.get("a@1") is released


def test_who_waits_while_a_model_is_unloaded_does_not_load_it_again(
    store: Store, workers: Workers, tmp_path: Path
) -> None:
    for seed in range(2):
        store.publish("a", checkpoint(seed))
    unloaded = UnloadedModels(tmp_path / "unloaded")
    catalog = make_catalog(store, workers, unloaded=unloaded)
    refresh(catalog)

    async def ask_while_the_store_is_read() -> None:
        unloaded.add("a")
        reading = asyncio.create_task(catalog.refresh())
        await asyncio.sleep(0)
        with pytest.raises(ModelUnavailable, match="unloaded"):
            await catalog.find("a@1")
        await reading

    asyncio.run(ask_while_the_store_is_read())
    assert catalog.get("a") is catalog.get("a@1") is None
    assert not any(key.startswith("a@1#") for key in workers.loaded)
