"""Signals stop the server at any moment: sent to one process or to all, and with the server as PID 1."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import ROOT, Server, http_get, http_post, parent_of, wait_until

from models.store import Store

pytestmark = pytest.mark.slow

BODY = {"model": "price", "instances": [[100, 3]]}
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AS_PID_1 = ("unshare", "--pid", "--fork", "--mount-proc")
prefixes = pytest.mark.parametrize(
    "prefix",
    [
        pytest.param((), id="a process"),
        pytest.param(
            AS_PID_1,
            id="PID 1",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root"),
        ),
    ],
)


def launch(server: Server, folder: Path, prefix: tuple[str, ...] = ()) -> None:
    """Starts a server in a process group of its own, without waiting."""
    with (folder / "server.log").open("wb") as log:
        server.process = subprocess.Popen(
            [*prefix, sys.executable, *server.command],
            cwd=ROOT,
            env=server.environment,
            stderr=log,
            start_new_session=True,
        )


def main_pid(server: Server) -> int:
    """Returns the id of the main process, which may be a child of `unshare`."""
    assert server.process is not None
    commands = server.processes()
    if "unshare" not in commands.get(server.process.pid, ""):
        return server.process.pid
    [pid] = [pid for pid in commands if parent_of(pid) == server.process.pid]
    return pid


@prefixes
@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_a_signal_while_it_imports_is_obeyed_at_once(
    store: Store, tmp_path: Path, prefix: tuple[str, ...], signum: signal.Signals
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    # This executable comes before the real one in the path, and is slow.
    (modules / "litserve.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('imported').touch()\ntime.sleep(3600)\n"
    )
    server = Server(store.root, tmp_path)
    server.environment["PYTHONPATH"] = str(modules)
    try:
        launch(server, tmp_path, prefix)
        wait_until((modules / "imported").exists, server.log)
        asked = time.monotonic()
        os.kill(main_pid(server), signum)
        server.ended(0)
        assert time.monotonic() - asked < 5
        assert not server.log()
    finally:
        server.kill()


def test_sighup_drains_readiness_says_no_first_and_answers_go_on(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path, drain_seconds=2, api_processes=2)
    try:
        server.start()
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: http_get(f"{server.url}/health/ready").status_code == 503, server.log)
        assert http_post(f"{server.url}/predict", json=BODY).status_code == 200
        assert http_get(f"{server.url}/health/live").status_code == 200
        server.ended(0)
    finally:
        server.kill()


def test_sighup_stops_nothing_that_nohup_started(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path)
    try:
        server.start(("nohup",))
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        for pid in server.processes():
            os.kill(pid, signal.SIGHUP)
        assert http_get(f"{server.url}/health/ready").status_code == 200
        server.stop()
    finally:
        server.kill()


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_a_signal_to_all_processes_drains_as_one_to_the_main_process_does(
    store: Store, tmp_path: Path, signum: signal.Signals
) -> None:
    """Sends the signal to all processes, as a terminal does for its foreground and systemd for a service."""
    server = Server(store.root, tmp_path, drain_seconds=1, api_processes=2)
    try:
        launch(server, tmp_path)
        wait_until(server.ready, server.log)
        body = json.dumps(BODY).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stream:
            stream.sendall(head + body[:-5])
            assert server.process is not None
            os.killpg(server.process.pid, signum)
            wait_until(lambda: http_get(f"{server.url}/health/ready").status_code == 503, server.log)
            stream.sendall(body[-5:])
            assert stream.recv(65536).startswith(b"HTTP/1.1 200"), "its worker is still there"
        server.ended(0)
        assert "Traceback" not in server.log()
    finally:
        server.kill()


@prefixes
@pytest.mark.parametrize("moment", ["launched", "listening", "ready"])
def test_a_storm_of_signals_ends_it_with_0_or_1(
    store: Store, tmp_path: Path, prefix: tuple[str, ...], moment: str
) -> None:
    rng = random.Random(moment)
    server = Server(store.root, tmp_path, api_processes=2, drain_seconds=0.3)
    try:
        launch(server, tmp_path, prefix)
        assert server.process is not None
        match moment:
            case "launched":
                wait_until(lambda: any(server.runtime_dir.iterdir()), server.log)
            case "listening":
                wait_until(lambda: "serving" in server.log(), server.log)
            case _:
                wait_until(server.ready, server.log)
        main = main_pid(server)
        try:
            for _ in range(300):  # the first begins the draining, and the rest come during the draining
                os.kill(main, rng.choice(STOP_SIGNALS))
                time.sleep(rng.uniform(0, 0.005))
        except ProcessLookupError:
            pass
        assert server.process.wait(60) in (0, 1), server.log()
        server.ended(server.process.returncode)
        assert "Traceback" not in server.log()
    finally:
        server.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_as_pid_1_it_reaps_the_orphans_of_a_killed_host(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path)
    try:
        launch(server, tmp_path, AS_PID_1)
        wait_until(server.ready, server.log)
        main = main_pid(server)

        def children() -> dict[int, str]:
            found = {}
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
                except OSError:
                    continue
                if int(parent) == main:
                    found[int(stat.parent.name)] = state
            return found

        [host] = server.host_pids()
        [worker] = server.worker_pids()
        os.kill(host, signal.SIGKILL)
        wait_until(lambda: not {host, worker} & children().keys(), lambda: f"{children()}\n{server.log()}")
        wait_until(server.ready, server.log)
        os.kill(main, signal.SIGTERM)
        server.ended(0)
    finally:
        server.kill()
