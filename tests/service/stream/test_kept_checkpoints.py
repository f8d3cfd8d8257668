"""Copies of checkpoints: one per key, only for served keys, and never with the last free space of a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.stream.kept_checkpoints import KeptCheckpoints


def test_a_copy_is_its_keys_whatever_the_key_is_made_of(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path)
    keys = ["a@1#sha256:0", "a@1#sha256:1", "a@1#../../escape", "a@1#" + "x" * 10_000, "a@1#\n\0"]
    for key in keys:
        assert kept.read(key) is None
        kept.keep(key, key.encode())
        kept.keep(key, b"the first is kept")
    assert [kept.read(key) for key in keys] == [key.encode() for key in keys]
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "kept"}


def test_what_nobody_serves_is_removed_the_second_time_that_it_is_found(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path)
    for key in ("old", "new"):
        kept.keep(key, key.encode())
    (tmp_path / "kept" / ".half.1").write_bytes(b"of a worker that was killed")
    kept.keep_only(["new"], kept.names())
    assert kept.read("old") == b"old", "a batch may still need it"
    kept.keep_only(["new", "old"], kept.names())
    kept.keep_only(["new"], kept.names())
    assert kept.read("old") == b"old"
    kept.keep_only(["new"], kept.names())
    assert (kept.read("old"), kept.read("new")) == (None, b"new")
    assert len(kept.names()) == 1


def test_a_copy_takes_not_the_last_room_and_a_disk_that_refuses_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptCheckpoints(tmp_path)
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr("service.stream.kept_checkpoints._LEAST_FREE_BYTES", disk.f_bavail * disk.f_frsize + (1 << 30))
    monkeypatch.setattr("service.stream.kept_checkpoints._LEAST_FREE_SHARE", 1.0)
    kept.keep("a", b"payload")
    assert kept.read("a") is None
    assert kept.names() == set()
    monkeypatch.undo()
    (tmp_path / "kept").rmdir()
    kept.keep("a", b"payload")
    assert kept.read("a") is None
