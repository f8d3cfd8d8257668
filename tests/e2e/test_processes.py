"""The processes of a server: each has its work, only hosts and workers have torch, and only API processes listen."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from pathlib import Path

from serving import Server, http_post, parent_of, process_name, running, wait_until

from models.store import Store

BODY = {"model": "price", "instances": [[100, 3]]}


def children_names(server: Server) -> Counter[str]:
    """Returns how many processes have each name, without the main process."""
    assert server.process is not None
    return Counter(process_name(pid) for pid in server.processes() if pid != server.process.pid)


def libraries(pid: int) -> set[str]:
    """Returns the names of the files that a process has mapped."""
    lines = (line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
    return {Path(fields[5]).name for fields in lines if len(fields) == 6 and fields[5].startswith("/")}


def listens(pid: int, port: int) -> bool:
    """Returns True if a process has a descriptor of the socket that listens on a port."""
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
            listening.add(f"socket:[{fields[9]}]")
    assert listening
    found = False
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            found |= str(descriptor.readlink()) in listening
    return found


def megabytes(pid: int) -> dict[str, float]:
    """Returns the memory of a process, by the kernel's names for its kinds."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(size) / 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB$", rollup, re.MULTILINE)}


def test_every_process_has_its_work_and_only_hosts_and_workers_have_torch(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, api_processes=2, workers=2) as server:
        assert server.process is not None
        work = ("host", "worker", "api")
        assert children_names(server) == {f"axon-{name}-{n}": 1 for name in work for n in range(2)} | {
            "axon-log-relay": 1,
            "axon-forkserver": 1,
        }
        with_torch = {pid for pid in server.processes() if "libtorch_cpu.so" in libraries(pid)}
        assert with_torch == {*server.host_pids(), *server.worker_pids()}
        # The sockets of the others would keep the port busy after the server's end.
        with_port = {pid for pid in server.processes() if listens(pid, server.port)}
        [fork_server] = {parent_of(pid) for pid in server.api_pids()}
        assert process_name(fork_server or 0) == "axon-forkserver"
        assert with_port == {server.process.pid, fork_server, *server.api_pids()}


def test_a_host_is_a_fork_of_the_main_process_and_its_successor_a_process_of_its_own(
    store: Store, tmp_path: Path
) -> None:
    with running(store.root, tmp_path) as server:
        assert server.process is not None
        main = server.process.pid
        [host], [worker] = server.host_pids(), server.worker_pids()
        commands = server.processes()
        assert commands[host] == commands[worker] == commands[main], "it shares what the main process has imported"
        assert (parent_of(host), parent_of(worker)) == (main, host)
        os.kill(host, signal.SIGKILL)
        wait_until(lambda: not {host, worker} & server.processes().keys(), server.log)
        wait_until(lambda: bool(server.worker_pids()) and server.ready(), server.log)
        [successor] = server.host_pids()
        assert "spawn_main" in server.processes()[successor], "the main process has threads now, and forks no more"
        assert not listens(successor, server.port)
        assert http_post(f"{server.url}/predict", json=BODY).status_code == 200


def test_a_worker_s_successor_is_forked_by_the_same_host(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server:
        [host], [worker] = server.host_pids(), server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: server.worker_pids() not in ([], [worker]) and server.ready(), server.log)
        assert server.host_pids() == [host]
        [successor] = server.worker_pids()
        assert parent_of(successor) == host
        assert http_post(f"{server.url}/predict", json=BODY).status_code == 200


def test_processes_share_most_of_their_memory_and_hosts_keep_no_pages_of_libraries(
    store: Store, tmp_path: Path
) -> None:
    with running(store.root, tmp_path) as server:
        assert server.process is not None
        [api], [host], [worker] = server.api_pids(), server.host_pids(), server.worker_pids()
        for pid in (server.process.pid, api, host, worker):
            memory = megabytes(pid)
            # A garbage collection in a fork would copy two thirds.
            assert memory["Private_Dirty"] < 0.55 * memory["Anonymous"], process_name(pid)
        memory = megabytes(host)
        assert memory["Rss"] - memory["Anonymous"] < 20, "torch's libraries have 80 MB that only an import uses"
