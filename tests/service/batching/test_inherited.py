"""The inheritance of a new API process: the models of a store that is lost, empty, or damaged in part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from serving import CHECKPOINTS

from models.store import Store
from models.version_policy import VersionPolicy
from service.batching.inherited import Inherited, KnownModels
from service.batching.link import Loaded
from service.batching.store_problems import LOST
from service.served_store import ServedStore
from service.stream.kept_checkpoints import KeptCheckpoints


async def load(key: str) -> Loaded:
    raise AssertionError(f"{key} was not to be loaded")


def inherited(runtime_dir: Path) -> Inherited:
    return Inherited(KnownModels(runtime_dir, "api-1").read(), (), KeptCheckpoints(runtime_dir), load)


def test_models_are_known_again_with_all_that_the_store_says_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for name in ("colours", "price"):
        for _ in range(3):
            store.publish(name, CHECKPOINTS[name])
    store.split("colours", "production", {1: 33.4, 2: 66.6})
    store.set_alias("colours", "default", 2)
    store.set_shadow("colours", "default", 3, share=12.5)
    store.set_policy("price", VersionPolicy.parse("newest:2"))
    served = ServedStore(store, "all")
    entries = served.entries()
    assert [bool(entry.withheld) for entry in entries] == [False, True]
    KnownModels(tmp_path, "api-0").write(entries)
    took = inherited(tmp_path)
    store.root.rename(tmp_path / "moved")
    assert list(took.scan(served)) == entries
    assert took.lost == LOST
    (tmp_path / "moved").rename(store.root)
    (store.root / "colours" / "aliases.json").write_text("[")
    assert served.entries()[0].problem is not None
    assert list(took.scan(served)) == entries, "in place of the entry that cannot be read"
    assert took.lost is None
    assert list(took.follow(served)) == served.entries()


def test_an_entry_that_cannot_be_read_is_written_down_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("colours", CHECKPOINTS["colours"])
    [entry] = store.entries()
    known = KnownModels(tmp_path, "api-0")
    known.write([entry])
    known.write([replace(entry, versions=(), problem="colours cannot be read.")])
    assert KnownModels(tmp_path, "api-1").read() == {"colours": entry}
    known.write([])
    assert not KnownModels(tmp_path, "api-1").read()


def test_a_store_that_was_empty_before_is_no_lost_one(tmp_path: Path) -> None:
    took = inherited(tmp_path)
    assert not list(took.scan(ServedStore(Store(tmp_path / "store"), "all")))
    assert took.lost is None
