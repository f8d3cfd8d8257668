"""The store: versions, aliases and names are safe against other processes, killed processes, and attacks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint
from models.columns.schema import NumericColumn, NumericTarget, Schema
from models.errors import CheckpointError, InvalidName, ModelNotFound, StoreError
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import CHECKPOINT_FILE, Store
from models.store_entry import Reference, StoreEntry, read_versions
from models.version_policy import parse_policy, read_policy

CONFIG = MLPConfig(layer_sizes=(1, 2, 1), output="linear")
SCHEMA = Schema(
    columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
    target=NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),
)
MAKE = """
import sys
import numpy as np
from models.checkpoint import Checkpoint
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.columns.schema import *
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
        store.resolve("m")  # guessing the default might serve another model


def test_a_root_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        Store(tmp_path / "file").publish("m", make())


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "5", '{"default": "1"}', '{"default": true}', '{"default": 1.0}', "[" * 100_000, "\udcff", "", "NaN"],
)
def test_aliases_that_cannot_be_read_are_neither_guessed_nor_overwritten(store: Store, text: str) -> None:
    for seed in range(2):
        store.publish("m", make(seed))
    store.publish("n", make())
    path = store.root / "m" / "aliases.json"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    before = path.read_bytes()
    assert [entry.name for entry in store.entries() if entry.problem] == ["m"]
    assert store.names() == ["m", "n"]
    assert [str(store.resolve(reference)) for reference in ("m@1", "m@latest", "n")] == ["m@1", "m@2", "n@1"]
    for attempt in (
        lambda: store.resolve("m"),
        lambda: store.resolve("m@production"),
        lambda: store.set_alias("m", "production", 1),
        lambda: store.remove_alias("m", "default"),
        lambda: store.delete("m", 1),  # an alias may name it
    ):
        with pytest.raises(StoreError, match=r"aliases\.json"):
            attempt()
    assert path.read_bytes() == before
    assert str(store.publish("m", make())) == "m@3"


def test_an_alias_that_names_a_version_which_is_not_there_is_not_found(store: Store) -> None:
    store.publish("m", make())
    (store.root / "m" / "aliases.json").write_text('{"default": 7, "old": -1, "latest": 7}')
    for reference in ("m", "m@default", "m@old"):
        with pytest.raises(ModelNotFound, match="has no version that its alias"):
            store.resolve(reference)
    assert str(store.resolve("m@latest")) == "m@1", "'latest' is no alias"


def test_readers_write_nothing(store: Store) -> None:
    store.publish("m", make())
    store.set_alias("m", "default", 1)

    def tree() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in [store.root, *store.root.rglob("*")]}

    (store.root / "m" / ".lock").unlink()  # as in a copy without hidden files
    before = tree()
    store.entries(), store.names(), store.entry("m"), store.resolve("m"), store.load("m@default"), store.version("m", 1)
    assert tree() == before


def test_a_number_is_not_given_again_in_a_store_that_was_copied_without_its_locks(store: Store) -> None:
    for _ in range(3):
        store.publish("m", make())
    (store.root / "m" / ".lock").unlink()
    store.delete("m", 3)
    assert str(store.publish("m", make())) == "m@4"
    store.delete("m", 4)
    (store.root / "m" / ".lock").write_bytes(b"\xff rubbish that is longer than what is written over it")
    assert str(store.publish("m", make())) == "m@3", "nothing tells of 4 any more"
    store.delete("m", 3)
    assert str(store.publish("m", make())) == "m@4"


def test_a_number_is_not_given_again_after_its_folder_was_removed_by_hand(store: Store) -> None:
    for _ in range(2):
        store.publish("m", make())
    shutil.rmtree(store.root / "m" / "2")
    assert str(store.publish("m", make())) == "m@3"


def test_a_number_is_not_given_while_anything_stands_under_it(store: Store) -> None:
    store.publish("m", make())
    (store.root / "m" / "2").write_text("not a folder")
    (store.root / "m" / "3").symlink_to("nowhere")
    assert str(store.publish("m", make())) == "m@4"
    (store.root / "m" / "999999999").mkdir()
    with pytest.raises(StoreError, match="no version number left"):
        store.publish("m", make())


def test_a_link_is_read_as_the_folder_it_points_to_and_deleted_as_a_link(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    (tmp_path / "store").symlink_to("mounted")  # the store itself may be a link
    store = Store(tmp_path / "store")
    store.publish("m", make())
    Store(store.root / "..data").publish("n", make(1))  # as in a folder that Kubernetes mounts
    (store.root / "m" / "2").symlink_to("../..data/n/1")
    (store.root / "m" / "3").symlink_to("3")  # a circular link
    (store.root / "m" / "4").symlink_to("nowhere")
    (store.root / "n").symlink_to("..data/n")
    assert store.entry("m").versions == (1, 2)
    assert store.load("m@2").digest == store.load("n@1").digest != store.load("m@1").digest
    store.delete("m", 2)
    assert store.entry("m").versions == (1,)
    assert store.load("n@1")
    assert not list((store.root / "m").glob(".publish-*"))


def test_a_link_that_leads_out_of_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.publish("n", make(1))
    elsewhere.set_alias("n", "production", 1)
    before = sorted(elsewhere.root.rglob("*"))
    for _ in range(3):
        store.publish("m", make())
    shutil.rmtree(store.root / "m" / "2")
    (store.root / "m" / "2").symlink_to(elsewhere.root / "n" / "1")
    (store.root / "m" / "3" / CHECKPOINT_FILE).unlink()
    (store.root / "m" / "3" / CHECKPOINT_FILE).symlink_to(elsewhere.version("n", 1).path)
    (store.root / "n").symlink_to("../elsewhere/n")
    (store.root / "store").symlink_to(".")  # a link to the store itself: inside the store, but not a model
    assert store.load("m@1")
    for reference in ("m@2", "m@3"):
        with pytest.raises(CheckpointError, match="out of the store"):
            store.load(reference)
        with pytest.raises(CheckpointError, match="out of the store"):
            store.resolve(reference).read_header()
    for attempt in (
        lambda: store.load("n@1"),
        lambda: store.publish("n", make()),
        lambda: store.set_alias("n", "mine", 1),
        lambda: store.delete("n", 1),
    ):
        with pytest.raises(StoreError, match="out of the store"):
            attempt()
    assert {entry.name: entry.problem is None for entry in store.entries()} == {"m": True, "n": False}
    (store.root / "m" / "aliases.json").symlink_to(elsewhere.root / "n" / "aliases.json")
    with pytest.raises(StoreError, match="out of the store"):
        store.resolve("m@production")
    assert sorted(elsewhere.root.rglob("*")) == before


def test_what_is_no_file_is_not_waited_for(store: Store) -> None:
    for _ in range(2):
        store.publish("m", make())
    for place in (store.root / "m" / "aliases.json", store.version("m", 2).path):
        place.unlink(missing_ok=True)
        os.mkfifo(place)
    with pytest.raises(CheckpointError, match="not a regular file"):
        store.load("m@2")
    assert "not a regular file" in str(store.entry("m").problem)
    (store.root / "m" / "aliases.json").unlink()
    (store.root / "m" / "aliases.json").write_bytes(b" " * 2_000_000)
    assert "bytes" in str(store.entry("m").problem)


def test_an_alias_written_by_hand_does_not_stand_for_a_version(store: Store) -> None:
    for _ in range(2):
        store.publish("m", make())
    (store.root / "m" / "aliases.json").write_text('{"1": 2, "latest": 1, "../n": 1, "": 1, "fine": 1}')
    assert store.entry("m").aliases == {"fine": 1}


def test_a_publication_that_fails_leaves_the_store_as_it_was(store: Store) -> None:
    unwritable = Checkpoint(
        config=CONFIG, schema=SCHEMA, tensors=make().tensors, metrics={"test": {"loss": float("nan")}}
    )
    with pytest.raises(CheckpointError):
        store.publish("m", unwritable)
    assert store.entries() == []
    with pytest.raises(ModelNotFound):
        store.entry("m")
    assert str(store.publish("m", make())) == "m@1"
    with pytest.raises(CheckpointError):
        store.publish("m", unwritable)
    assert sorted(path.name for path in (store.root / "m").iterdir()) == [".lock", "1"]


def test_a_root_that_is_a_file_is_told_to_readers(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(tmp_path / "file").entries()
    with pytest.raises(ModelNotFound):
        Store(tmp_path / "file").load("m")


def test_an_entry_that_could_not_be_read_is_not_taken_for_one_without_versions() -> None:
    entry = StoreEntry("m", (), problem="m cannot be read: Permission denied.")
    for reference in ("m", "m@latest", "m@1", "m@production"):
        with pytest.raises(StoreError, match="Permission denied"):
            entry.resolve(Reference.parse(reference))


def least_seconds(action: Callable[[], object]) -> float:
    """Returns CPU seconds of this thread: the minimum of five runs, since the machine may be busy."""
    took = []
    for _ in range(5):
        start = time.thread_time()
        action()
        took.append(time.thread_time() - start)
    return min(took)


def test_a_thousand_versions_are_listed_without_a_look_into_each(store: Store) -> None:
    for version in range(1, 1_001):
        (store.root / "m" / str(version)).mkdir(parents=True)
    assert store.entry("m").versions == tuple(range(1, 1_001))
    assert str(store.resolve("m@1000")) == "m@1000"

    def list_the_folder() -> list[int]:
        with os.scandir(store.root / "m") as places:
            return sorted(int(place.name) for place in places if place.is_dir())

    listing = least_seconds(list_the_folder)
    # This takes about 1.5 times as long. With a `stat` of each version it would take 15 times as long.
    assert least_seconds(lambda: store.entry("m")) < 6 * listing
    assert least_seconds(lambda: store.resolve("m@1000")) < 6 * listing


def test_a_child_forked_while_publishing_does_not_keep_the_lock(store: Store) -> None:
    code = MAKE + (
        "import os, signal\n"
        "from models.store_lock import locked\n"
        "with locked(store.root / 'm', make=True):\n"
        "    child = os.fork()\n"
        "    if child == 0: signal.pause()\n"
        "print(store.publish('m', checkpoint))\n"
        "os.kill(child, signal.SIGKILL); os.waitpid(child, 0)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, store.root], check=True, timeout=60, capture_output=True, text=True
    )
    assert said.stdout == "m@1\n"


def test_an_entry_is_of_one_moment_though_the_store_changes_while_it_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move() -> None:
        old = store.publish("m", make()).version - 1
        store.set_alias("m", "default", old + 1)
        store.delete("m", old)

    store.publish("m", make())
    store.set_alias("m", "default", 1)

    def versions_of_a_store_that_moves(folder: Path) -> tuple[int, ...]:
        monkeypatch.setattr("models.store_entry.read_versions", read_versions)
        move()
        found = read_versions(folder)
        move()
        return found

    monkeypatch.setattr("models.store_entry.read_versions", versions_of_a_store_that_moves)
    assert store.entry("m") == StoreEntry("m", (3,), {"default": 3})


@pytest.mark.slow
def test_a_reader_always_finds_the_default_while_it_moves_and_what_it_named_is_deleted(store: Store) -> None:
    code = MAKE + (
        "old = 1\n"
        "for _ in range(40):\n"
        "    new = store.publish('m', checkpoint).version\n"
        "    store.set_alias('m', 'default', new)\n"
        "    store.delete('m', old)\n"
        "    old = new"
    )
    store.publish("m", make())
    store.set_alias("m", "default", 1)
    with subprocess.Popen([sys.executable, "-c", code, store.root]) as writer:
        seen = {store.resolve("m").version}
        while writer.poll() is None:
            seen.add(store.resolve("m").version)
        assert writer.wait() == 0
    assert store.resolve("m").version == 41
    assert store.entry("m").versions == (41,)
    assert len(seen) > 1


@pytest.mark.slow
def test_publishers_at_once_lose_nothing_and_readers_see_only_whole_versions(store: Store) -> None:
    code = MAKE + "for _ in range(5): store.publish('m', checkpoint)"
    store.publish("m", make())
    publishers = [subprocess.Popen([sys.executable, "-c", code, store.root]) for _ in range(8)]
    while any(publisher.poll() is None for publisher in publishers):
        store.load("m")
    assert [publisher.wait() for publisher in publishers] == [0] * 8
    assert store.entry("m").versions == tuple(range(1, 42))
    for version in store.entry("m").versions:
        store.load(f"m@{version}")


@pytest.mark.parametrize("prefix", [".publish-", ".try-", ".aliases.json.", ".policy.json."])
def test_what_a_killed_writer_left_goes_with_the_next_write(store: Store, prefix: str) -> None:
    store.publish("m", make())
    leftover = store.root / "m" / f"{prefix}0123456789abcdef"
    leftover.write_text("half")
    store.set_policy("m", parse_policy("newest:2"))
    assert not leftover.exists()
    assert read_policy(store.root / "m")[0] == parse_policy("newest:2")


@pytest.mark.slow
def test_a_killed_publisher_leaves_nothing_that_a_reader_sees(store: Store) -> None:
    code = MAKE + "print('go', flush=True)\nwhile True: store.publish('m', checkpoint)"
    store.publish("m", make())
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", code, store.root], stdout=subprocess.PIPE) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline()
            while not list((store.root / "m").glob(".publish-*")):
                assert publisher.poll() is None
            publisher.send_signal(signal.SIGKILL)
        for version in store.entry("m").versions:
            store.load(f"m@{version}")
    before = store.entry("m").versions[-1]
    assert store.publish("m", make()).version > before
    assert not [path for path in (store.root / "m").iterdir() if path.name.startswith(".publish-")]
