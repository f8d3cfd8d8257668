"""docs/intervals.md is true: the command and the program run, and print what the page shows."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from serving import running

PAGE = (Path(__file__).parents[2] / "docs/intervals.md").read_text(encoding="utf-8")


def test_the_page_prints_what_it_shows(flowers_folder: Path) -> None:
    (_, command), (_, answer), (_, program), (_, printed) = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    with running(flowers_folder / "checkpoints", flowers_folder) as server:
        command = command.removeprefix("$ ").replace("localhost:8000", server.url.removeprefix("http://"))
        text = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
        found, shown = json.loads(text), json.loads(answer)
        del found["probabilities"], shown["probabilities"]  # the last digits differ between processors
        assert found == shown
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(program.replace("http://localhost:8000", server.url), "page", "exec"), names)
        assert out.getvalue() == printed
    names["client"].close()
