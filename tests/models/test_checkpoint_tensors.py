"""Tensors read one at a time, against the whole checkpoint read and verified at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ensembles import ensemble
from serving import CHECKPOINTS, make_checkpoint

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.checkpoint_tensors import read_tensors
from models.errors import CheckpointError

COLOURS = CHECKPOINTS["colours"]
CASES = {**CHECKPOINTS, "ensemble": ensemble(COLOURS.schema, 3, 5)}


@pytest.mark.parametrize("name", CASES)
def test_each_tensor_is_that_of_the_checkpoint(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digest = save_checkpoint(CASES[name], path)
    whole = load_checkpoint(path).checkpoint.tensors
    found = dict(read_tensors(path, CASES[name].config, digest))
    assert list(found) == list(CASES[name].config.tensor_shapes())
    assert found.keys() == whole.keys()
    for tensor, values in found.items():
        assert np.array_equal(values, whole[tensor]), tensor
        assert values.dtype == np.float32


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "model.safetensors"
    return path, save_checkpoint(COLOURS, path)


def refusal(path: Path, digest: str, checkpoint: Checkpoint = COLOURS) -> str:
    with pytest.raises(CheckpointError) as refused:
        list(read_tensors(path, checkpoint.config, digest))
    return refused.value.reason


def test_another_checkpoint_in_its_place_is_refused(saved: tuple[Path, str]) -> None:
    path, digest = saved
    save_checkpoint(make_checkpoint(COLOURS.schema, 16, 16, normalization="batch", seed=5), path)
    assert "not the checkpoint that was read before" in refusal(path, digest)


def test_a_file_that_is_gone_cut_off_or_of_another_network_is_refused(saved: tuple[Path, str]) -> None:
    path, digest = saved
    other = make_checkpoint(COLOURS.schema, 16, 17, normalization="batch")
    assert "does not fit the architecture" in refusal(path, digest, other)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    assert "truncated" in refusal(path, digest)
    path.unlink()
    assert "cannot be read" in refusal(path, digest)
