"""docs/import.md is true: the programs run in order and print the lines shown, and the table names what Axon takes."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from conversion.importing import sklearn_estimators, sklearn_steps

PAGE = (Path(__file__).parents[2] / "docs/import.md").read_text(encoding="utf-8")


def test_the_programs_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXON_STORE", raising=False)
    blocks = re.findall(r"```(python|text)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    for number, (kind, text) in enumerate(blocks):
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an unknown category, which the page asks about
                exec(compile(text, f"block {number}", "exec"), names)
            assert blocks[number + 1] == ("text", printed.getvalue()), text
    assert sum(kind == "python" for kind, _ in blocks) == 6


def test_the_table_names_each_class_of_scikit_learn() -> None:
    table = "\n".join(re.findall(r"^\|.*$", PAGE, re.MULTILINE))
    named = set(re.findall(r"`(\w+)`", table))
    taken = {*sklearn_estimators._ESTIMATORS, *sklearn_steps._STEPS}
    variants = {name for name in taken if re.search(r"(CV|IC)$", name)}  # `…CV` in the table
    assert taken - variants <= named
