"""Each constructed network answers with the parity of every row, has as many units as claimed, and can be wrong."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from models.mlp import MLP
from training.studies import depth, parity

EVERY = [(name, bits) for name in parity.CONSTRUCTIONS for bits in range(2, 11)]


@pytest.mark.parametrize(("name", "bits"), EVERY)
def test_torch_answers_with_the_parity_of_every_row(name, bits):
    built = parity.CONSTRUCTIONS[name](bits)
    rows = [[int(bit) for bit in f"{number:0{bits}b}"] for number in range(2**bits)]
    odd = [number.bit_count() % 2 for number in range(2**bits)]
    with torch.no_grad():
        answers = MLP.from_tensors(built.config, built.tensors).predict_probabilities(torch.tensor(rows).float())
    assert answers.argmax(dim=1).tolist() == odd
    assert built.wrong_rows() == 0


@pytest.mark.parametrize("name", parity.CONSTRUCTIONS)
def test_sixteen_bits_are_right_on_all_65536_rows(name):
    assert parity.CONSTRUCTIONS[name](16).wrong_rows() == 0


@pytest.mark.parametrize("bits", range(2, 17))
def test_units_are_as_many_as_claimed(bits):
    levels = math.ceil(math.log2(bits))
    assert parity.shallow(bits).config.hidden_sizes == (bits,)
    assert parity.fold(bits).config.hidden_sizes == (2,) * levels
    assert len(parity.tree(bits).config.hidden_sizes) == levels
    assert 2 * (bits - 1) <= parity.tree(bits).hidden_units <= 2 * (bits - 1) + levels


def test_a_wrong_weight_is_found_out():
    built = parity.fold(6)
    tensors = dict(built.tensors) | {"layers.1.bias": np.array([0, -0.25], np.float32)}
    assert dataclasses.replace(built, tensors=tensors).wrong_rows() > 0


def test_the_claim_holds_and_training_finds_the_small_ones():
    result = depth.run(quick=True, bits=4)
    assert result.holds
    wide = {shape.bits: shape for shape in result.trained if shape.hidden_sizes == (4 * shape.bits,)}
    assert all(shape.learned == shape.tries for shape in wide.values())
    assert sorted(wide) == [2, 3, 4]


@pytest.mark.parametrize("bits", [1, 17, True])
def test_bits_out_of_bounds_are_refused(bits):
    with pytest.raises(ConfigError, match="bits"):
        depth.run(bits=bits)
