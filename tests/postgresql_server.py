"""A real PostgreSQL server of Debian's package, in a folder of its own, on a port of the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "s3cret-of-the-search"
_SECONDS = 60.0


def programs() -> Path | None:
    """Returns the folder with `initdb` and `pg_ctl`; None if PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgresqlServer:
    """A server with one user, who has a password. Root may not run a server, so root starts it as `postgres`.

    Args:
        port: port on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        bin_folder = programs()
        assert bin_folder is not None
        self._programs, self._port = bin_folder, port
        self._user = "postgres" if os.getuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="axon-postgresql-"))
        self._data = self._folder / "data"
        words = self._folder / "password"
        words.write_text(PASSWORD)
        if self._user is not None:
            for path in (self._folder, words):
                shutil.chown(path, self._user)
        self._run("initdb", "--auth=scram-sha-256", "--username=ada", f"--pwfile={words}", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n"
            )

    @property
    def address(self) -> str:
        """The address of the database, with the password."""
        return f"postgresql://ada:{PASSWORD}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Starts the server and waits for its readiness."""
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder}/log")

    def stop(self) -> None:
        """Ends the server at once and cuts all connections, as a crash does."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--wait")

    def remove(self) -> None:
        """Ends a running server and deletes the data."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), f"--pgdata={self._data}", *arguments],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, (done.stderr or b"").decode() or (self._folder / "log").read_text()
