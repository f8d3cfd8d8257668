"""The server's listeners: addresses, ports, a Unix socket; and hiding a listener before closing."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.listeners import ListenError, Listeners, is_loopback
from service.settings import Settings

HAS_IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()
ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connect(address: str, port: int) -> socket.socket:
    return socket.create_connection((address, port), timeout=5)


@pytest.mark.parametrize(
    ("host", "reached_at", "refused_at"),
    [
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2"]),
        ("127.0.0.2", ["127.0.0.2"], ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2"], []),
        pytest.param("::", ["127.0.0.1", "::1"], [], marks=ipv6),
        pytest.param("::1", ["::1"], ["127.0.0.1"], marks=ipv6),
        pytest.param("[::1]", ["::1"], ["127.0.0.1"], marks=ipv6),
        ("localhost", ["127.0.0.1"], ["127.0.0.2"]),
    ],
)
def test_any_address_is_listened_on_and_no_other(host: str, reached_at: list[str], refused_at: list[str]) -> None:
    listeners = Listeners(Settings(host=host, port=free_port()))
    port = listeners.sockets[0].getsockname()[1]
    try:
        with pytest.raises(ConnectionRefusedError):
            connect(reached_at[0], port)  # nobody can connect before the server serves
        listeners.listen()
        for address in reached_at:
            connect(address, port).close()
        for address in refused_at:
            with pytest.raises(ConnectionRefusedError):
                connect(address, port)
    finally:
        listeners.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", pytest.param("::", marks=ipv6)])
def test_a_hidden_listener_refuses_newcomers_and_keeps_who_has_connected(host: str) -> None:
    listeners = Listeners(Settings(host=host, port=free_port()))
    [listener] = listeners.listen()
    port = listener.getsockname()[1]
    waiting = [connect("127.0.0.1", port) for _ in range(20)]
    for client in waiting:
        client.sendall(b"question")
    listeners.hide()
    listeners.hide()
    with pytest.raises(ConnectionRefusedError):
        connect("127.0.0.1", port)
    assert not listeners.all_accepted()
    for _ in waiting:
        served, _ = listener.accept()
        assert served.recv(100) == b"question"
        served.sendall(b"answer")
        served.close()
    assert [client.recv(100) for client in waiting] == [b"answer"] * len(waiting)
    assert listeners.all_accepted()
    listeners.close()
    for client in waiting:
        client.close()


def test_who_is_no_root_can_hide_a_listener() -> None:
    if os.geteuid() != 0:
        pytest.skip("the tests above ran without root already")
    script = (
        "import os, socket, sys; sys.path.insert(0, '.'); from service.listeners import Listeners\n"
        "from service.settings import Settings\n"
        f"listeners = Listeners(Settings(host='127.0.0.1', port={free_port()})); [one] = listeners.listen()\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "client = socket.create_connection(one.getsockname()); listeners.hide(); listeners.hide()\n"
        "refused = socket.socket().connect_ex(one.getsockname()); one.accept()[0].close(); print(refused)"
    )
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert int(said.stdout) == errno.ECONNREFUSED


def test_a_unix_socket_comes_with_its_mode_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "axon.sock"
    listeners = Listeners(Settings(socket=path, socket_mode="600"))
    assert not path.exists(), "it is there once somebody answers"
    [listener] = listeners.listen()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as late:
        client.connect(str(path))
        client.sendall(b"question")
        listeners.hide()
        with pytest.raises(FileNotFoundError):
            late.connect(str(path))
        served, _ = listener.accept()
        assert served.recv(100) == b"question"
        served.close()
    listeners.close()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_server_left_is_replaced_and_a_live_servers_socket_is_not(tmp_path: Path) -> None:
    path = tmp_path / "axon.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()
    listeners = Listeners(Settings(socket=path))
    listeners.listen()
    with pytest.raises(ListenError, match="another process listens on"):
        Listeners(Settings(socket=path))
    # A successor replaces the path; the end of the first server leaves the successor's socket alone.
    path.unlink()
    successor = Listeners(Settings(socket=path))
    successor.listen()
    listeners.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    successor.close()


def test_a_wrong_place_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a socket")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = {
            "the port is taken": {"host": "127.0.0.1", "port": taken.getsockname()[1]},
            "no interface of this machine": {"host": "192.0.2.1"},
            "no known host name": {"host": "no-such-host.invalid"},
            "is no socket": {"socket": tmp_path / "file"},
            "there is no folder": {"socket": tmp_path / "nowhere" / "axon.sock"},
            "is longer than": {"socket": tmp_path / ("x" * 120)},
        }
        for words, settings in cases.items():
            with pytest.raises(ListenError, match=words) as told:
                Listeners(Settings(**settings))  # type: ignore[arg-type]
            assert "AXON_" in str(told.value)
            assert "\n" not in str(told.value)
    assert (tmp_path / "file").read_text() == "not a socket"


def free_low_port() -> int | None:
    """Returns a free port that requires a privilege, or None if this machine has no such port."""
    unprivileged_start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    for port in random.sample(range(1, unprivileged_start), max(0, unprivileged_start - 1)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    return None


def test_a_low_port_takes_a_privilege() -> None:
    if os.geteuid() != 0 or (port := free_low_port()) is None:
        pytest.skip("takes root, to show what goes without it")
    script = (
        "import os, sys; sys.path.insert(0, '.'); from service.listeners import ListenError, Listeners\n"
        "from service.settings import Settings\n"
        f"settings = Settings(host='127.0.0.1', port={port}); Listeners(settings).close()\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: Listeners(settings)\nexcept ListenError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert f"AXON_PORT: cannot listen on 127.0.0.1:{port}" in said
    assert "CAP_NET_BIND_SERVICE" in said


@pytest.mark.parametrize(
    ("settings", "alone"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "127.1.2.3"}, True),
        ({"host": "::1"}, True),
        ({"host": "localhost"}, True),
        ({"socket": "/run/axon.sock"}, True),
        ({"socket": "/run/axon.sock", "host": "127.0.0.1", "grpc_port": 9001}, True),
        ({"socket": "/run/axon.sock", "host": "0.0.0.0", "grpc_port": 9001}, False),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": "axon.example"}, False),
    ],
)
def test_only_a_loopback_is_loopback(settings: dict[str, object], alone: bool) -> None:
    assert is_loopback(Settings(**settings)) is alone  # type: ignore[arg-type]
