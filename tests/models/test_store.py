"""The store: versions, aliases and names hold against other processes, dead ones, and whoever means harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint
from models.config import MLPConfig
from models.errors import CheckpointError, InvalidName, ModelNotFound, StoreError
from models.numpy_mlp import NumpyMLP
from models.schema import NumericColumn, NumericTarget, Schema
from models.store import CHECKPOINT_FILE, Reference, Store

CONFIG = MLPConfig(layer_sizes=(1, 2, 1), output="linear")
SCHEMA = Schema(
    columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
    target=NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),
)
MAKE = """
import sys
import numpy as np
from models.checkpoint import Checkpoint
from models.config import MLPConfig
from models.numpy_mlp import NumpyMLP
from models.schema import *
from models.store import Store
schema = Schema(
    columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
    target=NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),
)
config = MLPConfig(layer_sizes=(1, 2, 1), output="linear")
checkpoint = Checkpoint(
    config=config, schema=schema, tensors=NumpyMLP(config, rng=np.random.default_rng(0)).to_tensors()
)
store = Store(sys.argv[1])
"""
HOSTILE = ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", "a\n", " a", "-a", ".a", "ａ", "é", "a" * 65, "C:"]


def make(seed: int = 0) -> Checkpoint:
    return Checkpoint(
        config=CONFIG, schema=SCHEMA, tensors=NumpyMLP(CONFIG, rng=np.random.default_rng(seed)).to_tensors()
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_versions_count_up_and_the_bare_name_is_the_newest(store: Store) -> None:
    assert [str(store.publish("m", make(seed))) for seed in range(3)] == ["m@1", "m@2", "m@3"]
    assert str(store.resolve("m")) == "m@3"
    for number in (1, 2, 3):
        loaded = store.load(f"m@{number}").checkpoint
        np.testing.assert_array_equal(loaded.tensors["layers.0.weight"], make(number - 1).tensors["layers.0.weight"])


def test_aliases_move_and_default_decides_the_bare_name(store: Store) -> None:
    for seed in range(3):
        store.publish("m", make(seed))
    store.set_alias("m", "production", 1)
    assert str(store.resolve("m@production")) == "m@1"
    store.set_alias("m", "production", 2)
    store.set_alias("m", "default", 1)
    assert [str(store.resolve(r)) for r in ("m", "m@latest", "m@production")] == ["m@1", "m@3", "m@2"]
    store.remove_alias("m", "default")
    assert str(store.resolve("m")) == "m@3"
    for alias in ("latest", "7", "", "a b", "../x"):
        with pytest.raises(InvalidName):
            store.set_alias("m", alias, 1)
    with pytest.raises(ModelNotFound):
        store.set_alias("m", "x", 9)
    with pytest.raises(ModelNotFound):
        store.remove_alias("m", "nobody")


def test_numbers_are_not_given_twice(store: Store) -> None:
    for seed in range(3):
        store.publish("m", make(seed))
    store.delete("m", 3)
    assert str(store.resolve("m")) == "m@2"
    assert str(store.publish("m", make())) == "m@4"
    store.set_alias("m", "production", 2)
    with pytest.raises(StoreError, match="production"):
        store.delete("m", 2)
    with pytest.raises(ModelNotFound):
        store.delete("m", 3)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_the_store(store: Store, name: str) -> None:
    store.publish("m", make())
    for attempt in (
        lambda: store.publish(name, make()),
        lambda: store.resolve(name),
        lambda: store.resolve(f"{name}@1"),
        lambda: store.entry(name),
        lambda: store.set_alias(name, "x", 1),
        lambda: store.remove_alias(name, "x"),
        lambda: store.delete(name, 1),
        lambda: store.version(name, 1),
    ):
        with pytest.raises(InvalidName):
            attempt()
    assert [path.name for path in store.root.parent.iterdir()] == ["store"]


@pytest.mark.parametrize("reference", ["m@", "@1", "m@0", "m@-1", "m@1@2", "m@99999999999", "m@1.5", "m@ 1", "m@x y"])
def test_no_half_reference_is_read(reference: str) -> None:
    with pytest.raises(InvalidName):
        Reference.parse(reference)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    assert store.entries() == []
    with pytest.raises(ModelNotFound):
        store.resolve("m")
    store.publish("m", make())
    for reference in ("n", "m@2", "m@production"):
        with pytest.raises(ModelNotFound):
            store.resolve(reference)
    assert not (store.root / "n").exists(), "looking for a model leaves no folder behind"


def test_foreign_things_in_the_store_harm_nobody(store: Store) -> None:
    store.publish("m", make())
    (store.root / "README").write_text("hello")
    (store.root / ".git").mkdir()
    (store.root / "empty").mkdir()
    (store.root / "m" / "notes").mkdir()
    (store.root / "m" / "7").write_text("not a folder")
    (store.root / "m" / "2").mkdir()
    assert store.names() == ["m"]
    assert store.entry("m").versions == (1, 2)
    with pytest.raises(CheckpointError, match=CHECKPOINT_FILE):
        store.load("m@2")
    (store.root / "m" / "aliases.json").write_text("{")
    [entry] = store.entries()
    assert entry.problem is not None
    assert "aliases.json" in entry.problem
    assert str(store.resolve("m@1")) == "m@1"
    with pytest.raises(StoreError):
        store.resolve("m")  # a guess at the default might serve another model


def test_a_root_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Store(tmp_path / "file").publish("m", make())


@pytest.mark.slow
def test_publishers_at_once_lose_nothing_and_readers_see_only_whole_versions(store: Store) -> None:
    code = MAKE + "for _ in range(4): store.publish('m', checkpoint)"
    store.publish("m", make())
    publishers = [subprocess.Popen([sys.executable, "-c", code, store.root]) for _ in range(4)]
    while any(publisher.poll() is None for publisher in publishers):
        store.load("m")
    assert [publisher.wait() for publisher in publishers] == [0] * 4
    assert store.entry("m").versions == tuple(range(1, 18))
    for version in store.entry("m").versions:
        store.load(f"m@{version}")


@pytest.mark.slow
def test_a_killed_publisher_leaves_nothing_that_a_reader_sees(store: Store) -> None:
    code = MAKE + "print('go', flush=True)\nwhile True: store.publish('m', checkpoint)"
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", code, store.root], stdout=subprocess.PIPE) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline()
            while "m" not in store.names():
                os.sched_yield()
            publisher.send_signal(signal.SIGKILL)
        for version in store.entry("m").versions:
            store.load(f"m@{version}")
    before = store.entry("m").versions[-1]
    assert store.publish("m", make()).version > before
    assert not [path for path in (store.root / "m").iterdir() if path.name.startswith(".publish-")]
