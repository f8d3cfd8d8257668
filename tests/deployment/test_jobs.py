"""The examples of jobs share a table among tasks, and their answers together are those of a single run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scored_tables
import yaml
from charts import DEPLOY, containers_of, variables_of
from schemas import kubernetes_complaints, needs_schemas
from test_manifests import check_restricted

from axon.cli import main

ROOT = DEPLOY.parent
JOB_FILE = DEPLOY / "jobs/score-indexed-job.yml"
SLURM_FILE = DEPLOY / "jobs/score-array.sbatch"
JOB: dict[str, Any] = yaml.safe_load(JOB_FILE.read_text(encoding="utf-8"))
PARTS = ("--part-rows", "5000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, ten parts of rows, and the answers of one run in `whole`."""
    folder = tmp_path_factory.mktemp("jobs")
    scored_tables.make_store(folder / "models")
    (folder / "rows").mkdir()
    scored_tables.write(scored_tables.numbers(), folder / "rows/a.parquet", row_group_size=5_000)
    options = ("--model", "numbers@1", "--out", str(folder / "whole"), "--store", str(folder / "models"), "--quiet")
    assert main(["score", str(folder / "rows/*.parquet"), *options, *PARTS]) == 0
    assert len(answers(folder / "whole")) == 10
    return folder


def answers(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of each file of answers."""
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@needs_schemas
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_takes_the_job(version: str) -> None:
    assert not kubernetes_complaints(JOB, version)


def test_the_job_is_restricted_and_says_of_how_many_it_is() -> None:
    check_restricted(JOB)
    [container] = containers_of(JOB)
    assert JOB["spec"]["completionMode"] == "Indexed"
    assert variables_of(container)["JOB_COMPLETIONS"] == str(JOB["spec"]["completions"])
    [policy] = [rule for rule in JOB["spec"]["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert policy["onExitCodes"]["containerName"] == container["name"]


def test_the_pods_of_the_job_make_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [container] = containers_of(JOB)
    assert container["command"] == ["python", "-m", "axon", "score"]
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths == {"/models", "/rows", "/answers", "/tmp"}
    here = {"/rows/": f"{folder}/rows/", "/answers/flowers": f"{folder}/job", "flowers@1": "numbers@1"}
    arguments = [str(argument) for argument in container["args"]]
    for there, ours in here.items():
        arguments = [argument.replace(there, ours) for argument in arguments]
    variables = variables_of(container)
    monkeypatch.setenv("AXON_STORE", variables["AXON_STORE"].replace("/models", f"{folder}/models"))
    monkeypatch.setenv("JOB_COMPLETIONS", variables["JOB_COMPLETIONS"])
    counted = []
    for index in reversed(range(JOB["spec"]["completions"])):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert main(["score", *arguments, *PARTS]) == 0
        counted.append(len(answers(folder / "job")))
    assert counted == [1, 2, 3, 4, 5, 6, 8, 10], "indices 1 and 0 have two of the ten parts"
    assert answers(folder / "job") == answers(folder / "whole")


def slurm_task(folder: Path, task: int | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with the variables of Slurm, as a task of an array of two."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    (commands / "axon").write_text(f'#!/bin/sh\nexec {sys.executable} -m axon "$@"\n', encoding="utf-8")
    (commands / "axon").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "AXON_STORE": str(folder / "models"),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_ARRAY_TASK_MIN": "0",
        "SLURM_ARRAY_TASK_STEP": "1",
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_ARRAY_TASK_ID": str(task),
    }
    command = ["bash", str(SLURM_FILE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_tasks_of_the_array_make_the_whole(folder: Path) -> None:
    arguments = (str(folder / "rows/*.parquet"), "numbers@1", str(folder / "slurm"), *PARTS)
    for task in (1, 0):
        done = slurm_task(folder, task, *arguments)
        assert done.returncode == 0, done.stderr
    assert answers(folder / "slurm") == answers(folder / "whole")


def test_the_script_says_what_is_missing(folder: Path) -> None:
    done = slurm_task(folder, 0, "rows.parquet")
    assert done.returncode == 2
    assert "name the tables, the model and the folder" in done.stderr
