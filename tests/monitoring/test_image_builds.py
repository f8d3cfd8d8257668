"""The build file of a release fits the Dockerfile, and nothing is built from a base without a digest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serving import ROOT

BAKE: dict[str, Any] = json.loads((ROOT / "deploy/docker-bake.json").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCRIPT = ROOT / "deploy/images.sh"
DIGEST = "0123456789abcdef" * 4
PINNED = f"python:3.11-slim-bookworm@sha256:{DIGEST}"


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    return subprocess.run([SCRIPT, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


def docker_that_says(text: str, folder: Path) -> str:
    """Returns a PATH on which `docker` writes its arguments to a file and prints a text, as a registry would answer."""
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\nprintf "%s " "$@" > {folder}/asked\nprintf "%s" "{text}"\n')
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_targets_and_arguments_are_those_of_the_dockerfile() -> None:
    stages = set(re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.MULTILINE))
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    common = BAKE["target"]["common"]
    assert {BAKE["target"][name]["target"] for name in BAKE["group"]["default"]["targets"]} <= stages
    assert common["args"].keys() == arguments
    assert common["platforms"] == ["linux/amd64", "linux/arm64"]
    assert BAKE["variable"]["PYTHON_IMAGE"]["default"] == ""
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(BAKE)))
    assert used == BAKE["variable"].keys()


def test_every_stage_stands_on_the_one_base() -> None:
    bases = set(re.findall(r"^FROM (\S+) AS", DOCKERFILE, re.MULTILINE))
    stages = set(re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert bases - stages == {"${PYTHON_IMAGE}"}


def test_each_image_carries_its_bill_of_materials() -> None:
    assert len(re.findall(r"axon sbom --system --out /opt/axon/bom\.json", DOCKERFILE)) == 2


@pytest.mark.parametrize("content", [None, "", "PYTHON_IMAGE=python:3.11-slim-bookworm\n", "PYTHON_IMAGE=@sha256:00\n"])
def test_nothing_is_built_without_a_digest(content: str | None, tmp_path: Path) -> None:
    pin = tmp_path / "base-image.env"
    if content is not None:
        pin.write_text(content)
    ran = run("build", PIN=str(pin), PATH=docker_that_says("", tmp_path))
    assert ran.returncode == 2
    assert "run deploy/images.sh pin" in ran.stderr
    assert not (tmp_path / "asked").exists()


def test_the_pin_is_what_the_registry_says(tmp_path: Path) -> None:
    pin = tmp_path / "base-image.env"
    ran = run("pin", PIN=str(pin), PATH=docker_that_says(f"sha256:{DIGEST}", tmp_path))
    assert (ran.returncode, pin.read_text()) == (0, f"PYTHON_IMAGE={PINNED}\n")
    assert (tmp_path / "asked").read_text().startswith("buildx imagetools inspect python:3.11-slim-bookworm ")
    for answer in ("", "sha256:00", "not found"):
        ran = run("pin", PIN=str(pin), PATH=docker_that_says(answer, tmp_path))
        assert ran.returncode == 2
        assert pin.read_text() == f"PYTHON_IMAGE={PINNED}\n"


def test_buildx_reads_the_file_as_it_is_meant(tmp_path: Path) -> None:
    """Runs the real buildx, which needs no engine to print what would be built."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "buildx", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker buildx is not installed")
    pin = tmp_path / "base-image.env"
    pin.write_text(f"PYTHON_IMAGE={PINNED}\n")
    ran = run("build", "--print", PIN=str(pin), SOURCE_DATE_EPOCH="1700000000", REGISTRY="r.example/", VERSION="9")
    assert ran.returncode == 0, ran.stderr
    targets = json.loads(ran.stdout)["target"]
    assert targets.keys() == {"service", "training"}
    for name, tag in (("service", "r.example/axon:9"), ("training", "r.example/axon-training:9")):
        assert targets[name]["tags"] == [tag]
        assert targets[name]["args"]["PYTHON_IMAGE"] == PINNED
        assert targets[name]["args"]["SOURCE_DATE_EPOCH"] == "1700000000"
        assert targets[name]["platforms"] == ["linux/amd64", "linux/arm64"]
