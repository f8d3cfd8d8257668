"""Each constructed network computes the parity of every row with the claimed units, and wrong weights are found."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from models.network.mlp import MLP
from training.studies import depth, gates, parity

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


@pytest.mark.parametrize("bits", range(2, 7))
def test_every_and_that_is_never_wrong_covers_one_row_so_that_two_layers_take_one_for_each(bits):
    rows = list(itertools.product("01", repeat=bits))
    covers = []
    for term in itertools.product("01-", repeat=bits):  # each bit unchanged, negated, or left out
        covered = [row for row in rows if all(t in ("-", b) for t, b in zip(term, row, strict=True))]
        if all(row.count("1") % 2 for row in covered):
            covers.append(covered)
    assert sorted(map(len, covers)) == gates.never_wrong(bits) == [1] * 2 ** (bits - 1)
    assert gates.count_gates(bits).two_layers == len(covers) + 1


@pytest.mark.parametrize("bits", range(2, 9))
def test_an_or_of_ands_answers_in_torch_with_the_parity_of_every_row(bits):
    built = gates.or_of_ands(bits)
    rows = [[int(bit) for bit in f"{number:0{bits}b}"] for number in range(2**bits)]
    with torch.no_grad():
        answers = MLP.from_tensors(built.config, built.tensors).predict_probabilities(torch.tensor(rows).float())
    assert answers.argmax(dim=1).tolist() == [sum(row) % 2 for row in rows]
    assert built.hidden_units == 2 ** (bits - 1)


@pytest.mark.parametrize("bits", range(2, 8))
def test_n_threshold_units_answer_in_plain_python_as_in_the_study(bits):
    rows = list(itertools.product((False, True), repeat=bits))
    answers, units = gates._threshold_layer(np.array(rows))
    assert (answers.tolist(), units) == ([sum(row) % 2 == 1 for row in rows], bits)


def test_gates_grow_exponentially_in_two_layers_and_linearly_in_a_tree():
    counts = depth.run(quick=True, bits=6).gates
    assert [count.two_layers for count in counts] == [3, 5, 9, 17, 33]
    assert [count.tree for count in counts] == [3, 6, 9, 12, 15]
    assert [count.threshold_units for count in counts] == [2, 3, 4, 5, 6]
    assert all(count.wrong_rows == 0 for count in counts)


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
