"""docs/reasons.md is true: the command and the programs run in order, and print what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import running

PAGE = (Path(__file__).parents[2] / "docs/reasons.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e-?\d+)?")


def same(found: str, shown: str) -> bool:
    """Returns True if two texts are the same up to small differences of numbers."""
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (found, shown)]
    texts = [re.sub(r" +", " ", NUMBER.sub("#", text)) for text in (found, shown)]
    return texts[0] == texts[1] and numbers[0] == pytest.approx(numbers[1], abs=0.05)


def test_the_page_prints_what_it_shows(flowers_folder: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    with running(flowers_folder / "checkpoints", flowers_folder) as server:
        for (kind, text), (next_kind, shown) in zip(blocks[::2], blocks[1::2], strict=True):
            assert next_kind == "text"
            if kind == "console":
                command = text.removeprefix("$ ").replace("localhost:8000", server.url.removeprefix("http://"))
                found = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
            else:
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(text.replace("http://localhost:8000", server.url), "page", "exec"), names)
                found = printed.getvalue()
            assert same(found, shown), f"{text}\n{found}"
    names["client"].close()
    assert len(blocks) == 10
