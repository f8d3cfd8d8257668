"""The paths of the workers' Unix sockets."""

from __future__ import annotations

from pathlib import Path


def socket_path(runtime_dir: Path, worker: int) -> Path:
    """Returns the path of the socket on which a worker listens.

    Args:
        runtime_dir: folder that the server's processes share.
        worker: number of the worker.
    """
    return runtime_dir / f"worker-{worker}.sock"
