"""The command `axon`: every command of training and of the service, as users type commands."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import axon.cli
import service.command_table
import service.start_checks
import training.cli
import training.command_table
from axon.cli import main
from axon.command_table import top_parser
from models.installation import missing_part
from service.__main__ import main as serve
from training.commands import publishing, study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
HEAVY = {
    *("torch", "pandas", "sklearn", "scipy", "numpy", "pyarrow", "optuna", "rich", "matplotlib"),
    *("pydantic", "litserve", "structlog", "uvicorn", "fastapi"),
}
TRAINING = {name: about for abouts in training.command_table.COMMANDS.values() for name, about in abouts.items()}
COMMANDS = {**TRAINING, **service.command_table.COMMANDS}


def run(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", "axon", *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def imported_by(*arguments):
    """Returns the names of the modules that a command imports, in a process of its own."""
    code = f"""
import contextlib, io, sys
from axon.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({list(arguments)!r})
print(*sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_its_help_has_every_command_and_the_exit_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: axon ")
    for command, about in COMMANDS.items():
        assert re.search(rf"^    {command} +{re.escape(about)}$", out, re.MULTILINE), command
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    out = capsys.readouterr().out
    assert "--port" in out
    assert "AXON_MAX_BATCH_ROWS" in out


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), (), ("no-such-command",), ("completion", "--help")])
def test_a_list_of_commands_imports_no_library(arguments):
    assert imported_by(*arguments) & HEAVY == set()


@pytest.mark.parametrize(
    ("arguments", "own", "others"),
    [
        (("list", "--help"), "training.commands.store", ("torch", "sklearn", "matplotlib", "optuna", "pydantic")),
        (("study", "--help"), "training.commands.study", ("torch", "sklearn", "optuna", "pydantic", "litserve")),
        (("keys", "new", "--help"), "service.__main__", ("torch", "pandas", "litserve", "training.commands")),
        (("export", "--help"), "axon.export_command", ("torch", "pandas", "onnx", "litserve", "training.commands")),
        (
            ("sign", "--help"),
            "axon.signing_commands",
            ("torch", "pandas", "cryptography", "litserve", "training.commands"),
        ),
        (("serve", "--help"), "service.settings", ("torch", "pandas", "litserve", "training.commands")),
    ],
)
def test_a_command_imports_what_it_needs(arguments, own, others):
    imported = imported_by(*arguments)
    assert own in imported
    assert imported & set(others) == set()
    foreign = {name for name in training.command_table.COMMANDS if name != own}
    assert imported & foreign == set()


def test_the_table_of_commands_says_what_the_modules_add():
    (commands,) = [action for action in training.cli.build_parser({})._actions if action.dest == "command"]
    assert {choice.dest: choice.help for choice in commands._choices_actions} == TRAINING
    assert list(commands.choices) == list(TRAINING)


@pytest.mark.parametrize("program", [training.cli.main, serve, main])
def test_each_program_tells_its_version(program, capsys):
    with pytest.raises(SystemExit) as ended:
        program(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"axon {version('axon')}\n"


@pytest.mark.parametrize(
    "command",
    [["axon", "--version"], ["axon", "completion", "bash"], ["axon", "data", "digits"], ["training", "data", "xor"]],
    ids=" ".join,
)
def test_a_full_disk_under_the_output_is_an_error_of_one_line(command):
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-m", *command]
        ran = subprocess.run(line, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == axon.cli.EXIT_REFUSED
    assert ran.stderr == (
        "error: the output could not be written (No space left on device); write it to another disk or a terminal.\n"
    )


def test_the_codes_of_axon_are_those_of_training():
    for name in ("EXIT_REFUSED", "EXIT_INTERRUPTED", "EXIT_BROKEN_PIPE"):
        assert getattr(axon.cli, name) == getattr(training.cli, name)


def test_each_program_tells_its_exit_codes(capsys):
    by_training = {
        training.cli.EXIT_REFUSED,
        training.cli.EXIT_BROKEN_PIPE,
        training.cli.EXIT_INTERRUPTED,
        publishing.EXIT_KEPT,
        study.EXIT_CLAIM_FAILED,
        *(128 + number for number in (signal.SIGHUP, signal.SIGTERM)),
    }
    by_service = {service.start_checks.WRONG_SETTING, service.start_checks.CANNOT_RUN}
    for program, codes in ((training.cli.main, by_training), (serve, by_service), (main, by_training | by_service)):
        with pytest.raises(SystemExit):
            program(["--help"])
        text = capsys.readouterr().out.partition("exit codes:\n")[2]
        assert set(map(int, re.findall(r"^  (\d+) ", text, re.MULTILINE))) == {0, *codes}


def test_the_entry_points_are_there():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(scripts) == {"axon", "axon-serve", "axon-train"}
    for place in scripts.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize(("typed", "meant"), [("ft", "fit"), ("sreve", "serve"), ("xyzzy", None)])
def test_a_mistyped_command_is_told_with_the_nearest(typed, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main([typed])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"there is no command {typed!r}" in error
    assert error.endswith(f"did you mean {meant}?\n" if meant else "axon --help lists them\n")


@pytest.mark.parametrize(
    ("lacking", "given", "part"),
    [
        ("rich", "list", "training"),
        ("torch", "fit xor --epochs 1", "training"),
        ("pydantic", "serve", "service"),
        ("litserve", "serve", "service"),
    ],
)
def test_a_missing_library_is_a_sentence_with_the_remedy(lacking, given, part, tmp_path):
    code = f"import sys; sys.modules[{lacking!r}] = None; from axon.cli import main; sys.exit(main(sys.argv[1:]))"
    ran = subprocess.run(
        [sys.executable, "-c", code, *given.split()],
        cwd=ROOT,
        env={**ENVIRONMENT, "AXON_STORE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.partition(": ")[2] == (
        f"this needs the part {part!r} of Axon, and {lacking!r} is not installed: pip install 'axon[{part}]'.\n"
    )


def test_code_that_an_image_leaves_out_is_a_sentence_and_a_fault_of_ours_is_not():
    absent = missing_part("service", ModuleNotFoundError(name="service"))
    assert absent == (
        "this needs the part 'service' of Axon, which is left out of this installation: install Axon's wheel, or use "
        "the container image of that part."
    )
    assert missing_part("service", ModuleNotFoundError(name="service.no_such_module")) is None
    assert missing_part("service", ModuleNotFoundError(name="_lzma")) is None


def on_terminal(*arguments, cwd, **environment):
    """Returns what a command writes to a terminal of 256 colours."""
    ours, theirs = pty.openpty()
    unset = {"CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"}
    plain = {name: value for name, value in ENVIRONMENT.items() if name not in unset}
    process = subprocess.Popen(
        [sys.executable, "-m", "axon", *arguments],
        cwd=cwd,
        env={**plain, "TERM": "xterm-256color", **environment},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 1 << 16):
            shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    return shown.decode()


COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


def test_no_color_is_honoured(tmp_path):
    fit = ("fit", "xor", "--engine", "numpy", "--epochs", "2", "--no-report", "--store", str(tmp_path / "store"))
    assert COLOUR.search(on_terminal(*fit, cwd=tmp_path))
    shown = on_terminal(*fit, cwd=tmp_path, NO_COLOR="1")
    assert "epoch 2 of 2" in shown
    assert not COLOUR.search(shown)


def test_fit_and_serve_from_one_command(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = ("--store", str(tmp_path / "store"))
    ran = run("fit", "xor", "--epochs", "2", "--no-report", *store, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "published xor@1"
    command = [sys.executable, "-m", "axon", "serve", *store, "--port", str(port), "--host", "127.0.0.1"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").status == 200:
                    break
            time.sleep(0.05)
        place = {"AXON_HOST": "127.0.0.1", "AXON_PORT": str(port)}
        assert run("health", **place).returncode == 0
        body = json.dumps({"model": "xor", "instances": [[0, 1]]}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", data=body) as answer:
            assert json.load(answer)["model"] == "xor"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert run("health", **place).returncode == 1


def test_a_key_is_made(capsys):
    assert main(["keys", "new", "--name", "alice", "--scopes", "predict"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("alice:predict:")
    assert "The key of alice" in captured.err


def test_the_parser_names_the_program():
    assert top_parser().format_usage() == "usage: axon [-h] [--version]\n"
