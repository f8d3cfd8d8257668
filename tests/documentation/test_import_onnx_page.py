"""docs/import-onnx.md is true: its programs and commands run in order, and the tables name what Axon takes."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from axon.cli import main
from conversion.importing.onnx_graph import graph

PAGE = (Path(__file__).parents[2] / "docs/import-onnx.md").read_text(encoding="utf-8")


def test_the_programs_and_commands_print_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXON_STORE", raising=False)
    blocks = re.findall(r"```(python|console|text)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    for (kind, text), (_, shown) in pairwise(blocks):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's older exporter
            if kind == "python":
                exec(compile(text, "the page", "exec"), names)
            elif kind == "console":
                assert main(shlex.split(text.removeprefix("$ axon "))) == 0
        if kind == "python":
            assert printed.getvalue() == shown, text
        elif kind == "console":
            lines = [line.split() for line in printed.getvalue().splitlines()]
            assert [line for line in shown.splitlines() if line.split() not in lines] == []
    assert len(blocks) == 10


def test_the_tables_name_each_operator() -> None:
    table = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|.*$", PAGE, re.MULTILINE))))
    comparisons = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "IsInf"}
    arithmetic = {"Neg", "Reciprocal", "Sqrt", "Sum", "ReduceMax"}
    assert {operator for _, operator in graph._OPERATORS} - comparisons - arithmetic <= table
