"""A version policy: served versions, the file, and texts that are no policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import CHECKPOINTS

from models.errors import ModelNotFound, StoreError
from models.store import Store
from models.version_policy import POLICY_FILE, VersionPolicy, read_policy
from service.served_store import ServedStore

VERSIONS = (1, 3, 4, 7)


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("on-demand", {1, 3, 4, 7}),
        ("all", {1, 3, 4, 7}),
        ("newest:2", {4, 7}),
        ("newest:9", {1, 3, 4, 7}),
        ("listed", set()),
        ("3,1,3", {1, 3}),
        ("3,99", {3}),
    ],
)
def test_a_policy_serves_what_it_says_and_what_has_an_alias(text: str, served: set[int]) -> None:
    policy = VersionPolicy.parse(text)
    assert policy.served(VERSIONS, ()) == tuple(sorted(served))
    assert policy.served(VERSIONS, (3, 50)) == tuple(sorted(served | {3}))


@pytest.mark.parametrize(
    "text", ["", "newest", "newest:0", "newest:-1", "newest:2 ", "0", "1,,2", "1;2", "All", "x" * 99]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a policy"):
        VersionPolicy.parse(text)


@given(
    st.sampled_from(["on-demand", "all", "listed", "newest:1", "newest:3"])
    | st.lists(st.integers(1, 999_999_999), min_size=1).map(lambda versions: ",".join(map(str, versions)))
)
def test_a_policy_survives_its_text_and_its_json(text: str) -> None:
    policy = VersionPolicy.parse(text)
    assert VersionPolicy.parse(policy.text) == policy
    versions = json.loads(json.dumps(policy.to_json()))["versions"]
    assert VersionPolicy.parse(versions if isinstance(versions, str) else ",".join(map(str, versions))) == policy


def test_a_model_keeps_its_policy_until_it_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish("price", CHECKPOINTS["price"])
    assert read_policy(tmp_path / "price") == (None, None)
    store.set_policy("price", VersionPolicy.parse("1"))
    assert read_policy(tmp_path / "price") == (VersionPolicy.parse("1"), None)
    with pytest.raises(ModelNotFound, match="no version 2"):
        store.set_policy("price", VersionPolicy.parse("1,2"))
    store.set_policy("price", None)
    assert read_policy(tmp_path / "price") == (None, None)
    assert not list((tmp_path / "price").glob(f"*{POLICY_FILE}*"))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"versions": 1}', b'{"versions": []}', b'{"versions": [true]}', b'{"versions": [0]}',
     b'{"versions": "newest:0"}', b'{"versions": "all", "more": 1}', b"\xff\xfe", b"[" * 70_000],
)  # fmt: skip
def test_a_file_that_is_no_policy_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / POLICY_FILE).write_bytes(content)
    policy, problem = read_policy(tmp_path)
    assert policy is None
    assert problem is not None
    assert problem.startswith(f"{tmp_path.name}/{POLICY_FILE} is not valid: ")


def test_a_link_out_of_the_store_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text('{"versions": "all"}')
    folder = tmp_path / "store" / "m"
    folder.mkdir(parents=True)
    (folder / POLICY_FILE).symlink_to(tmp_path / "outside.json")
    assert read_policy(folder) == (None, f"m/{POLICY_FILE} is a link that leads out of the store.")


def test_a_policy_that_cannot_be_read_is_no_other_policy(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for _ in range(3):
        store.publish("m", CHECKPOINTS["colours"])
    store.set_policy("m", VersionPolicy.parse("newest:1"))
    served = ServedStore(store, "on-demand")
    assert [entry.versions for entry in served.scan()] == [(3,)]
    path = store.root / "m" / POLICY_FILE
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"m/policy.json cannot be read: not a regular file"):
        read_policy(store.root / "m")
    [entry] = served.scan()
    assert entry.versions == (3,), "the policy that was read before holds"
    assert entry.problem is None
    assert "cannot be read" in str(entry.policy_problem)
    [entry] = ServedStore(store, "on-demand").scan()
    assert "cannot be read" in str(entry.problem), "without one, the model is not served by a guess"
    path.rmdir()
    assert [entry.versions for entry in served.scan()] == [(1, 2, 3)]
