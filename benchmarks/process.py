"""A measured server: started on a free port, its whole process tree found by a mark in the environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 10.0

_TICKS = os.sysconf("SC_CLK_TCK")


class MeasuredServer:
    """One server process and all that it starts; a context manager that leaves none of them behind."""

    def __init__(self, command: list[str], model: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/predict"
        self._mark = f"AXON_BENCH={uuid.uuid4().hex}"
        self._folder = tempfile.mkdtemp(prefix="axon-bench-")
        name, _, value = self._mark.partition("=")
        environment = {key: text for key, text in os.environ.items() if not key.startswith("AXON_")}
        environment |= {name: value, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TMPDIR": self._folder}
        self._log = Path(self._folder, "log").open("wb")  # noqa: SIM115 -- as long as the server
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(self.port), "--model", model],
            env=environment,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then stops it
        )

    def __enter__(self) -> MeasuredServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for pid in self.pids():  # LitServe leaves its children behind
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait_until_it_answers(self, body: bytes) -> None:
        """Waits for the first 2xx.

        Raises:
            RuntimeError: it ended, or did not answer in time; with what it logged.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=10):
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server does not answer:\n{Path(self._log.name).read_text()}")

    def pids(self) -> list[int]:
        """Its processes: those that carry the mark."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def cpu_seconds(self) -> float:
        """User and system seconds of the whole tree so far."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS
