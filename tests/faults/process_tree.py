"""A server's processes by role: main, worker hosts, their workers, the fork server, API processes."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from serving import Server, process_name, wait_until


@dataclass(frozen=True)
class ProcessTree:
    """Process ids by role; a worker is a host's child."""

    main: int
    hosts: frozenset[int]
    workers: frozenset[int]
    apis: frozenset[int]
    fork_server: int

    @classmethod
    def of(cls, server: Server) -> Self:
        """Returns the present processes; the id of a missing process is 0."""
        commands = server.processes()
        children: dict[int, list[int]] = defaultdict(list)
        for pid in commands:
            children[_parent(pid)].append(pid)
        assert server.process is not None
        main = server.process.pid
        if "unshare" in commands.get(main, ""):
            [main] = children[main]
        hosts = {pid for pid in children[main] if process_name(pid).startswith("axon-host-")}
        workers = {pid for host in hosts for pid in children[host] if process_name(pid).startswith("axon-worker-")}
        return cls(
            main=main if main in commands else 0,
            hosts=frozenset(hosts),
            workers=frozenset(workers),
            apis=frozenset(pid for pid in commands if process_name(pid).startswith("axon-api-")),
            fork_server=sum(pid for pid in children[main] if process_name(pid) == "axon-forkserver"),
        )

    def has_roles_of(self, other: ProcessTree) -> bool:
        """Returns True if both have the same number of processes in each role."""
        return (
            len(self.hosts) == len(other.hosts)
            and len(self.workers) == len(other.workers)
            and len(self.apis) == len(other.apis)
            and bool(self.main) == bool(other.main)
        )


def kill(pid: int) -> None:
    """Kills a process with SIGKILL."""
    assert pid, "it is not there"
    os.kill(pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """Returns True if a process has ended and was reaped."""
    return not Path(f"/proc/{pid}").exists()


def wait_for_roles(server: Server, before: ProcessTree) -> ProcessTree:
    """Waits until each role has as many processes as before, and the server is ready."""
    wait_until(
        lambda: ProcessTree.of(server).has_roles_of(before) and server.ready(),
        lambda: f"{ProcessTree.of(server)}\n{server.log()}",
    )
    return ProcessTree.of(server)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:  # it has ended meanwhile
        return 0
