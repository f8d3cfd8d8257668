"""The section on several targets in docs/training.md is true: the program prints the lines shown."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")


def test_the_program_prints_what_the_section_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    section = PAGE.partition("## Several targets\n")[2].partition("\n## ")[0]
    ((program, shown),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", section, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "the section's program", "exec"), {})
    assert printed.getvalue() == shown
