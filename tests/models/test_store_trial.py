"""A store is tried before training: problems that publishing would meet later are found at once."""

from pathlib import Path

import pytest
from tiny_disk import on_a_tiny_disk

from models.errors import InvalidName, StoreError
from models.store import Store

TRY = """
import sys
from models.errors import StoreError
from models.store import Store
try:
    Store(sys.argv[1]).try_publishing("m", size=int(sys.argv[2]))
except StoreError as error:
    print(error)
"""
FILL = "head -c 100000 /dev/zero > store/fill 2> /dev/null"


@pytest.mark.parametrize("folder", ["store", "store/below"])
def test_a_store_that_takes_a_version_is_left_as_it_was(tmp_path: Path, folder: str) -> None:
    Store(tmp_path / folder).try_publishing("m", size=1_000_000)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / folder / "m").mkdir(parents=True)
    Store(tmp_path / folder).try_publishing("m", size=1_000_000)
    assert [path.name for path in (tmp_path / folder / "m").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("options", "before", "size", "said"),
    [
        ("size=8k", FILL, 0, "cannot write to store/m: No space left on device."),
        ("size=64k", "true", 200_000, "cannot write to store/m: No space left on device."),
        ("size=64k", "mkdir store/m", 200_000, "cannot write to store/m: No space left on device."),
        ("size=64k", "mkdir store/m", 20_000, ""),
        ("size=64k,nr_inodes=2", "mkdir store/m", 0, "cannot write to store/m: No space left on device."),
        ("size=64k", "mkdir store/m; mount -o remount,ro store", 0, "cannot write to store/m: Read-only file system."),
        ("size=64k,ro", "true", 0, "cannot write to store/m: Read-only file system."),
    ],
)
def test_a_disk_that_refuses(tmp_path: Path, options: str, before: str, size: int, said: str) -> None:
    ran = on_a_tiny_disk(tmp_path / "store", options, TRY, "store", str(size), before=before)
    assert (ran.returncode, ran.stdout.strip()) == (0, said), ran.stderr


@pytest.mark.parametrize("store", ["file", "file/below", "dangling"])
def test_what_is_no_folder(tmp_path: Path, store: str) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(StoreError, match="is not a folder"):
        Store(tmp_path / store).try_publishing("m")
    with pytest.raises(StoreError, match="File name too long"):
        Store(tmp_path / ("x" * 300)).try_publishing("m")
    with pytest.raises(InvalidName):
        Store(tmp_path / "store").try_publishing("../m")
