"""docs/client.md is true: the programs run in order against a server, and print the lines shown."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import running

from axon.cli import main
from axon.client import Client, ClientError, errors
from axon.client.answer import Answer

PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text(encoding="utf-8")


def test_the_programs_print_what_the_page_shows(flowers_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```(python|text|console)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    with running(flowers_folder / "checkpoints", flowers_folder) as server:
        for number, (kind, text) in enumerate(blocks):
            typed = text.replace("http://localhost:8000", server.url)
            if kind == "python":
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(typed, f"block {number}", "exec"), names)
                shown = blocks[number + 1][1] if blocks[number + 1][0] == "text" else ""
                assert printed.getvalue() == shown, text
            elif kind == "console":
                (command,) = re.findall(r"^\$ axon (.*)$", typed, re.MULTILINE)
                assert main(command.split()) == 0
                assert capsys.readouterr().out == ""
                assert Path("answered.csv").read_text(encoding="utf-8").count("\n") == 151
    assert sum(kind == "python" for kind, _ in blocks) == 7


def test_the_tables_name_every_error_argument_and_attribute() -> None:
    tables = "\n".join(re.findall(r"^\|.*$", PAGE, re.MULTILINE))
    named = set(re.findall(r"`(\w+)(?:\(\))?`", tables))
    tree = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, ClientError) and kind is not ClientError
    }
    assert tree <= named
    assert tree == {name for name in sys.modules["axon.client"].__all__ if name in vars(errors)} - {"ClientError"}
    assert {field for field in Answer.__dataclass_fields__ if field != "index"} <= named
    arguments = set(Client.__init__.__kwdefaults__ or {}) - {"connections"}
    assert arguments <= set(re.findall(r"`(\w+)", PAGE)), arguments


def test_the_help_of_the_command_names_the_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "AXON_CLIENT_KEY" in capsys.readouterr().out
