"""The section `distributions` of a checkpoint: written and read without loss, and refused if damaged."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import CHECKPOINTS

from models.checkpoint import Checkpoint, load_checkpoint, read_header, save_checkpoint
from models.distributions.distributions import Distributions
from models.errors import CheckpointError, DataError
from training.distributions import training_distributions


def with_distributions(checkpoint: Checkpoint, rows: int = 500) -> Checkpoint:
    rng = np.random.default_rng(0)
    schema = checkpoint.schema
    x = rng.normal(size=(rows, schema.width)).astype(np.float32)
    answers = checkpoint.inference_network().answer(x)
    return replace(checkpoint, distributions=training_distributions(schema, x, answers, seed=0))


@pytest.mark.parametrize("name", ["colours", "price"])
def test_distributions_survive_the_file(name: str, tmp_path: Path) -> None:
    checkpoint = with_distributions(CHECKPOINTS[name])
    digests = {save_checkpoint(checkpoint, tmp_path / f"{i}.safetensors") for i in range(2)}
    assert len(digests) == 1
    assert load_checkpoint(tmp_path / "0.safetensors").checkpoint.distributions == checkpoint.distributions
    assert read_header(tmp_path / "0.safetensors")["format_version"] == 2, "an older Axon ignores the section"


def test_a_checkpoint_without_distributions_has_no_section(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_checkpoint(CHECKPOINTS["colours"], path)
    assert "distributions" not in read_header(path)
    assert load_checkpoint(path).checkpoint.distributions is None


DAMAGES: dict[str, Any] = {
    "no columns": lambda raw: raw.pop("columns"),
    "a column less": lambda raw: raw["columns"].pop(),
    "no predictions": lambda raw: raw.update(predictions={}),
    "other predictions": lambda raw: raw.update(predictions={"value": raw["predictions"]["confidence"]}),
    "rows that are text": lambda raw: raw.update(rows="9"),
    "negative rows": lambda raw: raw.update(rows=-1),
    "rows that are true": lambda raw: raw.update(rows=True),
    "a column that is a list": lambda raw: raw["columns"].__setitem__(0, []),
    "edges that fall": lambda raw: raw["columns"][0]["edges"].reverse(),
    "edges that are text": lambda raw: raw["columns"][0]["edges"].__setitem__(0, "x"),
    "endless edges": lambda raw: raw["columns"][0]["edges"].__setitem__(0, float("inf")),
    "many edges": lambda raw: raw["columns"][0].update(edges=list(range(99)), counts=[0] * 100),
    "a count less": lambda raw: raw["columns"][0]["counts"].pop(),
    "half a row": lambda raw: raw["columns"][0]["counts"].__setitem__(0, 0.5),
    "no gaps": lambda raw: raw["columns"][0].pop("gaps"),
    "classes beyond the labels": lambda raw: raw["predictions"]["class"].update(categories=[0, 1, 3]),
    "classes twice": lambda raw: raw["predictions"]["class"].update(categories=[0, 0, 1]),
    "no classes": lambda raw: raw["predictions"]["class"].update(categories=[]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_section_is_refused(damage: str) -> None:
    checkpoint = with_distributions(CHECKPOINTS["colours"])
    assert checkpoint.distributions is not None
    raw = copy.deepcopy(checkpoint.distributions.to_dict())
    assert Distributions.from_dict(raw, checkpoint.schema) == checkpoint.distributions
    DAMAGES[damage](raw)
    with pytest.raises(DataError) as caught:
        Distributions.from_dict(raw, checkpoint.schema)
    assert len(str(caught.value)) < 500


def test_a_file_with_a_damaged_section_is_named(tmp_path: Path) -> None:
    checkpoint = with_distributions(CHECKPOINTS["colours"])
    assert checkpoint.distributions is not None
    # Not through `from_dict`: a writer with an error could make such a file, with a digest that is right.
    broken = replace(checkpoint.distributions, rows=-5)
    path = tmp_path / "broken.safetensors"
    save_checkpoint(replace(checkpoint, distributions=broken), path)
    with pytest.raises(CheckpointError, match="distribution of rows: a count must be a whole number"):
        load_checkpoint(path)


def test_a_section_is_small() -> None:
    checkpoint = with_distributions(CHECKPOINTS["colours"], rows=5_000)
    assert checkpoint.distributions is not None
    sizes = [len(json.dumps(column)) for column in checkpoint.distributions.to_dict()["columns"]]
    assert max(sizes) < 1_000
