"""Split aliases and shadows in the store: the file formats, what is refused, and the way back."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from serving import CHECKPOINTS

from models.alias_target import Split, target_text
from models.errors import ConfigError, InvalidName, ModelNotFound, StoreError
from models.store import Store
from models.store_entry import Reference


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for _ in range(4):
        store.publish("m", CHECKPOINTS["price"])
    return store


def file(store: Store, name: str = "aliases.json") -> Any:
    return json.loads((store.root / "m" / name).read_text())


def test_a_split_is_written_as_weights_by_version(store: Store) -> None:
    store.set_alias("m", "production", 3)
    assert file(store) == {"production": 3}, "a plain alias stays a number"
    store.split("m", "production", {4: 10, 3: 90})
    assert file(store) == {"production": {"weights": {"3": 90, "4": 10}}}
    entry = store.entry("m")
    assert entry.aliases == {"production": Split.of({3: 90, 4: 10})}
    assert entry.resolve(Reference("m", alias="production")) == 3, "the version with the largest weight stands for it"
    assert store.split("m", "production", {3: 0.5, 4: 0.5}).lead == 4, "the newest of equal ones"
    assert file(store)["production"] == {"weights": {"3": 50, "4": 50}}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "one version or more"),
        ({1: 90, 2: 9}, "add up to 99; they have to add up to 100"),
        ({1: 33.3, 2: 33.3, 3: 33.3}, "add up to 99.9"),
        ({1: 110, 2: -10}, "version 1 is 110; it has to be 0 to 100"),
        ({1: 90, 2: -10, 3: 20}, "version 2 is -10"),
        ({1: math.nan}, "nan"),
        ({1: math.inf}, "inf"),
        ({1: 10**400}, "0 to 100"),
        ({1: True}, "has to be a number"),
        ({1: "100"}, "has to be a number"),
        ({0: 100}, "'0' is not a version"),
        ({1: 50, "1": 50}, "each version once"),
        ({n: Decimal(100) / 40 for n in range(1, 41)}, "32 versions at most"),
    ],
)
def test_weights_that_are_not_valid_are_refused_before_anything_is_written(
    store: Store, weights: dict[Any, Any], reason: str
) -> None:
    store.set_alias("m", "production", 1)
    with pytest.raises(ConfigError, match=reason):
        store.split("m", "production", weights)
    assert file(store) == {"production": 1}


def test_parts_of_a_hundred_add_up_exactly(store: Store) -> None:
    assert store.split("m", "a", {1: 33.3, 2: 33.3, 3: 33.4}).versions == (1, 2, 3)
    assert store.split("m", "b", {1: 0.1, 2: 0.2, 3: 0.7}) == Split.of({1: 10, 2: 20, 3: 70})


def test_versions_and_names_that_are_not_there_are_refused(store: Store) -> None:
    with pytest.raises(ModelNotFound, match="no version 7"):
        store.split("m", "production", {1: 90, 7: 10})
    with pytest.raises(InvalidName, match="latest"):
        store.split("m", "latest", {1: 100})
    with pytest.raises(ModelNotFound):
        store.split("n", "production", {1: 100})
    assert not (store.root / "m/aliases.json").exists()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"weights": {"1": 90, "2": 5}}, "alias 'p': the weights add up to 95"),
        ({"weights": {"1": 90, "2": -10}}, "alias 'p': the weight of version 2 is -10"),
        ({"weights": {"one": 100}}, "'one' is not a version"),
        ({"weights": [1, 2]}, "a target is a version, or a split"),
        ({"weights": {"1": 100}, "sticky": True}, "'sticky' is not a part of a split"),
        ({}, "a target is a version, or a split"),
        ("3", "is not a table of alias to version"),
    ],
)
def test_what_is_written_by_hand_is_checked_when_it_is_read(store: Store, document: Any, reason: str) -> None:
    (store.root / "m/aliases.json").write_text(json.dumps({"p": document, "default": 1}))
    entry = store.entry("m")
    assert entry.problem is not None
    assert reason in entry.problem
    assert entry.aliases == {}
    with pytest.raises(StoreError, match=r"aliases\.json"):
        store.set_alias("m", "other", 1)


def test_rolling_back_restores_what_was_before_a_split_and_a_split_itself(store: Store) -> None:
    store.set_alias("m", "p", 3)
    tenth, half = Split.of({3: 90, 4: 10}), Split.of({3: 50, 4: 50})
    store.split("m", "p", {3: 90, 4: 10})
    store.split("m", "p", {3: 50, 4: 50})
    store.set_alias("m", "p", 4)
    assert store.roll_back("m", "p") == (4, half)
    assert store.roll_back("m", "p") == (half, tenth)
    assert store.roll_back("m", "p") == (tenth, 3)
    with pytest.raises(StoreError, match=r"no version is known that m@p meant before m@3\."):
        store.roll_back("m", "p")
    store.split("m", "default", {1: 1})
    assert store.roll_back("m")[1] == 4, "the bare name meant the newest version"
    assert target_text("m", tenth) == "m@3 (90 %) and m@4 (10 %)"


def test_a_split_whose_version_was_deleted_is_passed_over(store: Store) -> None:
    store.set_alias("m", "p", 1)
    store.split("m", "p", {1: 90, 2: 10})
    store.set_alias("m", "p", 3)
    store.delete("m", 2)
    assert store.roll_back("m", "p") == (3, 1)


def test_a_version_in_a_split_or_a_shadow_is_not_deleted(store: Store) -> None:
    store.split("m", "p", {1: 90, 2: 10})
    store.set_shadow("m", "p", 3, 20)
    with pytest.raises(StoreError, match="m@2 is what alias 'p' names"):
        store.delete("m", 2)
    with pytest.raises(StoreError, match="m@3 is the shadow of alias 'p'"):
        store.delete("m", 3)
    store.remove_shadow("m", "p")
    store.delete("m", 3)


def test_a_shadow_is_a_file_beside_the_aliases(store: Store) -> None:
    assert store.entry("m").shadows == {}
    store.set_shadow("m", "default", 2)  # the bare name, without an alias
    store.set_alias("m", "p", 1)
    store.set_shadow("m", "p", 3, 12.5)
    assert file(store, "shadows.json") == {
        "default": {"version": 2, "share": 100},
        "p": {"version": 3, "share": 12.5},
    }
    store.remove_alias("m", "p")
    assert list(store.entry("m").shadows) == ["default"], "it ends with its alias"
    store.remove_shadow("m")
    assert store.entry("m").shadows == {}
    for call in (lambda: store.remove_shadow("m"), lambda: store.set_shadow("m", "nobody", 1)):
        with pytest.raises(ModelNotFound):
            call()
    with pytest.raises(ModelNotFound, match="no version 9"):
        store.set_shadow("m", "default", 9)
    for share in (0, -1, 101, math.nan):
        with pytest.raises(ConfigError, match="above 0 and up to 100"):
            store.set_shadow("m", "default", 1, share)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"p": 3}', '{"p": {"version": 1, "share": 0}}', '{"p": {"share": 5}}', "{"]
)
def test_damaged_shadows_change_no_answer_and_no_alias(store: Store, text: str) -> None:
    store.set_alias("m", "p", 1)
    (store.root / "m/shadows.json").write_text(text)
    entry = store.entry("m")
    assert (entry.problem, entry.shadows) == (None, {})
    assert entry.shadow_problem is not None
    assert "m/shadows.json" in entry.shadow_problem
    store.set_alias("m", "p", 2)
    assert store.resolve("m@p").version == 2
    with pytest.raises(StoreError, match=r"shadows\.json"):
        store.set_shadow("m", "p", 1)
