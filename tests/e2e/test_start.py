"""Each start that cannot succeed ends with one sentence that names the setting and the path, without a traceback."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import CHECKPOINTS, ROOT, Server, http_get, http_post, make_store, running, wait_until

from models.store import Store

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root")


def refused(*prefix: str, code: int = 2, **settings: object) -> str:
    """Starts a server with settings that do not work; returns the sentence of its error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AXON_")}
    given = {"AXON_HOST": "127.0.0.1", "AXON_PORT": str(port)}
    given |= {name if name == "TMPDIR" else f"AXON_{name.upper()}": str(value) for name, value in settings.items()}
    ended = subprocess.run(
        [*prefix, sys.executable, "-m", "service"],
        cwd=ROOT,
        env=kept | given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    [sentence] = ended.stderr.splitlines()
    assert re.fullmatch(r"axon-serve: AXON_[A-Z_]+.*: .+\.", sentence), sentence
    return sentence


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.touch()
    assert f"AXON_STORE: {file} is a file" in refused(store=file)
    assert f"{file / 'deeper'}" in refused(store=file / "deeper")


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert str(loop) in refused(store=loop)
    name = tmp_path / ("x" * 300)
    assert "File name too long" in refused(store=name)


@as_root
def test_folders_that_another_user_may_not_touch(short_folder: Path) -> None:
    closed, store, runtime_dir = short_folder / "closed", short_folder / "store", short_folder / "run"
    for folder, mode in ((closed, 0o700), (store, 0o755), (runtime_dir, 0o700)):
        folder.mkdir()
        folder.chmod(mode)
    short_folder.chmod(0o755)
    if not all(folder.stat().st_mode & 0o005 for folder in (ROOT, *ROOT.parents, *short_folder.parents)):
        pytest.skip("nobody can read the code or the temporary folder")
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    said = refused(*as_nobody, store=closed)
    assert said == f"axon-serve: AXON_STORE: the store {closed} cannot be read: Permission denied."
    said = refused(*as_nobody, store=store, runtime_dir=runtime_dir)
    assert said == f"axon-serve: AXON_RUNTIME_DIR: {runtime_dir} cannot be written to: Permission denied."


def test_a_default_model_that_is_not_there(store: Store, tmp_path: Path) -> None:
    said = refused(store=store.root, default_model="nobody")
    assert "AXON_DEFAULT_MODEL" in said
    assert "'nobody'" in said
    assert "colours" in said
    assert "alias 'prod'" in refused(store=store.root, default_model="colours@prod")
    assert "version 7" in refused(store=store.root, default_model="colours@7")
    assert "AXON_DEFAULT_MODEL" in refused(store=tmp_path / "nowhere", default_model="../etc")


def test_a_runtime_folder_that_is_a_file_or_too_deep(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert f"AXON_RUNTIME_DIR: {file} cannot be written to" in refused(store=tmp_path, runtime_dir=file)
    assert f"{file / 'in'}" in refused(store=tmp_path, runtime_dir=file / "in")
    deep = tmp_path / ("d" * 120)
    assert f"{deep} is too long a path" in refused(store=tmp_path, runtime_dir=deep)
    assert not list(deep.iterdir())
    assert "AXON_RUNTIME_DIR" in refused(store=tmp_path, runtime_dir="/proc/nothing")


@as_root
def test_a_runtime_folder_without_room(tmp_path: Path, short_folder: Path) -> None:
    script = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    said = refused(
        "unshare", "--mount", "sh", "-c", script, str(short_folder), store=tmp_path, runtime_dir=short_folder
    )
    assert f"AXON_RUNTIME_DIR: {short_folder} has no room for" in said
    assert "No space left" in said


def test_no_temporary_folder_at_all(tmp_path: Path) -> None:
    # No file may have any content, so no folder can be used as a temporary one.
    said = refused("prlimit", "--fsize=0", store=tmp_path, TMPDIR="/nowhere")
    assert "no temporary folder" in said
    assert "TMPDIR" in said
    assert "/nowhere" in said


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    said = refused(store=tmp_path, api_keys_file=tmp_path / "keys")
    assert said == f"axon-serve: AXON_API_KEYS_FILE: {tmp_path / 'keys'} cannot be read: No such file or directory."


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"AXON_PORT: cannot listen on 127.0.0.1:{port}" in refused(code=1, store=tmp_path, port=port)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    assert "AXON_DEVICE: there is no CUDA device" in refused(store=tmp_path, device="cuda")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", "100000"),
        ("workers", "100000"),
        ("api_processes", "100000"),
        ("port", "99999"),
        ("access_log", "perhaps"),
        ("max_batch_rows", "10000000000"),
        ("timeout_seconds", "1e9"),
        ("log_level", "loud"),
    ],
)
def test_a_value_beyond_its_bounds(name: str, value: str) -> None:
    said = refused(**{name: value})
    assert f"AXON_{name.upper()}: " in said
    assert value in said


def ask_health(server: Server, *arguments: str, **environment: str) -> tuple[int, str]:
    asked = subprocess.run(
        [sys.executable, "-m", "service", "health", *arguments],
        cwd=ROOT,
        env=server.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return asked.returncode, asked.stderr


PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on all addresses, with a root path and the variables of a Kubernetes service named `axon`."""
    folder = tmp_path_factory.mktemp("exposed")
    links = {"service_host": "10.0.0.1", "port_8000_tcp": "tcp://10.0.0.1:8000"}
    with running(make_store(folder).root, folder, host="0.0.0.0", root_path="/axon", **links) as server:
        yield server


@pytest.fixture
def on_ipv6(store: Store, tmp_path: Path) -> Iterator[Server]:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = Server(store.root, tmp_path, host="::")
    server.url = server.url.replace("127.0.0.1", "[::1]")
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.mark.parametrize("name", ["server", "exposed", "on_ipv6"])
def test_the_health_check_asks_this_server_and_no_proxy(request: pytest.FixtureRequest, name: str) -> None:
    asked: Server = request.getfixturevalue(name)
    assert ask_health(asked, **PROXIES) == (0, "")
    assert ask_health(asked, "--live", **PROXIES) == (0, "")


def test_the_health_check_tells_that_nobody_answers(tmp_path: Path) -> None:
    server = Server(tmp_path / "store", tmp_path)
    try:
        code, said = ask_health(server, **PROXIES)
    finally:
        server.kill()
    assert code == 1
    assert "does not answer: " in said


def test_an_empty_store_is_told_and_its_default_model_may_still_come(tmp_path: Path) -> None:
    server = Server(tmp_path / "store", tmp_path, default_model="colours")

    def reason() -> str:
        try:
            return str(http_get(f"{server.url}/health/ready").json().get("reason"))
        except httpx.TransportError:
            return ""

    try:
        with (tmp_path / "server.log").open("wb") as log:
            server.process = subprocess.Popen(
                [sys.executable, *server.command], cwd=ROOT, env=server.environment, stderr=log
            )
        wait_until(lambda: "no model to serve" in reason(), server.log)
        code, said = ask_health(server)
        assert code == 1
        assert "no model to serve" in said
        assert ask_health(server, "--live") == (0, "")
        assert http_get(f"{server.url}/health/live").json()["status"] == "live"
        Store(tmp_path / "store").publish("colours", CHECKPOINTS["colours"])
        wait_until(server.ready, server.log)
        assert http_post(f"{server.url}/predict", json={"instances": [[0.1, 0.2, 0.3, 0.4]]}).status_code == 200
        server.stop()
    finally:
        server.kill()


def test_a_start_with_a_service_link_notes_it(exposed: Server) -> None:
    assert "AXON_PORT_8000_TCP" in exposed.log()
    assert "passed over" in exposed.log()


def test_an_open_server_says_so_where_others_reach_it(exposed: Server) -> None:
    assert "no API keys are set" in exposed.log()
