"""docs/scoring.md is true: its programs and commands run in order and print the lines shown."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest

from axon.cli import main
from scoring.job_settings import Errors
from scoring.source_file import form_of

PAGE = (Path(__file__).parents[2] / "docs/scoring.md").read_text(encoding="utf-8")


def test_the_programs_and_commands_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXON_STORE", raising=False)
    blocks = re.findall(r"```(python|console|text)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    ran = 0
    for place, (kind, text) in enumerate(blocks):
        printed = io.StringIO()
        if kind == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(text, "the page", "exec"), names)
            if "print(" in text:
                assert ("text", printed.getvalue()) == blocks[place + 1], text
        elif kind == "console":
            command, *shown = text.splitlines()
            with contextlib.redirect_stderr(printed):
                code = main(shlex.split(command.removeprefix("$ axon ")))
            assert code == (2 if shown[0].startswith("error") else 0)
            lines = printed.getvalue().splitlines()
            assert all(any(line.startswith(begin) for line in lines) for begin in shown), printed.getvalue()
            ran += 1
    assert ran == 3


def test_the_tables_name_each_suffix_and_treatment() -> None:
    table = "\n".join(re.findall(r"^\|.*$", PAGE, re.MULTILINE))
    for treatment in get_args(Errors):
        assert f"| `{treatment}`" in table
    suffixes = [name for name in re.findall(r"`(\.[a-z0-9]+)`", table) if name not in (".gz", ".bz2", ".zst", ".lz4")]
    assert all(form_of(Path(f"rows{suffix}")) for suffix in suffixes)
    assert all(form_of(Path(f"rows.csv{packed}")) == "csv" for packed in (".gz", ".bz2", ".zst", ".lz4"))
