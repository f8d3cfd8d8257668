"""API processes that die or stop: each is replaced, and only its open requests are lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import (
    CHECKPOINTS,
    ROOT,
    Oracle,
    Server,
    http_get,
    http_post,
    metric_sum,
    parent_of,
    process_name,
    running,
    wait_until,
)

from models.store import Store
from service.access import new_key

ROW = [0.1, 0.2, 0.3, 0.4]
BODY = {"model": "colours", "instances": [ROW]}
EXPECTED = pytest.approx(Oracle(CHECKPOINTS["colours"])(ROW), abs=2e-5)


def predict(server: Server) -> list[float]:
    answer = http_post(f"{server.url}/predict", json=BODY, timeout=60)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["probabilities"][0])


def start_of(body: bytes) -> bytes:
    return b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)


def starts(server: Server) -> float:
    return metric_sum(server, "axon_api_process_starts_total")


def test_the_only_one_is_killed_and_its_successor_answers_who_waits(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server:
        assert predict(server) == EXPECTED
        [worker] = server.worker_pids()
        wait_until(lambda: metric_sum(server, "axon_rows_total") == 1, server.log)
        [api] = server.api_pids()
        fork_server = parent_of(api)
        os.kill(api, signal.SIGKILL)
        for _ in range(3):  # on new connections, the first of which wait in the kernel's queue
            assert predict(server) == EXPECTED
        assert http_get(f"{server.url}/health/ready").status_code == 200, "it accepts when it is ready"
        [successor] = server.api_pids()
        assert successor != api
        assert parent_of(successor) == fork_server
        assert process_name(successor) == "axon-api-0"
        assert server.worker_pids() == [worker]
        assert starts(server) == 2
        wait_until(lambda: metric_sum(server, "axon_rows_total") == 4, server.log)
        assert metric_sum(server, "axon_worker_starts_total") == 1


def test_a_killed_one_of_two_costs_its_own_connections_and_no_other(store: Store, tmp_path: Path) -> None:
    body = json.dumps(BODY).encode()
    with running(store.root, tmp_path, api_processes=2) as server:
        streams = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(8)]
        for stream in streams:
            stream.sendall(start_of(body) + body)
            assert stream.recv(65536).startswith(b"HTTP/1.1 200")
        # A process writes its counters every 50 ms, and those since the last time die with it.
        wait_until(lambda: metric_sum(server, "axon_rows_total") == 8, server.log)
        victim, sibling = server.api_pids()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(set(server.api_pids()) - {victim}) == 2, server.log)
        assert sibling in server.api_pids()
        kept = 0
        for stream in streams:
            try:
                stream.sendall(start_of(body) + body)
                received = stream.recv(65536)
            except ConnectionError:
                received = b""
            assert received.startswith(b"HTTP/1.1 200") or not received
            kept += bool(received)
            stream.close()
        assert 2 <= kept <= 6, "about half of them"
        wait_until(lambda: metric_sum(server, "axon_rows_total") == 8 + kept, server.log)
        assert starts(server) == 3


def test_none_says_ready_before_all_have_read_the_store(store: Store, tmp_path: Path) -> None:
    def reasons(server: Server) -> set[str]:
        """Returns why the processes that answer are not ready; a stopped one lets its connections wait."""
        found = set()
        for _ in range(4):
            try:
                answer = http_get(f"{server.url}/health/ready", timeout=0.5)
            except httpx.TransportError:  # the server does not listen yet, or the stopped process has the connection
                continue
            found.add(answer.json()["reason"] or "ready")
        return found

    def some_wait(server: Server) -> bool:
        found = reasons(server)
        assert "ready" not in found
        return "other API processes have not yet read the store" in found

    server = Server(store.root, tmp_path, api_processes=3)
    log = tmp_path / "server.log"
    try:
        with log.open("wb") as stream:
            server.process = subprocess.Popen(
                [sys.executable, *server.command], cwd=ROOT, env=server.environment, stderr=stream
            )
        wait_until(lambda: bool(server.api_pids()), server.log)
        [late, *_] = server.api_pids()
        os.kill(late, signal.SIGSTOP)
        try:
            wait_until(lambda: some_wait(server), server.log)
        finally:
            os.kill(late, signal.SIGCONT)
        wait_until(server.ready, server.log)
        assert [http_get(f"{server.url}/health/ready").status_code for _ in range(20)] == [200] * 20
        server.stop()
    finally:
        server.kill()


def test_a_stopped_one_is_killed_and_replaced(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, hang_seconds=1) as server:
        [api] = server.api_pids()
        os.kill(api, signal.SIGSTOP)
        assert predict(server) == EXPECTED
        assert api not in server.api_pids()
        assert "an API process hung; killed" in server.log()


def test_one_that_cannot_start_again_ends_the_server_with_1_and_a_sentence(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path, api_processes=2)
    try:
        server.start()
        victim, sibling = server.api_pids()
        [metrics] = server.runtime_dir.glob("axon-run-*/metrics")
        metrics.rename(metrics.with_name("moved"))  # the successor cannot write its files
        os.kill(victim, signal.SIGKILL)
        assert predict(server) == EXPECTED
        assert sibling in server.api_pids()
        server.ended(1)
        assert "API process could not start" in server.log()
        assert "api-0 could not start 6 times in a row" in server.log()
    finally:
        server.kill()


def test_sigterm_right_after_a_kill_answers_who_has_connected_and_ends_with_0(store: Store, tmp_path: Path) -> None:
    body = json.dumps(BODY).encode()
    server = Server(store.root, tmp_path, drain_seconds=0.2)
    try:
        server.start()
        assert server.process is not None
        [api] = server.api_pids()
        os.kill(api, signal.SIGSTOP)  # so that the connection waits in the kernel's queue
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stream:
            stream.sendall(start_of(body) + body)
            os.kill(api, signal.SIGKILL)
            server.process.send_signal(signal.SIGTERM)
            assert stream.recv(65536).startswith(b"HTTP/1.1 200"), server.log()
        server.ended(0)
        assert "Traceback" not in server.log()
    finally:
        server.kill()


def test_a_successor_is_no_door_for_a_key_that_was_withdrawn(store: Store, tmp_path: Path) -> None:
    (old, old_line), (new, new_line) = new_key("old", "predict,read"), new_key("new", "predict,read")
    keys = tmp_path / "keys"
    keys.write_text(f"{old_line}\n")
    with running(store.root, tmp_path, api_keys_file=keys, reload_seconds=3600) as server:

        def status(secret: str) -> int:
            headers = {"Authorization": f"Bearer {secret}"}
            return http_post(f"{server.url}/predict", json=BODY, headers=headers, timeout=60).status_code

        assert status(old) == 200
        keys.write_text(f"{new_line}\n")
        [api] = server.api_pids()
        os.kill(api, signal.SIGKILL)
        assert status(old) == 401
        assert status(new) == 200
