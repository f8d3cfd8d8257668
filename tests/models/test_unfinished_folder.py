"""Unfinished files of a killed process are removed by the next one, and those of a living one are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from models.store import Store
from models.unfinished_folder import remove_abandoned, unfinished_folder
from training.resume import ResumeFile

ROOT = Path(__file__).parents[2]

# Each process stops in the middle of its write.
WAIT = "print('writing', flush=True); sys.stdin.read(); "
TRY = (
    "import os, sys; from models import store_trial; from models.store import Store\n"
    f"def wait(descriptor, size): os.posix_fallocate(descriptor, 0, size); {WAIT}\n"
    "store_trial._reserve = wait\n"
    "Store(sys.argv[1]).try_publishing('m', size=1 << 20)"
)
RESUME = (
    "import sys; import numpy as np; from pathlib import Path; from training.resume import ResumeFile\n"
    "import safetensors.numpy as files\n"
    "save = files.save_file\n"
    f"def wait(arrays, path, metadata): save(arrays, str(path) + '.tmp'); {WAIT} save(arrays, path, metadata)\n"
    "files.save_file = wait\n"
    "keep = ResumeFile(Path(sys.argv[1]) / 'm.safetensors'); keep.begin({})\n"
    "keep.offer(lambda: {'a': np.zeros(9)}); keep.write()"
)


def try_again(folder: Path) -> None:
    Store(folder).try_publishing("m", size=1 << 20)


def write_again(folder: Path) -> None:
    keep = ResumeFile(folder / "m.safetensors")
    keep.begin({})
    keep.offer(lambda: {"a": np.ones(9)})
    keep.write()
    keep.end(finished=True)


@contextmanager
def in_mid_write(code: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        yield process


def sizes(folder: Path) -> list[int]:
    """Returns the sizes of all files below a folder, apart from locks."""
    return sorted(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "lock")
    )


@pytest.mark.parametrize("existing", ["", "m"])
@pytest.mark.parametrize(("code", "again"), [(TRY, try_again), (RESUME, write_again)])
def test_a_process_killed_in_mid_write_leaves_nothing_for_good(
    tmp_path: Path, existing: str, code: str, again: Callable[[Path], None]
) -> None:
    (tmp_path / existing).mkdir(exist_ok=True)
    with in_mid_write(code, tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert sizes(tmp_path), "something is left"
    again(tmp_path)
    assert sizes(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} <= {existing}


@pytest.mark.parametrize(("code", "again"), [(TRY, try_again), (RESUME, write_again)])
def test_what_a_living_process_writes_stays(tmp_path: Path, code: str, again: Callable[[Path], None]) -> None:
    with in_mid_write(code, tmp_path) as process:
        before = sizes(tmp_path)
        again(tmp_path)
        assert sizes(tmp_path) == before
        process.communicate(b"")
        assert process.returncode == 0


def test_a_trial_in_the_store_goes_though_the_model_is_there_now(tmp_path: Path) -> None:
    with in_mid_write(TRY, tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    (tmp_path / "m").mkdir()
    try_again(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_another_made_is_left_alone(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (away / "lock").write_text("")
    (away / "precious").write_text("")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / ".x-0123456789abcdef").symlink_to(away)
    (inside / ".x-notes").mkdir()
    (inside / ".x-0123456789abcdee").mkdir()
    (inside / ".x-0123456789abcdee" / "unlocked").write_text("no process of ours made this")
    (inside / ".x-0123456789abcdea").mkdir()  # killed before the lock
    remove_abandoned(inside, ".x-")
    assert {path.name for path in inside.iterdir()} == {".x-0123456789abcdef", ".x-notes", ".x-0123456789abcdee"}
    assert sizes(away) == [0]
    assert (away / "precious").exists()


def test_a_failed_write_removes_its_folder(tmp_path: Path) -> None:
    def fail() -> None:
        with unfinished_folder(tmp_path, ".x-") as folder:
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert list(tmp_path.iterdir()) == []
    remove_abandoned(tmp_path / "absent", ".x-")
