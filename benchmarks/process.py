"""A measured server: started on a free port, with its process tree found by a mark in the environment."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from types import TracebackType

import grpc

from benchmarks.memory import Memory
from benchmarks.peer import ROOT, Peer
from benchmarks.wire import Message

PREPARE_SECONDS = 120.0
START_SECONDS = 120.0
STOP_SECONDS = 10.0

_MARK = "AXON_BENCH"
_NAMED = "axon-"  # Axon's processes have names: axon-api-0, axon-host-0, axon-worker-0, axon-log-relay
_METRIC_FILE = re.compile(r"/metrics/[a-z_]+_((?:api|worker)-\d+)\.db$")
_TICKS = os.sysconf("SC_CLK_TCK")


class MeasuredServer:
    """One server process and its descendants; a context manager that ends every process."""

    def __init__(self, peer: Peer, model: str) -> None:
        self.peer = peer
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{peer.path}"
        self._mark = uuid.uuid4().hex
        self._folder = tempfile.mkdtemp(prefix="axon-bench-")
        self._filled = {"bin": str(peer.bin), "port": str(self.port), "model": model, "folder": self._folder}
        self._filled["second_port"] = str(free_port())
        self._environment = {key: text for key, text in os.environ.items() if not key.startswith("AXON_")}
        self._environment |= {
            _MARK: self._mark,
            "AXON_BENCH_MODEL": model,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TMPDIR": self._folder,
            "PATH": f"{peer.bin}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(peer.tree), str(ROOT)])),
        }
        self._environment |= {key: self._fill(text) for key, text in peer.environment.items()}
        self._log = Path(self._folder, "log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MeasuredServer:
        try:
            with self._log.open("wb") as log:
                if self.peer.prepare:
                    self._prepare(log.fileno())
                self._started = time.monotonic()
                self._process = subprocess.Popen(
                    [self._fill(part) for part in self.peer.command],
                    cwd=self.peer.tree,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then stops the server
                )
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop()

    def _fill(self, text: str) -> str:
        for name, value in self._filled.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _prepare(self, log: int) -> None:
        command = [self._fill(part) for part in self.peer.prepare]
        done = subprocess.run(
            command,
            cwd=self.peer.tree,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=PREPARE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.peer.name} could not be prepared:\n{self._log_tail()}")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        while pids := self.pids():  # some servers leave child processes behind; the mark tells which are ours
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.poll()
            time.sleep(0.01)
        if self._process is not None:
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait_until_it_answers(self, message: Message) -> float:
        """Waits for the first answer that is no error.

        Returns:
            Seconds from the start of the process to the answer.

        Raises:
            RuntimeError: the server ended, or did not answer in time; the message has the end of its log.
        """
        assert self._process is not None, "inside `with` only"
        deadline = self._started + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError, grpc.RpcError):
                self.ask(message)
                return time.monotonic() - self._started
            time.sleep(0.02)
        raise RuntimeError(f"{self.peer.name} does not answer:\n{self._log_tail()}")

    def ask(self, message: Message) -> Message:
        """Sends one request on a new connection and returns the answer.

        Raises:
            urllib.error.HTTPError: the answer has another status than a 2xx.
            grpc.RpcError: the call failed.
        """
        if self.peer.wire.grpc:
            own = [("grpc.use_local_subchannel_pool", 1)]  # whose first attempt to connect is not delayed
            with grpc.insecure_channel(f"127.0.0.1:{self.port}", own) as channel:
                return Message(channel.unary_unary(self.peer.path)(message.body, timeout=30), {})
        request = urllib.request.Request(self.url, message.body, dict(message.headers))
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Message(answer.read(), {name.lower(): text for name, text in answer.headers.items()})

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def pids(self) -> list[int]:
        """Returns the ids of the server's processes: those that carry the mark."""
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return sorted(found)

    def cpu_seconds(self) -> float:
        """Returns user and system seconds of the whole tree so far, to the microsecond, including ended children."""
        return sum(cpu_seconds(pid) + _ended_children_seconds(pid) for pid in self.pids())

    def role(self, pid: int) -> str:
        """Returns a process's role: the name that Axon sets, else one from the metric file or from the command line."""
        assert self._process is not None, "inside `with` only"
        try:
            if (name := Path(f"/proc/{pid}/comm").read_text().strip()).startswith(_NAMED):
                return name.removeprefix(_NAMED)
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # it was closed meanwhile
                    found = _METRIC_FILE.search(str(descriptor.readlink()))
                    if found is not None:
                        return found[1]
            command = _command(pid)
            if pid == self._process.pid:
                return "main"
            if command == _command(self._process.pid):
                return "forked"
        except OSError:
            return "ended"
        if "spawn_main" in command:
            return "spawned"
        return "resource tracker" if "resource_tracker" in command else Path(command.split(" ")[0]).name

    def memory(self) -> dict[str, Memory]:
        """Returns the memory of the processes, by role."""
        found: dict[str, Memory] = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                memory, role = Memory.of(pid), self.role(pid)
                found[role] = found.get(role, Memory()) + memory
        return found


def free_port() -> int:
    """Returns a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def cpu_seconds(pid: int) -> float:
    """Returns user and system seconds of one process so far; 0 if the process has ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) does: nanoseconds, where /proc has 10 ms
    except OSError:
        return 0.0


def system_seconds(pid: int) -> float:
    """Returns the system seconds of one process so far, to 10 ms."""
    return _stat_seconds(pid, slice(12, 13))


def _ended_children_seconds(pid: int) -> float:
    return _stat_seconds(pid, slice(13, 15))


def _stat_seconds(pid: int, fields: slice) -> float:
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, values[fields])) / _TICKS
