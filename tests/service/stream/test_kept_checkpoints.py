"""Copies of checkpoints: one per key, only for served keys, and never with the last free space of a disk."""

from __future__ import annotations

import os
import threading
import time
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
    half = tmp_path / "kept" / ".half.1"
    half.write_bytes(b"of a worker that was killed")
    os.utime(half, (time.time() - 3600,) * 2)
    kept.keep_only(["new"], kept.names())
    assert kept.read("old") == b"old", "a batch may still need it"
    kept.keep_only(["new", "old"], kept.names())
    kept.keep_only(["new"], kept.names())
    assert kept.read("old") == b"old"
    kept.keep_only(["new"], kept.names())
    assert (kept.read("old"), kept.read("new")) == (None, b"new")
    assert len(kept.names()) == 1


def test_a_copy_that_is_slow_to_write_is_left_to_its_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, other = KeptCheckpoints(tmp_path), KeptCheckpoints(tmp_path)
    begun, go = threading.Event(), threading.Event()
    write = Path.write_bytes

    def write_slowly(path: Path, payload: bytes) -> int:
        write(path, payload[:1])
        begun.set()
        assert go.wait(10)
        return write(path, payload) if path.exists() else len(payload)  # the rest goes into the file that was opened

    monkeypatch.setattr(Path, "write_bytes", write_slowly)
    writer = threading.Thread(target=kept.keep, args=("new", b"payload"))
    writer.start()
    assert begun.wait(10)
    for _ in range(3):
        other.keep_only([], other.names())
    go.set()
    writer.join()
    assert kept.read("new") == b"payload"


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
