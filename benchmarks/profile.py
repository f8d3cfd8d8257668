"""A profile of a request: `python -m benchmarks.profile`, in CPU µs per request, for each busy process of a server.

First the server is loaded without a profiler, which gives the CPU seconds of each process over answered requests. Then
py-spy samples the stacks of the busy processes, with native frames, under the same load. The shares of the samples
divide the first figure. A stack counts for its innermost frame that belongs to a part (`PARTS`); waiting is left out.
py-spy also samples a process that the scheduler has moved off its core inside a call, so on a busy machine `send` looks
longer than it is; the kernel's own account shows the truth. `--tree` profiles another working tree, for a comparison of
before and after.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.core import CORE, PROTOCOLS, axon
from benchmarks.load import DRIVERS, available_drivers, drive
from benchmarks.measure import WORKLOADS, check_answers, make_request_rows, server_load
from benchmarks.peer import ROOT, Peer
from benchmarks.process import MeasuredServer, cpu_seconds, system_seconds

BUSY_CORES = 0.02  # processes that use less of a core under load are left out
FUNCTIONS_SHOWN = 12

_SERVICE = r"service/(?:\w+/)*"  # `--tree` may be older than the packages of the service

# A py-spy frame is "name (file:line)"; the first pattern that matches decides. Modules of Axon without a pattern here
# are parts under their own names.
PARTS = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"^\w*(?:send|sendmsg|write|writev|sendto)(?:64)? \(lib(?:c|pthread)", "kernel: send"),
        (r"^\w*(?:recv|recvmsg|read|readv|recvfrom)(?:64)? \(lib(?:c|pthread)", "kernel: receive"),
        (r"^(?:gc_collect|_PyGC_|gc_)\w* \(", "garbage collector"),
        (r"^(?:parser_cb|llhttp|HttpParser|feed_data)\w* \(|\(httptools/", "HTTP parser"),
        (rf"\({_SERVICE}request_ids\.py", "request id"),
        (
            r"^\S*(?:\.send|\.respond|\._(?:end|respond)|AnswerWriter|JsonWriter\S*|\.writer|_write_\w+) "
            rf"\({_SERVICE}(?:http_|protocol|routes/|predict_endpoint|ans|wire/)",
            "answer",
        ),
        (rf"\({_SERVICE}(?:json_answers|answer_heads|answers?)\.py", "answer"),
        (r"^(?:Http)?Prediction\.answered \(", "answer"),
        (r"^\S*(?:on_body|add_body|finish_body|_parse\w*|_shell|_read_body) \(service/", "body"),
        (rf"\({_SERVICE}(?:bodies|body|parsing|numbers|json_\w+)\.py", "body"),
        (rf"\({_SERVICE}(?:(?:http_)?protocol|exchange|connection_watch)\.py|\(uvicorn/protocols/", "HTTP protocol"),
        (r"\(models/(?:columns/)?(?:encoding|cells|cell_\w+|column_encoding)\.py", "rows to float32"),
        (
            rf"\({_SERVICE}(?:batcher|deadlines|pace|service_time|ticket|version_queue|batch)\.py",
            "batcher and deadlines",
        ),
        (rf"\({_SERVICE}(?:link|frames|keys)\.py", "link and frames"),
        (rf"\({_SERVICE}(?:frame_server|fault_isolation)\.py", "frame server"),
        (
            rf"\({_SERVICE}worker\.py|\((?:service/)?inference/\w+\.py|\(torch/",
            "forward pass",
        ),
        (r"\(service/metrics\.py|\(prometheus_client/", "metrics"),
        (rf"\({_SERVICE}(?:routes/predict|predict_endpoint|admission)\.py", "endpoint"),
        (rf"\({_SERVICE}catalog\.py|\(models/(?:store|checkpoint)\.py", "catalog"),
        (r"\(pydantic|\(fastapi/|\(starlette/", "framework"),
        (
            r"^(?:uv_|Loop__|UVStream|UVHandle|loop___|run_forever|run_until)\w*|\(uvloop/|\(asyncio/|\(selectors",
            "event loop",
        ),
    )
)
_LINK = re.compile(rf"\({_SERVICE}link\.py")
_KERNEL = ("kernel: send", "kernel: receive")
_MODULE = re.compile(r"\((?:service|models|inference|benchmarks|litserve)/([\w/]+)\.py")
_PYTHON = re.compile(r"^(\S+) \(([\w./-]+\.py):\d+\)$")
_WAITS = re.compile(
    r"^(?:epoll_|select|poll|futex|sem_|pthread_cond_|PyThread_acquire_lock|take_gil|clock_nanosleep|wait4)"
)


@dataclass(frozen=True)
class ProcessProfile:
    """One process: CPU time per request, and its samples by part and by innermost Python function.

    Attributes:
        role: role of the process.
        microseconds: user and system time per request.
        system_microseconds: system time per request by the kernel's own account, to check the samples.
        parts: number of samples by part.
        functions: number of samples by function.
    """

    role: str
    microseconds: float
    system_microseconds: float
    parts: Counter[str]
    functions: Counter[str]


def part_of(stack: list[str]) -> str | None:
    """Returns the part that a stack (innermost frame last) counts for; None if the stack waits."""
    for frame in reversed(stack):
        if _WAITS.match(frame):
            return None
        for pattern, part in PARTS:
            if pattern.search(frame):
                worker_s = part in _KERNEL and _LINK.search(function_of(stack)) is not None
                return f"{part}, worker's stream" if worker_s else part
        module = _MODULE.search(frame)
        if module is not None:
            return module[1]
    return "other"


def function_of(stack: list[str]) -> str:
    """Returns the innermost Python function of a stack, with its file."""
    for frame in reversed(stack):
        found = _PYTHON.match(frame)
        if found is not None:
            return f"{found[1]} ({found[2]})"
    return "native"


def count(raw: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Counts samples by part and by function in py-spy's raw lines: frames joined by semicolons, a space, a count."""
    parts: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in raw:
        frames, _, samples = line.rpartition(" ")
        stack = frames.split(";")
        part = part_of(stack)
        if part is not None:
            parts[part] += int(samples)
            functions[function_of(stack)] += int(samples)
    return parts, functions


def profile(
    peer: Peer, workload_name: str, driver: str, seconds: float, rate: int
) -> tuple[float, list[ProcessProfile]]:
    """Returns the requests per second without the profiler, and the profile of each busy process.

    Raises:
        RuntimeError: the server, the load or py-spy failed.
    """
    workload = WORKLOADS[workload_name]
    rows = make_request_rows(workload.model, workload.rows)
    with (
        tempfile.TemporaryDirectory(prefix="axon-bench-") as name,
        MeasuredServer(peer, workload.model) as server,
    ):
        folder = Path(name)
        server.wait_until_it_answers(peer.wire.encode(rows))
        if peer.answers:
            check_answers(server, workload.model)
        load = server_load(server, rows, workload)
        drive(driver, load, min(1.0, seconds), folder)  # warm-up
        before = {pid: cpu_seconds(pid) for pid in server.pids()}
        system_before = {pid: system_seconds(pid) for pid in before}
        result = drive(driver, load, seconds, folder)
        used = {pid: cpu_seconds(pid) - cpu for pid, cpu in before.items()}
        in_kernel = {pid: system_seconds(pid) - cpu for pid, cpu in system_before.items()}
        busy = [pid for pid, cpu in used.items() if cpu > BUSY_CORES * result.seconds]
        done = threading.Event()

        def keep_busy() -> None:
            while not done.is_set():
                drive(driver, load, seconds, folder)

        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(keep_busy)
            try:
                sampled = _sample(busy, seconds, rate, folder)
            finally:
                done.set()
            loading.result()
        to_microseconds = 1e6 / result.answers
        profiles = [
            ProcessProfile(
                server.role(pid),
                used[pid] * to_microseconds,
                in_kernel[pid] * to_microseconds,
                *count(sampled[pid]),
            )
            for pid in busy
        ]
    return result.answers / result.seconds, sorted(profiles, key=lambda p: -p.microseconds)


def _sample(pids: list[int], seconds: float, rate: int, folder: Path) -> dict[int, list[str]]:
    """Runs py-spy on all processes at once; returns its raw lines for each process."""
    py_spy = shutil.which("py-spy", path=sysconfig.get_path("scripts"))
    if py_spy is None:
        raise RuntimeError("py-spy is not installed in this environment")
    running = {}
    for pid in pids:
        command = [py_spy, "record", "--native", "--format", "raw", "--output", str(folder / f"{pid}.raw")]
        command += ["--rate", str(rate), "--duration", str(max(1, round(seconds))), "--pid", str(pid)]
        running[pid] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for process in running.values():
        said, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"py-spy: {said}")
    return {pid: (folder / f"{pid}.raw").read_text().splitlines() for pid in pids}


def table(profile: ProcessProfile) -> list[str]:
    """Returns Markdown lines for one process; the parts add up to its total."""
    lines = [
        f"## {profile.role}: {profile.microseconds:.1f} µs a request",
        "",
        f"Of which {profile.system_microseconds:.1f} µs in the kernel, by its own account.",
        "",
        "| part | µs a request | share |",
        "|---|--:|--:|",
    ]
    lines += _rows(profile, profile.parts.most_common())
    lines += ["", f"By innermost Python function, the first {FUNCTIONS_SHOWN}:", ""]
    lines += ["| function | µs a request | share |", "|---|--:|--:|"]
    return [*lines, *_rows(profile, profile.functions.most_common(FUNCTIONS_SHOWN)), ""]


def _rows(profile: ProcessProfile, counted: list[tuple[str, int]]) -> list[str]:
    total = max(sum(profile.parts.values()), 1)
    return [
        f"| {name} | {profile.microseconds * samples / total:.2f} | {samples / total:.1%} |"
        for name, samples in counted
    ]


def main(argv: list[str] | None = None) -> int:
    """Profiles a server and prints the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", choices=[*CORE, *PROTOCOLS], default="axon", help="[axon]")
    parser.add_argument("--tree", type=Path, default=ROOT, help="working tree whose Axon is profiled [this one]")
    parser.add_argument("--workload", choices=WORKLOADS, default="tab-64", help="[tab-64]")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of load, and of sampling [10]")
    parser.add_argument("--rate", type=int, default=200, help="samples a second [200]")
    parser.add_argument("--driver", choices=DRIVERS, default=available_drivers()[0], help="[the first installed]")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server outlives the benchmark
    peer = axon(tree=arguments.tree.resolve()) if arguments.server == "axon" else (CORE | PROTOCOLS)[arguments.server]
    try:
        per_second, profiles = profile(peer, arguments.workload, arguments.driver, arguments.seconds, arguments.rate)
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{peer.name}, {arguments.workload}, {per_second:,.0f} requests/s by `{arguments.driver}`\n")
    print("\n".join(line for found in profiles for line in table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
