"""A server's processes by what they are: main, LitServe's manager, worker hosts, their workers, API processes."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from serving import Server, wait_until


@dataclass(frozen=True)
class Family:
    """Process ids. A host is what LitServe spawns and restarts; a worker is its child, and serves."""

    main: int
    manager: int
    hosts: frozenset[int]
    workers: frozenset[int]
    apis: frozenset[int]

    @classmethod
    def of(cls, server: Server) -> Self:
        """As they are now; an id of 0 is one that is not there."""
        commands = server.processes()
        children: dict[int, list[int]] = defaultdict(list)
        for pid in commands:
            children[_parent(pid)].append(pid)
        assert server.process is not None
        main = server.process.pid
        if "unshare" in commands.get(main, ""):
            [main] = children[main]
        hosts = {pid for pid in children[main] if "spawn_main" in commands[pid]}
        forked = {pid for pid in children[main] if commands[pid] == commands.get(main)}
        apis = {pid for pid in forked if _polls(pid)}
        return cls(
            main=main if main in commands else 0,
            manager=next(iter(forked - apis), 0),
            hosts=frozenset(hosts),
            workers=frozenset(child for host in hosts for child in children[host] if commands[child] == commands[host]),
            apis=frozenset(apis),
        )

    def is_like(self, other: Family) -> bool:
        """Whether there are as many of each kind."""
        return (
            len(self.hosts) == len(other.hosts)
            and len(self.workers) == len(other.workers)
            and len(self.apis) == len(other.apis)
            and bool(self.manager) == bool(other.manager)
            and bool(self.main) == bool(other.main)
        )


def kill(pid: int) -> None:
    """`kill -9`."""
    assert pid, "it is not there"
    os.kill(pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """Whether a process has ended and been collected."""
    return not Path(f"/proc/{pid}").exists()


def complete(server: Server, before: Family) -> Family:
    """Waits until there are as many of each kind as there were, and readiness says yes."""
    wait_until(
        lambda: Family.of(server).is_like(before) and server.ready(), lambda: f"{Family.of(server)}\n{server.log()}"
    )
    return Family.of(server)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:  # it has just ended
        return 0


def _polls(pid: int) -> bool:
    """Whether it has an event loop: of the forked processes, only those that speak HTTP do."""
    try:
        return any("anon_inode:[eventpoll]" in str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
