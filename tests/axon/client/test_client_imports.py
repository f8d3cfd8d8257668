"""The client imports neither torch nor another part of Axon, and a missing library is told with the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ASK = """
import sys, axon
assert "httpx" not in sys.modules
import numpy as np
with axon.Client("http://127.0.0.1:9", retries=0) as client:
    for rows in ([[1, 2]], np.ones((100, 3)), {"a": 1}):
        try:
            client.predict(rows, model="m")
        except Exception as error:
            assert type(error).__name__ == "NotReachable", error
print(*sys.modules)
"""
FOREIGN = {
    "torch",
    "pandas",
    "pyarrow",
    "polars",
    "service",
    "training",
    "inference",
    "pydantic",
    "fastapi",
    "litserve",
}


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_call_imports_neither_torch_nor_another_part() -> None:
    ran = python(ASK)
    assert ran.returncode == 0, ran.stderr
    modules = set(ran.stdout.split())
    assert "axon.client.prediction" in modules
    assert not modules & FOREIGN
    assert not [name for name in modules if name.startswith("models.network")]


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_a_missing_httpx_is_told_with_the_extra(name: str) -> None:
    ran = python(f"import sys; sys.modules['httpx'] = None; import axon; axon.{name}")
    assert ran.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: axon.{name}: this needs the part 'client' of Axon, and 'httpx' is not installed: "
        "pip install 'axon[client]'."
    )


@pytest.mark.slow
def test_the_command_tells_it_too(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    line = ["predict", str(tmp_path / "table.csv"), "--url", "http://127.0.0.1:9"]
    ran = python(f"import sys; sys.modules['httpx'] = None; from axon.cli import main; sys.exit(main({line!r}))")
    assert ran.returncode == 2
    assert ran.stderr.endswith("and 'httpx' is not installed: pip install 'axon[client]'.\n")
