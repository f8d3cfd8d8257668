"""Each package imports only what its extra installs, because an image has only the package and its extra."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Distributions whose module has another name, or whose dependencies are also imported here.
MODULES = {
    "fastapi-offline": {"fastapi_offline", "fastapi", "starlette"},
    "scikit-learn": {"sklearn"},
    "optuna": {"optuna", "sqlalchemy"},
    "pysimdjson": {"simdjson"},
    "uvicorn": {"uvicorn", "uvloop"},
}


def installed(*extras: str) -> set[str]:
    """Returns the modules that the project's own dependencies and the given extras install."""
    requirements = list(PROJECT["dependencies"])
    for extra in extras:
        requirements += PROJECT["optional-dependencies"][extra]
    names = [re.split(r"[\[<>=~; ]", requirement, maxsplit=1)[0] for requirement in requirements]
    return {module for name in names for module in MODULES.get(name, {name.replace("-", "_")})}


def imported(package: str) -> dict[str, str]:
    """Returns the third-party modules that a package imports, each with one of the importing files."""
    found: dict[str, str] = {}
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    own = {"models", "service", "training", "axon"}
    return {name: path for name, path in found.items() if name not in own and name not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("package", "extras"), [("models", ()), ("service", ("service",)), ("training", ("training", "tensorboard"))]
)
def test_what_is_imported_is_installed(package: str, extras: tuple[str, ...]) -> None:
    lacking = {name: path for name, path in imported(package).items() if name not in installed(*extras)}
    assert not lacking, f"{package} imports what its image does not have"
