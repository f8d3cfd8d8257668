"""300 models in a memory limit that holds 50: each is answered, and the workers' memory stays bounded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from many_models import ManyModels, in_memory, memory_metric
from serving import Server, http_get, running

pytestmark = pytest.mark.faults

MODELS, HELD, CLIENTS = 300, 50, 64
_HIDDEN = 256
# What an allocator may keep beyond the networks; without a limit, the worker would grow by 140 MB.
_ALLOCATOR_BYTES = 64 << 20


def worker_bytes(server: Server) -> int:
    """Returns the private memory of the worker that uses most."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in server.worker_pids())
    return max(
        1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_")) for text in texts
    )


@pytest.mark.parametrize(("workers", "api_processes"), [(1, 1), (2, 2)])
def test_300_models_in_a_limit_that_holds_50_are_all_answered(tmp_path: Path, workers: int, api_processes: int) -> None:
    models = ManyModels(tmp_path, MODELS, _HIDDEN)
    limit = HELD * models.network_bytes
    with running(
        models.store.root, tmp_path, workers=workers, api_processes=api_processes, model_memory_bytes=limit
    ) as server:
        before = worker_bytes(server)
        began = time.monotonic()
        assert models.ask(server, CLIENTS, 1) == []
        seconds = time.monotonic() - began
        held = memory_metric(server, "_bytes", "worker")
        used = worker_bytes(server) - before
        loads = memory_metric(server, "_loads_total", "worker")
        print(  # noqa: T201
            f"{MODELS * CLIENTS} requests in {seconds:.1f} s, {loads:.0f} loads; {len(list(in_memory(server)))} "
            f"in memory, {held / 1e6:.1f} MB of {limit / 1e6:.1f} MB; the worker grew by {used / 1e6:.1f} MB"
        )
        assert memory_metric(server, "_evictions_total", "worker") >= MODELS - HELD
        assert used < _ALLOCATOR_BYTES
        assert http_get(f"{server.url}/health/ready").status_code == 200
