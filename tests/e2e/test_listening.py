"""The service on a Unix socket and over TLS, and its connections over several API processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import CHECKPOINTS, ROOT, Oracle, Server, running, wait_until

from models.store import Store

pytestmark = pytest.mark.slow

BODY = {"model": "price", "instances": [[100, 3]]}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="takes openssl, to make certificates")


class ClientOf(Server):
    """A server with a client of its own kind."""

    client: httpx.Client

    def ready(self) -> bool:
        assert self.process is None or self.process.poll() is None, self.log()
        try:
            return self.client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False


def predicted(client: httpx.Client, **asked: object) -> object:
    answer = client.post("/predict", json=BODY | asked, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"][0]


EXPECTED = pytest.approx(Oracle(CHECKPOINTS["price"])([100, 3])[0], rel=1e-5)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as end:
        return end.connect_ex(str(path)) == 0


def kill_api_processes(server: Server) -> None:
    """Kills all API processes at once, and waits for as many successors."""
    before = server.api_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(server.api_pids()) - set(before)) == len(before), server.log)


def test_a_unix_socket_is_served_and_removed(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "axon.sock"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://axon", verify=False) as client:
        server = ClientOf(store.root, tmp_path, socket=path, socket_mode="600", api_processes=2)
        server.client = client
        try:
            # httpcore leaves a Unix socket open whose connection is refused, so a plain socket asks first.
            server.ready = lambda: _accepts(path) and ClientOf.ready(server)  # type: ignore[method-assign]
            server.start()
            assert predicted(client) == EXPECTED
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port))
            kill_api_processes(server)
            assert predicted(client) == EXPECTED
            server.stop()
            assert not path.exists()
        finally:
            server.kill()


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "new-key"), "-out", str(folder / "new-cert")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    (folder / "new-key").replace(key)
    (folder / "new-cert").replace(certificate)
    return certificate, key


@needs_openssl
def test_the_health_check_speaks_tls_through_a_unix_socket(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "axon.sock"
    certificate, key = make_certificate(tmp_path, "axon")
    server = Server(store.root, tmp_path, socket=path, tls_certificate=certificate, tls_key=key)
    command = [sys.executable, "-m", "service", "health"]

    def health() -> int:
        assert server.process is None or server.process.poll() is None, server.log()
        return subprocess.run(command, cwd=ROOT, env=server.environment, capture_output=True).returncode

    try:
        server.ready = lambda: health() == 0  # type: ignore[method-assign]
        server.start()
        server.stop()
    finally:
        server.kill()


def shown(port: int) -> str:
    """Returns the certificate that a server presents."""
    return ssl.get_server_certificate(("127.0.0.1", port))


@needs_openssl
def test_tls_is_spoken_and_a_renewed_certificate_taken_in(store: Store, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "before")
    trusted = ssl.create_default_context(cafile=certificate)
    server = ClientOf(store.root, tmp_path, tls_certificate=certificate, tls_key=key, api_processes=2)
    with httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=trusted) as client:
        server.client = client
        try:
            server.start()
            assert predicted(client) == EXPECTED
            assert predicted(client, instances=[[100, 3]] * 50_000) == EXPECTED, "2 answers of megabytes, over TLS"
            too_large = client.post("/predict", content=b" " * (33 * 1024 * 1024), timeout=30)
            assert too_large.status_code == 413, "a refusal that comes while the body is still being sent"
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
                plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert plain.recv(100) == b"", "a clean end, and no reset"
            old = shown(server.port)
            key.write_text("no key")
            wait_until(lambda: "the TLS certificate was not taken in" in server.log(), server.log)
            assert shown(server.port) == old
            make_certificate(tmp_path, "after")
            wait_until(lambda: {shown(server.port) for _ in range(8)} == {certificate.read_text()}, server.log)
            with httpx.Client(
                base_url=client.base_url, verify=ssl.create_default_context(cafile=certificate)
            ) as renewed:
                assert predicted(renewed) == EXPECTED
                kill_api_processes(server)
                assert predicted(renewed) == EXPECTED, "the successors have the new certificate"
            assert shown(server.port) == certificate.read_text()
            server.stop()
            assert "Traceback" not in server.log()
        finally:
            server.kill()


@needs_openssl
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no certificate", "No such file"),
        ("no key", "No such file"),
        ("not pem", "holds no certificate in PEM form"),
        ("another key", "is not the key of the certificate"),
        ("the key is no key", "holds no private key in PEM form"),
        ("encrypted", "is encrypted with a passphrase"),
        ("one alone", "must be set together"),
    ],
)
def test_a_wrong_certificate_ends_the_start_with_one_sentence(
    fault: str, words: str, store: Store, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, "axon")
    server = Server(store.root, tmp_path, tls_certificate=certificate, tls_key=key)
    match fault:
        case "no certificate":
            certificate.unlink()
        case "no key":
            key.unlink()
        case "not pem":
            certificate.write_bytes(b"\x30\x82" * 100)
        case "another key":
            kept = certificate.read_text()
            make_certificate(tmp_path, "another")
            certificate.write_text(kept)
        case "the key is no key":
            key.write_text(certificate.read_text())
        case "encrypted":
            encrypt = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(key), "-out", str(key) + "2"]
            subprocess.run(encrypt, check=True, capture_output=True)
            Path(f"{key}2").replace(key)
        case "one alone":
            del server.environment["AXON_TLS_KEY"]
    ended = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    server.kill()
    assert ended.returncode in (1, 2)
    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1, ended.stderr
    assert words in said[0]
    assert "AXON_TLS_" in said[0]


def connections_of(pid: int, port: int) -> int:
    """Returns the number of connections to a port that a process has, by the kernel's count."""
    established = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[3] == "01" and int(fields[1].split(":")[1], 16) == port
    }
    held = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            socket_of = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            held += socket_of is not None and socket_of[1] in established
    return held


def spread(server: Server, clients: int) -> list[int]:
    """Opens connections, sends a request on each, and returns the number of connections of each API process."""
    body = json.dumps(BODY).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            for _ in range(clients)
        ]
        for stream in streams:
            stream.sendall(request)
        for stream in streams:
            assert stream.recv(65536).startswith(b"HTTP/1.1 200")
        found = sorted(connections_of(pid, server.port) for pid in server.api_pids())
    wait_until(lambda: all(connections_of(pid, server.port) == 0 for pid in server.api_pids()), server.log)
    return found


def assert_spread(server: Server, processes: int) -> None:
    """Checks the even spread of connections over the API processes."""
    for clients in (16, 64, 200):
        for _ in range(3):
            found = spread(server, clients)
            assert sum(found) == clients
            fair = clients / processes
            # One connection ahead, and one more for each sixteen; two processes that wake together may both accept.
            assert max(found) <= fair + 3 + clients / 8, found
            assert min(found) >= 1, found


def test_connections_are_spread_over_four_api_processes(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, api_processes=4) as server:
        assert_spread(server, 4)


def test_connections_are_spread_over_two_of_which_a_hung_one_keeps_nobody_from_the_other(
    store: Store, tmp_path: Path
) -> None:
    with running(store.root, tmp_path, api_processes=2, hang_seconds=600) as server:
        assert_spread(server, 2)
        hung, well = server.api_pids()
        os.kill(hung, signal.SIGSTOP)
        try:
            with httpx.Client(base_url=server.url, verify=False, timeout=20) as client:
                for _ in range(50):
                    assert client.post("/predict", json=BODY, headers={"Connection": "close"}).status_code == 200
            assert connections_of(hung, server.port) == 0
        finally:
            os.kill(hung, signal.SIGCONT)
        found = spread(server, 40)
        assert min(found) >= 10, f"the one that hung takes its share again: {found}"
        assert well in server.api_pids()
