"""Triton's clients give up in time while the server's worker stands still, and get answers after that."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from client_runs import run_client
from served_models import MODELS, check_outputs
from serving import running

from benchmarks.process import free_port
from models.store import Store

LATE_SECONDS = 20  # a request has a deadline of half a second here


def test_a_timeout_ends_a_request_at_the_client_and_at_the_server(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for name, checkpoint in MODELS.items():
        store.publish(name, checkpoint)
    grpc_port = free_port()
    with running(store.root, tmp_path, hang_seconds=60, grpc_port=grpc_port) as server:
        http = f"127.0.0.1:{server.port}"
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        try:
            reports = run_client("triton_impatient", http, f"127.0.0.1:{grpc_port}", module="tritonclient")
        finally:
            os.kill(worker, signal.SIGCONT)
        for call, report in reports.items():
            assert report is not None, f"{call}: no error"
            assert report["seconds"] < LATE_SECONDS, call
        assert "timed out" in reports["http, the client's"]["message"]
        assert "[504]" in reports["http, the server's"]["message"]
        assert "DEADLINE_EXCEEDED" in reports["grpc"]["message"], "by one of the two clocks"
        check_outputs("colours", run_client("triton_http", http, module="tritonclient")["binary colours"])
