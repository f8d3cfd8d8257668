"""docs/prediction-log.md is true: its commands, options, columns, settings and metrics are those of the code."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from models.columns.column import NumericColumn
from models.columns.schema import ClassTarget
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from models.prediction_log.parquet_files import to_table
from monitoring.command import add_log_commands
from service.prediction_log import counts
from service.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/prediction-log.md").read_text(encoding="utf-8")
ROWS = LoggedRows(
    version=LoggedVersion(
        name="m",
        version=1,
        digest="",
        columns=(NumericColumn(name="COLUMN", mean=0, std=1, minimum=0, maximum=1),),
        left_out=0,
        target=ClassTarget(name="y", labels=("LABEL", "other")),
        has_probabilities=True,
    ),
    times=np.zeros(1),
    request_ids=["r"],
    places=np.zeros(1, dtype=np.int32),
    asked=[None],
    members=[None],
    columns=[np.zeros(1, dtype=np.float32)],
    answers=np.array([[0.25, 0.75]], dtype=np.float32),
)


def test_the_commands_have_the_options_that_the_page_uses() -> None:
    parser = argparse.ArgumentParser()
    add_log_commands(parser.add_subparsers())
    commands = re.findall(r"^\$ axon (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        parser.parse_args(shlex.split(command))
    helps = "".join(sub.format_help() for sub in parser._subparsers._group_actions[0].choices.values())  # type: ignore[union-attr]
    options = set(re.findall(r"`(--[a-z]+)[` ]", PAGE)) - {"--scaling"}
    assert {"--by", "--on", "--label", "--since", "--until", "--of", "--store"} <= options
    assert all(option in helps for option in options)


def test_the_columns_are_those_of_the_files() -> None:
    table = PAGE[PAGE.index("| column | type |") : PAGE.index("**Inputs are")].strip()
    described = [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    names = [name for name in to_table(ROWS).column_names if name != "probability.other"]
    assert described == names


def test_the_settings_and_the_metrics_are_all_there() -> None:
    fields = [f"AXON_{name.upper()}" for name in Settings.model_fields if name.startswith("prediction_log")]
    assert re.findall(r"^\| `(AXON_PREDICTION_LOG\w*)`", PAGE, re.MULTILINE) == fields
    for name, bound in (("prediction_log_sample", "`1`"), ("prediction_log_seconds", "`300`"), ("bytes", "1 GiB")):
        assert re.search(rf"{name.upper()}` \| {bound} \|", PAGE)
    assert Settings.model_fields["prediction_log_bytes"].default == 1 << 30
    code = Path(counts.__file__).read_text()
    described = re.findall(r"^\| `(axon_\w+)`", PAGE, re.MULTILINE)
    assert [name.removesuffix("_total") for name in described] == re.findall(r'"(axon_\w+)"', code)


@pytest.mark.parametrize("file", ["test_prediction_log_faults.py"])
def test_the_files_that_the_decision_names_exist(file: str) -> None:
    assert list((Path(__file__).parents[1]).rglob(file))
