"""`make bench` runs: short rounds against the handler that a team would write, without leftover files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import profile

ROOT = Path(__file__).parents[2]
PROFILES = 5


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


def _tables(markdown: str) -> list[list[list[str]]]:
    """Returns the cells of each Markdown table, without the separator line."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", markdown, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]


@pytest.mark.slow
def test_a_short_run_measures_both_servers_judges_the_goals_and_leaves_nothing(
    tmp_path: Path, temporary_folder: Path
) -> None:
    done = _run(
        "benchmarks.bench",
        *(
            "--only",
            "axon",
            "fastapi",
            "axon-oip-binary",
            "grpc-echo",
            "--workloads",
            "tab-64",
            "tab-1",
            "--driver",
            "python",
        ),
        *("--rounds", "1", "--seconds", "0.3", "--warm-up", "0", "--idle", "0.2"),
        *("--json", str(tmp_path / "out.json")),
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "out.json").read_text())
    assert {(m["server"], m["workload"]) for m in measured["measurements"]} == {
        (server, workload)
        for server in ("axon", "fastapi", "axon-oip-binary", "grpc-echo")
        for workload in ("tab-64", "tab-1")
    }
    assert all(
        m["load"]["answers"] > 0 and m["load"]["failed"] == 0 and m["cpu_seconds"] > 0 for m in measured["measurements"]
    )
    assert all(f["start_seconds"] > 0 for f in measured["footprints"])
    [processes] = [f["memory"] for f in measured["footprints"] if f["server"] == "axon"]
    assert {"main", "forkserver", "log-relay", "host-0", "worker-0", "api-0"} == set(processes)
    for footprint in measured["footprints"]:
        for memory in footprint["memory"].values():
            assert memory["pss"] >= max(memory["private"], memory["anonymous"]) > 0
    *_, goals = tables = _tables(done.stdout)
    assert all(len(row) == len(table[0]) for table in tables for row in table)
    rates = {m["server"]: m["load"]["answers"] / m["load"]["seconds"] for m in measured["measurements"][::2]}
    _, figure, limit, verdict = next(row for row in goals if row[0] == "tab-64: requests/s over fastapi")
    assert float(figure.split()[0]) == pytest.approx(rates["axon"] / rates["fastapi"], abs=0.01)
    assert verdict == ("met" if float(figure.split()[0]) >= float(limit.split()[1]) else "NOT met")
    assert not list(temporary_folder.iterdir())


def test_a_sample_counts_for_its_innermost_part_and_a_wait_for_none() -> None:
    loop = [
        "Runner.run (asyncio/runners.py:118)",
        "uv__read (stream.c:1154)",
        "Link.data_received (service/batching/link.py:126)",
    ]
    answer = [*loop, "HttpProtocol.send (service/http/protocol.py:347)"]
    parts, functions = profile.count(
        f"{';'.join(stack)} {samples}"
        for stack, samples in (
            (loop, 1),
            (answer, 2),
            ([*answer, "write (libc.so.6)"], 4),
            ([*loop, "Link.send (service/batching/link.py:80)", "write (libc.so.6)"], 8),
            ([*loop[:2], "epoll_pwait (libc.so.6)"], 16),
            (["main (somebody/else.py:1)"], 32),
        )
    )
    assert parts == {
        "link and frames": 1,
        "answer": 2,
        "kernel: send": 4,
        "kernel: send, worker's stream": 8,
        "other": 32,
    }
    assert functions["HttpProtocol.send (service/http/protocol.py)"] == 6


@pytest.mark.slow
def test_a_profile_divides_each_process_s_time_into_its_parts(temporary_folder: Path) -> None:
    # Beside other work, the profiler may get too little of the processors for samples of every part.
    for _ in range(PROFILES):
        done = _run("benchmarks.profile", "--seconds", "1", "--driver", "python")
        if "Operation not permitted" in done.stderr or "Permission" in done.stderr:
            pytest.skip("py-spy may not look into other processes here")
        assert done.returncode == 0, done.stderr
        api, *_ = processes = re.findall(r"^## (\S+): ([\d.]+) µs a request$", done.stdout, re.MULTILINE)
        assert any(role.startswith("api-") for role, _ in processes)
        parts = _tables(done.stdout)[0][2:]
        if any(name.startswith("kernel: ") for name, *_ in parts):
            break
    assert sum(float(row[1]) for row in parts) == pytest.approx(float(api[1]), abs=0.01 * len(parts) + 0.1)
    assert any(name.startswith("kernel: ") for name, *_ in parts)
    assert not list(temporary_folder.iterdir())
