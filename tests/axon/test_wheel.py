"""Axon from the wheel alone, in a user's folder with files named like Axon's packages and Python's modules."""

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = ("axon", "conversion", "inference", "models", "monitoring", "scoring", "service", "training")
# What a user may have beside a table. None of these files may run.
USERS = ("models/__init__.py", "inference/__init__.py", "training.py", "service.py", "random.py", "socket.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources, since a build leaves files in its folder."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = source / "wheel"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", out, source], check=True, capture_output=True, timeout=120)
    (path,) = out.glob("axon-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder `bin` of a new environment with the wheel. Its libraries are those of the running environment.

    A full installation takes minutes. A `.pth` file lends the libraries; the `.pth` files beside them are not read, so
    an editable Axon of the running environment does not take part.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    lent = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "lent.pth").write_text("\n".join(lent) + "\n")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    # An Axon in the running environment must not change, and pip would otherwise say that Axon is already installed.
    subprocess.run([*install, "--ignore-installed", wheel], check=True, capture_output=True, timeout=120)
    return folder / "bin"


@pytest.fixture
def project(tmp_path):
    """Yields a user's folder with a table and the files of `USERS`; fails if one of these was run."""
    folder = (tmp_path / "project").resolve()
    folder.mkdir()
    for name in USERS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__ + '\\n')\n")
    with (folder / "flowers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "colour", "species"])
        writer.writerows(
            [i / 10, ("red", "blue", "white")[i % 3], "setosa" if i < 30 else "virginica"] for i in range(60)
        )
    yield folder
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def environment():
    left_out = ("AXON_", "PYTHONPATH", "PYTHONSAFEPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}


def run(*command, cwd):
    command = list(map(str, command))
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_has_every_package_typed_and_its_base_needs_little(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        needs = message_from_string(archive.read(metadata).decode()).get_all("Requires-Dist")
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    sources = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    console = {str(path.relative_to(ROOT)) for path in (ROOT / "service/console/static").rglob("*") if path.is_file()}
    assert console <= set(names)
    base = {need.partition(">")[0] for need in needs if "extra ==" not in need}
    assert base == {"numpy", "orjson", "safetensors", "shtab"}
    with_torch = {need.rpartition("extra == ")[2].strip("\"'") for need in needs if need.startswith("torch>")}
    assert with_torch == {"service", "training"}


def test_axon_comes_from_the_wheel_and_the_remedy_for_a_missing_part_takes_no_other(installed, tmp_path):
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{package}.__file__' for package in PACKAGES)})"
    ran = run(installed / "python", "-c", code, cwd=tmp_path)
    assert all(Path(path).is_relative_to(installed.parent) for path in ran.stdout.split()), ran
    for part in ("training", "service"):
        install = (sys.executable, "-m", "pip", "--python", installed / "python", "install", "--dry-run", "--no-index")
        ran = run(*install, f"axon[{part}]", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert "Would install" not in ran.stdout


@pytest.mark.slow
def test_a_table_becomes_an_answer_and_no_file_of_the_user_runs(installed, project):
    small = ("--epochs", "2", "--hidden", "4", "--quiet")
    ran = run(installed / "axon", "fit", "flowers.csv", "--target", "species", *small, "--no-report", cwd=project)
    assert (ran.returncode, ran.stdout) == (0, "published flowers@1\n"), ran.stderr
    search = (
        "search",
        "flowers.csv",
        "--target",
        "species",
        "--trials",
        "2",
        "--jobs",
        "2",
        "--vary",
        "dropout=0..0.1",
    )
    ran = run(installed / "axon", *search, *small, cwd=project)
    assert (ran.returncode, ran.stdout) == (0, "published flowers@2\n"), ran.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(installed / "axon"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (project / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=project, env=environment(), stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, (project / "log").read_text()
            assert time.monotonic() < deadline, (project / "log").read_text()
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").status == 200:
                    break
            time.sleep(0.05)
        body = json.dumps({"model": "flowers@1", "instances": [{"length": 0.5, "colour": "red"}]}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", data=body) as answer:
            assert json.load(answer)["predictions"][0] in ("setosa", "virginica")
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, (project / "log").read_text()


def test_other_doors_in_that_folder(installed, project):
    version = run(installed / "axon", "--version", cwd=project).stdout
    assert version.startswith("axon ")
    for command in (("axon-train", "--version"), ("axon-serve", "--version")):
        ran = run(installed / command[0], *command[1:], cwd=project)
        assert ran.stdout == version, ran.stderr
    ran = run(installed / "python", "-c", "import axon; axon.fit('flowers.csv', target='species')", cwd=project)
    assert ran.returncode == 1
    assert f"Axon's package 'models' is hidden by {project / 'models'}, which Python finds first" in ran.stderr
