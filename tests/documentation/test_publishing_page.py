"""The pages about publishing are true: their commands print what is shown, and all exit codes are named."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from axon.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "publishing.md").read_text(encoding="utf-8")
CHANGING = (DOCS / "changing-models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "commands"), [(PAGE, 12), (CHANGING, 9)], ids=["publishing", "changing-models"])
def test_the_commands_print_what_the_page_shows(
    page: str, commands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXON_STORE", raising=False)
    blocks = "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL))
    shown = re.findall(r"^\$ axon (.*)\n([^$].*)$", blocks, re.MULTILINE)
    assert len(shown) == blocks.count("$ ") == commands
    for command, expected in shown:
        # Without report and GPU, which take time and are not the subject of the page.
        quick = ["--no-report", "--device", "cpu", "--hidden", "8"] if command.startswith("fit") else []
        assert main([*shlex.split(command), *quick]) == 0, command
        assert capsys.readouterr().out.splitlines()[-1] == expected, command


def test_every_exit_code_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    codes = set(re.findall(r", (\d+)(?= \||\))|\((?:exit code |SIGHUP, )(\d+)", PAGE))
    assert {code for pair in codes for code in pair if code} == {"0", "3", "129", "130", "143"}
    for command in ("fit", "search"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told = capsys.readouterr().out.partition("Exit codes:")[2]
        assert set(re.findall(r"\b(\d+)\b", told)) == {"0", "2", "3", "129", "130", "143"}
