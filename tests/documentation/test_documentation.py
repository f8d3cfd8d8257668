"""The documents are true: settings, metrics, routes, and the README's commands with their answers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from closeness import is_close

from service.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
PROTOCOLS = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
START_SECONDS = 60


def test_every_setting_is_described_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `AXON_(\w+)` \| ?`?([^`| ]*)`? ?\|", SETTINGS, re.MULTILINE))
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    assert rows.keys() == defaults.keys()
    for name, default in defaults.items():
        shown = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        assert rows[name] == (f"{default:g}" if isinstance(default, float) else shown), name


def test_every_link_in_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_decision_is_listed_with_its_title() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"^\| (\d+) \| \[(.*)\]\((.*)\) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    titles = {path.name: path.read_text("utf-8").partition("\n")[0] for path in folder.glob("0*.md")}
    assert {name: f"# {number}. {title}" for number, title, name in listed} == titles


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    named = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").glob("**/*.md")}
    assert sorted(named) == sorted(page for page in pages if not page.startswith("decisions/0"))


def test_what_the_images_copy_is_sent_to_their_build() -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.rstrip("/") for line in copied for name in line.split()} == set(sent)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the README's commands are typed; the store is in this folder."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def served_demo(folder: Path) -> Iterator[str]:
    """The address of a server over the demo models, which are trained as in `make serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "AXON_STORE": str(folder / "store"),
        "AXON_RUNTIME_DIR": str(folder),
        "TMPDIR": str(folder),
        "AXON_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-m", "training", "demo", "--if-empty"], cwd=ROOT, env=environment, check=True, timeout=300
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment, stderr=log)
        try:
            address = f"127.0.0.1:{port}"
            deadline = time.monotonic() + START_SECONDS
            while not _ready(address):
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=60) == 0, (folder / "log").read_text()


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _curls(page: str) -> list[tuple[str, str]]:
    """Returns a page's complete curl lines, each with the answer printed below the command."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    pairs = re.findall(r"^\$ (curl [^\n]*)\n((?:(?!\$ )[^\n]*\n)+)", "".join(blocks), re.MULTILINE)
    return [(command, answer.rstrip("\n")) for command, answer in pairs]


def _typed(command: str, folder: Path) -> str:
    """Types a command of the README in the folder; returns its standard output."""
    here = {
        **os.environ,
        "AXON_STORE": str(folder / "store"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
    }
    return subprocess.run(
        command, shell=True, cwd=folder, env=here, capture_output=True, text=True, check=True, timeout=300
    ).stdout


@pytest.fixture(scope="module")
def own_table(served_demo: str, folder: Path) -> Path:
    """The folder after the commands under "Your own table"; the server has loaded their model."""
    section = README.split("## Your own table")[1].split("\n## ")[0]
    commands = re.findall(r"^\$ \.venv/bin/axon ([^\n]*)$", section, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["data", "fit"]
    for command in commands:
        printed = _typed(f"{shlex.quote(sys.executable)} -m axon {command}", folder)
    assert printed.splitlines()[-1] == "published flowers@1"
    assert httpx.post(f"http://{served_demo}/models/refresh").status_code == 200
    return folder


def test_the_readmes_program_runs(own_table: Path, tmp_path: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(programs) == 1
    shutil.copy(own_table / "flowers.csv", tmp_path)
    (tmp_path / "program.py").write_text(programs[0], encoding="utf-8")
    lines = _typed(f"{shlex.quote(sys.executable)} program.py", tmp_path).splitlines()
    accuracy, _, answers = lines[0].partition(" ")
    assert float(accuracy) > 0.9
    assert answers == "['setosa', 'setosa', 'setosa']"
    assert len(lines) == 1 + 3  # the last three hold the probabilities of three rows
    version = tmp_path / "store/flowers/1"
    assert {path.name for path in version.iterdir()} == {"model.safetensors", "report.html", "README.md"}
    assert "Learning curves" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="pastes the README's curl lines")
def test_the_readmes_curl_lines_answer_as_printed(served_demo: str, own_table: Path) -> None:
    curls = _curls(README)
    assert len(curls) == 4
    _check_curls(curls, served_demo)


@pytest.mark.skipif(shutil.which("curl") is None, reason="pastes the page's curl lines")
def test_the_curl_lines_of_the_protocols_answer_as_printed(served_demo: str) -> None:
    curls = _curls(PROTOCOLS)
    assert len(curls) >= 4
    _check_curls(curls, served_demo)


def _check_curls(curls: list[tuple[str, str]], served_demo: str) -> None:
    for command, printed in curls:
        arguments = shlex.split(command.replace("localhost:8000", served_demo))
        answer = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30).stdout.rstrip("\n")
        if printed.startswith("{"):
            assert is_close(json.loads(answer), json.loads(printed)), f"{command}\n{answer}"
        else:
            assert answer == printed


def test_every_route_is_described(served_demo: str) -> None:
    paths = httpx.get(f"http://{served_demo}/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method in methods:
            assert f"{method.upper()} {path}" in API, f"{method.upper()} {path} is not in docs/api.md"


def test_every_metric_is_described(served_demo: str) -> None:
    httpx.post(f"http://{served_demo}/predict", json={"model": "xor", "instances": [[0, 1]]})
    deadline = time.monotonic() + 10
    while True:
        text = httpx.get(f"http://{served_demo}/metrics").text
        names = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
        if {"axon_inference_seconds", "axon_request_seconds"} <= names:
            break
        assert time.monotonic() < deadline, names
    described = set(re.findall(r"^\| `(axon_\w+)`", OPERATIONS, re.MULTILINE))
    assert names == described


def test_the_examples_in_the_api_document_are_answered(served_demo: str) -> None:
    document = httpx.get(f"http://{served_demo}/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        assert httpx.post(f"http://{served_demo}/predict", json=example["value"]).status_code == 200, example
    for model in httpx.get(f"http://{served_demo}/models").json()["models"]:
        detail = httpx.get(f"http://{served_demo}/models/{model['name']}").json()
        assert httpx.post(f"http://{served_demo}/predict", json=detail["example"]).status_code == 200, detail["example"]
