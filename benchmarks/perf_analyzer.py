"""Triton's load generator `perf_analyzer`, unmodified.

Its wheel needs the C library of Debian 13. On an older system, six of that release's libraries are put beside it, from
the archive that apt is configured for, and its own loader starts it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.virtual_environment import DONE

VERSION = "2.60.0"
_PLATFORM = "manylinux_2_38_x86_64"
_LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "libssl3t64", "libzstd1", "zlib1g")
_RELEASE = "trixie"  # Debian 13
_LOADER = "ld-linux-x86-64.so.2"
_SETUP_SECONDS = 300.0
_LONGEST_RUN = 120.0


class Unavailable(Exception):
    """`perf_analyzer` cannot be had or started here; the message says why."""


@dataclass(frozen=True)
class Analysis:
    """The outcome of one run.

    Attributes:
        requests: number of requests in the measured windows.
        per_second: requests per second.
        p50, p99: latencies in seconds.
    """

    requests: int
    per_second: float
    p50: float
    p99: float


class PerfAnalyzer:
    """`perf_analyzer` in a folder.

    Args:
        folder: folder for the program and its libraries.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self) -> None:
        """Downloads the program and the libraries that are missing, unless the folder is complete.

        Raises:
            Unavailable: a download failed, or the program does not start.
        """
        if self.is_complete:
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # left by an attempt that failed
        self.folder.mkdir(parents=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(self.folder)]
        self._run([*download, "--platform", _PLATFORM, "--only-binary=:all:", f"perf-analyzer=={VERSION}"])
        for wheel in self.folder.glob("*.whl"):
            shutil.unpack_archive(wheel, self.folder / "wheel", "zip")
        program = self._program()
        if program is None:
            raise Unavailable(f"perf-analyzer {VERSION} has no program")
        program.chmod(0o755)
        if not self._starts():
            self._add_libraries()
        if not self._starts():
            raise Unavailable(f"perf_analyzer {VERSION} does not start")
        (self.folder / DONE).touch()

    @property
    def is_complete(self) -> bool:
        """True if the program was installed and has started."""
        return (self.folder / DONE).exists()

    def command(self) -> list[str]:
        """Returns the command that starts the program.

        Raises:
            Unavailable: the program is not there.
        """
        program = self._program()
        if program is None:
            raise Unavailable(f"perf_analyzer is not in {self.folder}")
        library = next((self.folder / "libraries").rglob("libc.so.6"), None)
        if library is None:
            return [str(program)]
        return [str(library.parent / _LOADER), "--library-path", str(library.parent), str(program)]

    def analyze(
        self, model: str, address: str, protocol: str, tensor: str, data: Sequence[Sequence[float]], *,
        connections: int, rows: int, seconds: float,
    ) -> Analysis:  # fmt: skip
        """Loads a server and returns what the program reports.

        The program measures three windows, so that it can compare them.

        Args:
            model: name of the model.
            address: `host:port` of the server.
            protocol: `http` or `grpc`.
            tensor: name of the model's input.
            data: rows to send; without these, the program would send random bytes as numbers.
            connections: number of requests under way at a time.
            rows: number of rows of a request.
            seconds: length of the measured windows together.

        Raises:
            Unavailable: the program is not there.
            RuntimeError: the program failed, as it does if a request fails.
        """
        window = max(int(1000 * seconds / 3), 100)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"data": [{tensor: [float(cell) for cell in row]} for row in data]}, file)
            file.flush()
            return self._run_windows(model, address, protocol, file.name, connections, rows, window)

    def _run_windows(
        self, model: str, address: str, protocol: str, data: str, connections: int, rows: int, window: int
    ) -> Analysis:
        """Runs the program with windows of a number of milliseconds."""
        command = [*self.command(), "-m", model, "-u", address, "-i", protocol, "-b", str(rows), "--input-data", data]
        command += ["--concurrency-range", str(connections), "--measurement-interval", str(window)]
        command += ["--stability-percentage", "999"]  # a window that differs is no reason for a fourth one
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=window / 100 + _LONGEST_RUN,
            check=False,
            env=_environment(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"perf_analyzer failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return read_report(done.stdout, rows)

    def _program(self) -> Path | None:
        """Returns the program's file, or None; the wheel also has a script of the same name."""
        for path in self.folder.glob("wheel/**/perf_analyzer"):
            if path.is_file() and path.read_bytes()[:4] == b"\x7fELF":
                return path
        return None

    def _starts(self) -> bool:
        try:
            done = subprocess.run([*self.command(), "--version"], capture_output=True, check=False, env=_environment())
        except (Unavailable, OSError):
            return False
        return done.returncode == 0

    def _add_libraries(self) -> None:
        """Puts the libraries of the newer release beside the program."""
        apt = self.folder / "apt"
        (apt / "lists/partial").mkdir(parents=True)
        (apt / "archives/partial").mkdir(parents=True)
        (apt / "status").touch()
        sources = apt / "sources.list"
        sources.write_text(f"deb {self._archive()} {_RELEASE} main\n")
        options = (
            f"Dir::Etc::SourceList={sources}",
            "Dir::Etc::SourceParts=/dev/null",
            f"Dir::State={apt}",
            f"Dir::State::Lists={apt}/lists",
            f"Dir::State::status={apt}/status",
            f"Dir::Cache={apt}",
            "APT::Sandbox::User=root",  # the user _apt may not write here
            "APT::Architecture=amd64",
        )
        get = ["apt-get", "--quiet=2", *(part for option in options for part in ("-o", option))]
        self._run([*get, "update"])
        self._run([*get, "download", *_LIBRARIES], cwd=apt)
        for package in apt.glob("*.deb"):
            self._run(["dpkg", "-x", str(package), str(self.folder / "libraries")])

    def _archive(self) -> str:
        """Returns the address of Debian's archive, as apt is configured here."""
        targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        for address in self._run(targets).split():
            if re.search(r"/debian/?$", address):
                return address
        raise Unavailable("apt is not configured for Debian's archive")

    def _run(self, command: Sequence[str], cwd: Path | None = None) -> str:
        try:
            done = subprocess.run(
                command, cwd=cwd, capture_output=True, text=True, timeout=_SETUP_SECONDS, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{command[0]}: {error}") from error
        if done.returncode != 0:
            raise Unavailable(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")
        return done.stdout


def read_report(text: str, rows: int) -> Analysis:
    """Reads the program's report.

    Args:
        text: standard output of a run with one number of connections.
        rows: number of rows of a request.

    Raises:
        RuntimeError: the report lacks a figure.
    """
    figures = {
        name: re.search(rf"^\s*{pattern}", text, re.MULTILINE)
        for name, pattern in (
            ("requests", r"Request count: (\d+)"),
            ("per_second", r"Throughput: ([\d.e+]+) infer/sec"),
            ("p50", r"p50 latency: (\d+) usec"),
            ("p99", r"p99 latency: (\d+) usec"),
        )
    }
    found = {name: float(match[1]) for name, match in figures.items() if match is not None}
    if len(found) < len(figures):
        raise RuntimeError(f"perf_analyzer's report has other lines:\n{text[-3000:]}")
    return Analysis(int(found["requests"]), found["per_second"] / rows, found["p50"] / 1e6, found["p99"] / 1e6)


def _environment() -> dict[str, str]:
    """Returns an environment without proxies, which the program would ask for the loopback interface too."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
