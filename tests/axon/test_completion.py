"""`axon completion`: bash and fish read the scripts and complete commands, options, choices and files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from axon.command_table import CONVERSION, MATERIALS, SIGNING
from axon.completion import whole_parser
from monitoring.command_table import COMMANDS as MONITORING
from scoring.command_table import COMMAND as SCORE
from service.command_table import COMMANDS as SERVICE
from training.command_table import COMMANDS as TRAINING

ROOT = Path(__file__).parents[2]
TABLES = (*TRAINING.values(), SERVICE, MONITORING, CONVERSION, SIGNING, MATERIALS)
ALL = {name for abouts in TABLES for name in abouts} | {SCORE, "completion"}
CASES = [
    ("axon fi", {"fit"}),
    ("axon ", ALL),
    ("axon fit --ep", {"--epochs", "--epoch-plan"}),
    ("axon fit --engine ", {"torch", "numpy", "perceptron", "linear"}),
    ("axon study dep", {"depth"}),
    ("axon keys ", {"new"}),
    ("axon import --task ", {"classification", "regression"}),
    ("axon export --to ", {"onnx", "torch", "numpy"}),
    ("axon serve --po", {"--port"}),
    ("axon score --errors ", {"refuse", "skip", "null"}),
    ("axon fit flow", {"flowers.csv"}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a script for each shell, and a table."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "flowers.csv").touch()
    for shell, name in (("bash", "axon.bash"), ("zsh", "_axon"), ("fish", "axon.fish")):
        command = [sys.executable, "-m", "axon", "completion", shell]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        (folder / name).write_text(ran.stdout)
    return folder


def shell(*command, cwd):
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ran.stderr == ""
    return ran.stdout


@pytest.mark.parametrize(("typed", "offered"), CASES)
@pytest.mark.slow
def test_bash(folder, typed, offered):
    code = """
    source axon.bash
    read -ra COMP_WORDS <<< "$1"; [[ $1 == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shtab_axon; printf '%s\\n' "${COMPREPLY[@]}"
    """
    assert set(shell("bash", "-c", code, "bash", typed, cwd=folder).split()) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_fish(folder, typed, offered):
    out = shell("fish", "-c", "source axon.fish; complete -C $argv[1]", typed, cwd=folder)
    assert {line.partition("\t")[0] for line in out.splitlines()} == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_finds_the_script(folder):
    code = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[axon]; autoload +X _axon"
    assert shell("zsh", "-f", "-c", code, cwd=folder) == "_axon\n"
    assert shell("zsh", "-n", "_axon", cwd=folder) == ""


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "axon", "completion", "bash"]
    ran = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_every_command_is_in_it():
    (commands,) = [action for action in whole_parser()._actions if action.dest == "command"]
    assert set(commands.choices) == ALL
