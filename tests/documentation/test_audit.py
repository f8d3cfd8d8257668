"""`make audit` fails if a vulnerability is known, and passes with a message if the database cannot be reached."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


@contextmanager
def database(status: int, vulnerable: str | None = None) -> Iterator[str]:
    """Runs a vulnerability database on the loopback that speaks OSV's protocol; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = query["package"]["name"]
            fault = {
                "id": "PYSEC-0000-1",
                "details": "lets anybody in",
                "affected": [
                    {"package": {"name": name, "ecosystem": "PyPI"}, "versions": [query["version"]], "ranges": []}
                ],
            }
            body = json.dumps({"vulns": [fault]} if name == vulnerable else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Writes no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ".ci/audit.py", "--vulnerability-service", "osv", "--osv-url", address]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_every_pin_is_checked_and_a_known_vulnerability_fails() -> None:
    with database(200) as address:
        run = audit(address)
    assert run.returncode == 0, run.stderr
    assert f"{len(PINS)} pinned packages checked; known vulnerabilities: 0." in run.stdout
    with database(200, vulnerable="starlette") as address:
        run = audit(address)
    assert run.returncode == 1
    assert f"starlette {PINS['starlette']}: PYSEC-0000-1" in run.stdout


@pytest.mark.parametrize("status", [404, 503])
def test_a_database_that_does_not_answer_skips_the_audit(status: int) -> None:
    with database(status) as address:
        run = audit(address)
    assert (run.returncode, run.stdout.startswith("audit: skipped, nothing was checked:")) == (0, True), run.stderr


def test_no_network_skips_the_audit() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so connections are refused
        run = audit(f"http://127.0.0.1:{taken.getsockname()[1]}/v1/query")
    assert (run.returncode, run.stdout.startswith("audit: skipped, nothing was checked:")) == (0, True), run.stderr


def test_an_audit_that_cannot_run_is_no_pass() -> None:
    run = subprocess.run(
        [sys.executable, ".ci/audit.py", "--no-such-option"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "no-such-option" in run.stderr
