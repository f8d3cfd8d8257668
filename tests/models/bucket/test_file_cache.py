"""The cache of checkpoints keeps its limit, gives only verified files, and is shared by processes."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from models.bucket.cache_folder import cache_folder, cache_limit
from models.bucket.file_cache import FileCache
from models.errors import DataError, StoreError


def content(number: int, size: int = 1000) -> tuple[str, bytes]:
    payload = bytes([number]) * size
    return hashlib.sha256(payload).hexdigest(), payload


def put(cache: FileCache, number: int, size: int = 1000) -> str:
    digest, payload = content(number, size)
    cache.add(digest, size, lambda: [payload[:10], payload[10:]])
    return digest


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def age(cache: FileCache, digest: str, seconds: float) -> None:
    """Makes the last use of a file so many seconds older."""
    path = cache.path(digest)
    stat = path.stat()
    os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))


def test_a_file_is_brought_once_and_comes_back_whole(tmp_path):
    cache = FileCache(tmp_path, 10_000)
    digest, payload = content(1)
    brought = []

    def chunks():
        brought.append(digest)
        return [payload]

    for _ in range(3):
        assert cache.add(digest, len(payload), chunks).read_bytes() == payload
    assert brought == [digest]
    assert cache.read(digest) == payload
    assert FileCache(tmp_path, 10_000).find(digest) == tmp_path / digest


@pytest.mark.parametrize("change", ["short", "long", "other"])
def test_other_bytes_than_those_of_the_digest_are_refused_and_leave_nothing(tmp_path, change):
    cache = FileCache(tmp_path, 10_000)
    digest, payload = content(1)
    wrong = {"short": payload[:-1], "long": payload + b"1", "other": payload[:-1] + b"2"}[change]
    with pytest.raises(DataError, match="bytes"):
        cache.add(digest, len(payload), lambda: [wrong])
    assert files(tmp_path) == set()
    assert cache.find(digest) is None
    assert cache.read(digest) is None


@pytest.mark.parametrize("damage", [b"", b"0" * 1000, b"0" * 1001])
def test_a_damaged_file_is_given_to_nobody_and_brought_again(tmp_path, damage):
    cache = FileCache(tmp_path, 10_000)
    digest = put(cache, 1)
    cache.path(digest).write_bytes(damage)
    for reader in (cache, FileCache(tmp_path, 10_000)):
        cache.path(digest).write_bytes(damage)
        assert reader.find(digest) is None
        assert not cache.path(digest).exists()
        cache.path(digest).write_bytes(damage)
        assert reader.read(digest) is None
    put(cache, 1)
    assert cache.read(digest) == content(1)[1]


def test_the_least_recently_used_files_leave_at_the_limit(tmp_path):
    cache = FileCache(tmp_path, 3_000)
    digests = [put(cache, number) for number in range(3)]
    for seconds, digest in zip((300, 200, 100), digests, strict=True):
        age(cache, digest, seconds)
    assert cache.find(digests[0]) is not None  # used: now the newest
    with cache.path(digests[1]).open("rb") as used:
        added = put(cache, 3)
        assert files(tmp_path) == {digests[0], digests[2], added}
        assert used.read() == content(1)[1]  # an open file stays whole
    big = put(cache, 4, 2_500)
    assert files(tmp_path) == {big}


def test_a_file_beyond_the_limit_is_refused_before_it_is_brought(tmp_path):
    cache = FileCache(tmp_path, 3_000)
    kept = put(cache, 1)
    with pytest.raises(DataError, match="AXON_STORE_CACHE_BYTES"):
        cache.add("0" * 64, 3_001, lambda: pytest.fail("it was brought"))
    assert files(tmp_path) == {kept}


def test_files_that_are_being_written_count_and_those_of_a_killed_process_leave(tmp_path):
    cache = FileCache(tmp_path, 3_000)
    (tmp_path / ".part-of-a-killed-process").write_bytes(bytes(2_900))
    digest, payload = content(1, 2_000)
    refused = []

    def chunks():
        # Another thread adds a file while 2,000 bytes are reserved for this one.
        with pytest.raises(DataError, match="has no room in the cache") as error:
            put(FileCache(tmp_path, 3_000), 2, 1_500)
        refused.append(error)
        return [payload]

    cache.add(digest, 2_000, chunks)
    assert refused
    assert files(tmp_path) == {digest}


def test_many_readers_bring_a_file_once(tmp_path):
    digest, payload = content(1)
    brought = []

    def chunks():
        brought.append(1)
        return [payload]

    threads = [threading.Thread(target=lambda: FileCache(tmp_path, 10_000).add(digest, 1000, chunks)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert brought == [1]


def test_the_folder_is_the_users_own(tmp_path):
    assert cache_folder(None, {"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "axon/store"
    assert (tmp_path / "axon/store").stat().st_mode & 0o777 == 0o700
    assert cache_folder(None, {"AXON_STORE_CACHE": str(tmp_path / "given")}) == tmp_path / "given"
    assert cache_folder(tmp_path / "other", {"AXON_STORE_CACHE": str(tmp_path / "given")}) == tmp_path / "other"


def test_a_folder_that_others_can_write_to_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(StoreError, match="other users may write to it"):
        cache_folder(tmp_path / "open")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="AXON_STORE_CACHE"):
        cache_folder(tmp_path / "file" / "folder")


@pytest.mark.parametrize("text", ["-1", "0", "10 GB", "1e9", "٣", "9" * 30])
def test_a_limit_that_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(StoreError, match="AXON_STORE_CACHE_BYTES"):
        cache_limit({"AXON_STORE_CACHE_BYTES": text})
    assert cache_limit({"AXON_STORE_CACHE_BYTES": "1000"}) == 1000
