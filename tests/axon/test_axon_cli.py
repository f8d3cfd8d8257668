"""The command `axon`: training's commands and `serve`, as typed by a person."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib import import_module
from pathlib import Path

import pytest

from axon.cli import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_its_help_has_trainings_commands_and_serve(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: axon ")
    for command in ("fit", "inspect", "search", "list", "summary", "study", "data", "serve"):
        assert f"\n    {command} " in out, command
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "--port" in capsys.readouterr().out


def test_the_entry_points_are_there():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(scripts) == {"axon", "axon-serve", "axon-train"}
    for place in scripts.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))


def test_what_is_not_installed_is_a_sentence():
    code = "import sys; sys.modules['training.cli'] = None; from axon.cli import main; sys.exit(main(['list']))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: this needs the part 'training' of Axon")


def test_fit_and_serve_from_one_command(tmp_path, short_folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fit = [
        sys.executable,
        "-m",
        "axon",
        "fit",
        "xor",
        "--epochs",
        "2",
        "--no-report",
        "--store",
        str(tmp_path / "store"),
    ]
    ran = subprocess.run(fit, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "published xor@1"
    serve = [sys.executable, "-m", "axon", "serve", "--store", str(tmp_path / "store"), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        # A server removes what killed servers left in its temporary folder: not in one that others use.
        environment = ENVIRONMENT | {"TMPDIR": str(short_folder)}
        server = subprocess.Popen([*serve, "--host", "127.0.0.1"], env=environment, cwd=tmp_path, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").status == 200:
                    break
            time.sleep(0.05)
        body = json.dumps({"model": "xor", "instances": [[0, 1]]}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", data=body) as answer:
            assert json.load(answer)["model"] == "xor"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, (tmp_path / "log").read_text()
