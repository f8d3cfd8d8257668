"""The workers' sockets: where each listens, and an API process or its host finds it."""

from __future__ import annotations

from pathlib import Path


def socket_path(runtime_dir: Path, worker: int) -> Path:
    """Where a worker listens."""
    return runtime_dir / f"worker-{worker}.sock"
