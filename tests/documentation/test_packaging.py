"""Imports of each package: an image holds a package and its extra, and nothing else to import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Distributions whose module has another name, or that bring modules of their own dependencies that are used here.
MODULES = {
    "fastapi-offline": {"fastapi_offline", "fastapi", "starlette"},
    "scikit-learn": {"sklearn"},
    "opentelemetry-sdk": {"opentelemetry"},
    "optuna": {"optuna", "sqlalchemy"},
    "protobuf": {"google"},
    "pysimdjson": {"simdjson"},
    "uvicorn": {"uvicorn", "uvloop"},
}


def installed(*extras: str) -> set[str]:
    """Returns the modules that the project's own dependencies and some extras install."""
    requirements = list(PROJECT["dependencies"])
    for extra in extras:
        requirements += PROJECT["optional-dependencies"][extra]
    names = [re.split(r"[\[<>=~; ]", requirement, maxsplit=1)[0] for requirement in requirements]
    return {module for name in names for module in MODULES.get(name, {name.replace("-", "_")})}


def imported(package: str) -> dict[str, str]:
    """Returns the foreign modules that a package, or one file, imports, each with an importing file."""
    found: dict[str, str] = {}
    place = ROOT / package
    for path in [place] if place.is_file() else place.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    own = {"axon", "conversion", "inference", "models", "monitoring", "scoring", "service", "training"}
    return {name: path for name, path in found.items() if name not in own and name not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("models", ("service", "bucket", "log", "signing")),
        ("models", ("training", "bucket", "signing")),
        ("inference", ("service",)),
        ("service", ("service", "arrow", "grpc", "log", "traces")),
        ("monitoring", ("training",)),
        ("training", ("training", "boosting", "tensorboard", "postgresql")),
        ("axon/client", ("client", "training")),  # frames are given back to those who have pandas or pyarrow
        ("axon/remote_predict.py", ("training",)),
        ("axon/signing_commands.py", ("signing",)),
        ("scoring", ("training",)),
        ("conversion/importing", ("onnx", "training")),
        ("conversion/exporting", ("onnx", "training")),  # torch is imported by what is exported, not by the export
    ],
)
def test_what_is_imported_is_installed(package: str, extras: tuple[str, ...]) -> None:
    lacking = {name: path for name, path in imported(package).items() if name not in installed(*extras)}
    assert not lacking, f"{package} imports what its image does not have"


def test_the_client_needs_its_extra_alone_but_for_frames() -> None:
    assert set(imported("axon/client")) - installed("client") == {"pandas", "pyarrow"}
    for path in (ROOT / "axon/client").rglob("*.py"):
        assert path.name == "answer.py" or not {"pandas", "pyarrow"} & set(imported(str(path.relative_to(ROOT)))), path


def test_models_need_no_extra_but_for_torch_keys_buckets_and_parquet_files() -> None:
    with_torch = {ROOT / "models/network/mlp.py", ROOT / "models/network/input_layer.py"}
    with_arrow = {ROOT / "models/prediction_log/parquet_files.py", ROOT / "models/label_arrays.py"}
    for path in (ROOT / "models").rglob("*.py"):
        names = imported(str(path.relative_to(ROOT)))
        assert path in with_torch or "torch" not in names, path
        assert path == ROOT / "models/signatures/keys.py" or "cryptography" not in names, path
        assert path in with_arrow or "pyarrow" not in names, path
        assert path.parent == ROOT / "models/bucket" or "obstore" not in names, path
    assert set(imported("models")) - installed() == {"cryptography", "obstore", "pyarrow", "torch"}


def test_the_install_page_has_every_extra_and_those_of_each_image() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| .+ \| `(\w+)` \|$", page, re.MULTILINE))
    assert told == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
    build = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for image, target in (("axon", "service"), ("axon-training", "training")):
        stage = build.partition(f"AS build-{target}\n")[2]
        [extras, *_] = re.findall(r"'\.\[(.*)\]'", stage)
        [listed] = re.findall(rf"^\| `{image}` \|[^|]*\|([^|]*)\|", page, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", listed)) == set(extras.split(",")), image
