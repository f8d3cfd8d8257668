"""Helpers for tests of the view that tries a model: the row on the page, and the code to copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from browsing import OpenPage, wait_for
from serving import ROOT, Server


def opened(open_page: OpenPage, server: Server, model: str, **options: Any) -> Any:
    page = open_page(f"{server.url}/#/models/{model}/try", **options).page
    page.wait_for_selector(".prediction")
    return page


def settled(page: Any) -> None:
    """Waits until the reasons of the row on the page are there."""
    wait_for(page, "document.querySelector('.reasons') && !document.querySelector('.stale')")


def row_of(page: Any) -> dict[str, Any]:
    """Returns the row on the page, from the fields."""
    return page.evaluate(  # type: ignore[no-any-return]
        """() => Object.fromEntries([...document.querySelectorAll('.cell')].map((cell) => {
            const field = cell.querySelector('input[type=number], input[type=date], select, input[list]');
            const name = cell.querySelector('label').textContent;
            return [name, field.disabled ? null : field.type === 'number' ? Number(field.value) : field.value];
        }))"""
    )


def code(page: Any, form: str) -> str:
    page.get_by_role("button", name=form, exact=True).click()
    return str(page.locator("pre.code").inner_text())


def run_shell(command: str, folder: Path) -> Any:
    done = subprocess.run(
        command, shell=True, executable="/bin/bash", cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def run_python(program: str, folder: Path) -> str:
    (folder / "asked.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "asked.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout
