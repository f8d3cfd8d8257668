"""Free CPUs: the CPUs that this process may use and that no other process uses.

Three limits apply: the CPUs on which the process may run (its affinity), the quota of its control group (set by
`docker run --cpus`), and the present work of other processes on these CPUs. The kernel's idle counters show the last;
if they cannot be read, the load average does. The load average alone is a minute late: after one training run, it would
leave no CPU for the next run.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_SAMPLE_SECONDS = 0.2  # 20 ticks of the kernel's clock
_SLACK = 0.3  # share of a CPU for the background work of an idle machine


def free_cpus(
    *,
    root: Path = Path("/"),
    allowed: Iterable[int] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Returns the number of CPUs that are free for this process, at least 1. Takes a fifth of a second.

    Args:
        root: folder that contains `proc` and `sys`.
        allowed: numbers of the CPUs on which the process may run; None to ask the kernel.
        sleep: function that waits for a number of seconds, between two reads of the kernel's counters.
    """
    cpus = sorted(_affinity() if allowed is None else allowed)
    most = min(float(len(cpus)), _quota(root))
    if most < 2:
        return 1
    idle = _idle(root, cpus, sleep)
    if idle is None:
        idle = len(cpus) - _load(root)
    return max(1, math.floor(min(most, idle + _SLACK)))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _idle(root: Path, cpus: list[int], sleep: Callable[[float], None]) -> float | None:
    """Returns the sum of the CPUs' idle shares over a short time; None without counters of the kernel."""
    before = _ticks(root)
    sleep(_SAMPLE_SECONDS)
    after = _ticks(root)
    idle = 0.0
    for cpu in cpus:
        if cpu not in before or cpu not in after:
            return None
        passed = after[cpu][1] - before[cpu][1]
        if passed <= 0:  # in some sandboxes, the counters never change
            return None
        idle += (after[cpu][0] - before[cpu][0]) / passed
    return idle


def _ticks(root: Path) -> dict[int, tuple[int, int]]:
    """Returns idle ticks and all ticks of each CPU since the machine started; empty if unreadable."""
    ticks = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/stat").read_text(encoding="ascii").splitlines():
            name, *counts = line.split()
            if name.startswith("cpu") and name != "cpu":
                # user nice system idle iowait irq softirq steal; user includes the time of guests
                numbers = [int(count) for count in counts[:8]]
                ticks[int(name[3:])] = (sum(numbers[3:5]), sum(numbers))
    return ticks


def _load(root: Path) -> float:
    """Returns the number of running or waiting processes, averaged over the last minute; 0 if unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return float((root / "proc/loadavg").read_text(encoding="ascii").split()[0])
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return 0.0


def _quota(root: Path) -> float:
    """Returns the CPU quota of the control group and its parents, in CPUs; infinite without a quota."""
    quota = math.inf
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                quota = min([quota, *(_quota_v2(folder) for folder in _upwards(root / "sys/fs/cgroup", path))])
            elif "cpu" in controllers.split(","):
                mount = root / "sys/fs/cgroup" / controllers
                mount = mount if mount.is_dir() else root / "sys/fs/cgroup/cpu"
                quota = min([quota, *(_quota_v1(folder) for folder in _upwards(mount, path))])
    return quota


def _upwards(mount: Path, path: str) -> list[Path]:
    """Returns the folders of a control group and its parents. Inside a container, the mount itself is the group."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]


def _quota_v2(folder: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        most, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return math.inf if most == "max" else int(most) / int(period)
    return math.inf


def _quota_v1(folder: Path) -> float:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        most = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        return math.inf if most <= 0 else most / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    return math.inf
