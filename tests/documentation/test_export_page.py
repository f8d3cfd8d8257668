"""docs/export.md is true: the commands and programs run in order and print the lines shown."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

import axon
from axon.cli import main

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")


def test_the_commands_and_programs_print_what_the_page_shows(
    flowers_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(flowers_folder)
    blocks = re.findall(r"```(python|text|console)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    try:
        for number, (kind, text) in enumerate(blocks):
            if kind == "python":
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(text, f"block {number}", "exec"), names)
                shown = blocks[number + 1][1] if blocks[number + 1][0] == "text" else ""
                assert printed.getvalue() == shown, text
            elif kind == "console":
                for command in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
                    run(command)
                capsys.readouterr()
    finally:
        for module in ("with_torch", "with_numpy"):
            sys.modules.pop(module, None)
    assert [kind for kind, _ in blocks].count("python") == 4


def run(command: str) -> None:
    """Runs a command of the page."""
    program, *arguments = command.split()
    if program == "axon":
        assert main(arguments) == 0
        return
    assert program == "python"
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    header, *rows = ran.stdout.splitlines()
    assert header.endswith("prediction,probability setosa,probability versicolor,probability virginica")
    assert len(rows) == 150


def test_the_tables_name_the_inputs_and_outputs_of_a_graph(tmp_path: Path) -> None:
    first_cells = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert {"onnx", "torch", "numpy", "label", "probabilities", "value", "unknown"} == first_cells
    fitted = axon.fit("iris", epochs=1, hidden_sizes=(4,), progress=False)
    (path,) = fitted.export(tmp_path / "iris.onnx")
    assert {one.name for one in onnx.load(path).graph.output} <= first_cells
