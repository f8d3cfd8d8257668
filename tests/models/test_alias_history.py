"""The earlier versions of an alias: `roll_back` after promotions, publications and deletions."""

from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint
from models.columns.schema import NumericColumn, NumericTarget, Schema
from models.errors import ModelNotFound, StoreError
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import Store

CONFIG = MLPConfig(layer_sizes=(1, 1), output="linear")
CHECKPOINT = Checkpoint(
    config=CONFIG,
    schema=Schema(
        columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
        target=NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),
    ),
    tensors=NumpyMLP(CONFIG, rng=np.random.default_rng(0)).to_tensors(),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for _ in range(3):
        store.publish("m", CHECKPOINT)
    return store


def meaning(store: Store) -> int:
    return store.resolve("m").version


def test_without_an_alias_it_goes_back_through_the_versions(store: Store) -> None:
    assert [store.roll_back("m") for _ in range(2)] == [(3, 2), (2, 1)]
    assert meaning(store) == 1
    with pytest.raises(StoreError, match="no version is known that m meant before m@1"):
        store.roll_back("m")
    store.publish("m", CHECKPOINT)
    assert meaning(store) == 1, "a new version waits until it is promoted"


def test_it_goes_back_to_what_was_promoted_before(store: Store) -> None:
    for version in (1, 3, 2):
        store.set_alias("m", "default", version)
    assert [store.roll_back("m") for _ in range(3)] == [(2, 3), (3, 1), (1, 3)]


def test_pinning_the_newest_is_no_step(store: Store) -> None:
    store.set_alias("m", "default", 3)
    assert store.roll_back("m") == (3, 2)


def test_an_alias_that_was_removed_is_a_step(store: Store) -> None:
    store.set_alias("m", "default", 1)
    store.remove_alias("m", "default")
    assert meaning(store) == 3
    assert store.roll_back("m") == (3, 1)
    store.remove_alias("m", "default")
    store.publish("m", CHECKPOINT)
    assert store.roll_back("m") == (4, 3)


def test_a_deleted_version_is_passed_over(store: Store) -> None:
    for version in (1, 2, 3):
        store.set_alias("m", "default", version)
    store.delete("m", 2)
    assert store.roll_back("m") == (3, 1)
    store.remove_alias("m", "default")
    store.delete("m", 3)
    assert meaning(store) == 1
    with pytest.raises(StoreError, match="no version is known"):
        store.roll_back("m")


def test_a_step_back_that_was_cut_off_is_not_made_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2, 3):
        store.set_alias("m", "default", version)

    def no_space(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    for write in ("write_history", "write_aliases"):  # whichever comes second
        with monkeypatch.context() as patch:
            patch.setattr(f"models.alias_tables.{write}", no_space)
            with pytest.raises(StoreError, match="No space left"):
                store.roll_back("m")
        if meaning(store) == 3:
            store.roll_back("m")
        assert meaning(store) == 2
        store.set_alias("m", "default", 3)


def test_each_alias_has_its_own(store: Store) -> None:
    store.set_alias("m", "production", 1)
    with pytest.raises(StoreError, match="no version is known that m@production meant before m@1"):
        store.roll_back("m", "production")
    store.set_alias("m", "production", 2)
    store.set_alias("m", "default", 2)
    assert store.roll_back("m", "production") == (2, 1)
    assert meaning(store) == 2
    for name, alias in (("m", "nobody"), ("n", "default")):
        with pytest.raises(ModelNotFound):
            store.roll_back(name, alias)


@pytest.mark.parametrize("content", ["", "[]", '{"default": 7}', '{"default": ["a", null, true, 2]}', "{" * 100_000])
def test_a_damaged_history_changes_no_answer(store: Store, content: str) -> None:
    (store.root / "m/.alias-history.json").write_text(content)
    assert meaning(store) == 3
    assert store.entry("m").problem is None
    assert store.roll_back("m") == (3, 2)
