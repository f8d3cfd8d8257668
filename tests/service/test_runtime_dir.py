"""The runtime folder: no server that starts takes away the folder of another that starts at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.runtime_dir import make_runtime_dir
from tests.serving import ROOT

STARTERS, ROUNDS = 6, 20
START = """
import os, sys
from pathlib import Path
from service.runtime_dir import make_runtime_dir
for _ in range(int(sys.argv[2])):
    folder, lock = make_runtime_dir(Path(sys.argv[1]))
    assert (folder / "metrics").is_dir() and (folder / "lock").exists(), folder
    os.close(lock)  # as if killed: the next start removes the folder
"""


@pytest.mark.slow
def test_servers_that_start_at_once_each_get_a_folder_of_their_own(short_folder: Path) -> None:
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(short_folder), str(ROUNDS)], cwd=ROOT, stderr=subprocess.PIPE
        )
        for _ in range(STARTERS)
    ]
    errors = [start.communicate()[1].decode() for start in starts]
    assert errors == [""] * STARTERS


def test_a_folder_in_use_stays_and_that_of_a_killed_server_goes(short_folder: Path) -> None:
    used, lock = make_runtime_dir(short_folder)
    left, killed = make_runtime_dir(short_folder)
    os.close(killed)
    new, another = make_runtime_dir(short_folder)
    assert sorted(short_folder.iterdir()) == sorted([used, new])
    assert not left.exists()
    os.close(lock)
    os.close(another)
