"""`make bench` runs: a short round against the handler that a team would write, with nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_short_run_measures_both_servers_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("axon-bench-*"))
    command = [sys.executable, "-m", "benchmarks.bench", "--only", "axon", "fastapi", "--workloads", "tab-64"]
    command += ["--rounds", "1", "--seconds", "0.5", "--driver", "python", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "| axon |" in done.stdout
    measured = json.loads((tmp_path / "out.json").read_text())
    assert [m["server"] for m in measured] == ["axon", "fastapi"]
    assert all(m["load"]["answers"] > 0 and m["load"]["failed"] == 0 and m["cpu_seconds"] > 0 for m in measured)
    assert set(Path(tempfile.gettempdir()).glob("axon-bench-*")) == before
