"""One neuron's numbers equal torch's, and a linear program finds the same functions of one neuron."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from training.studies import neuron


def separable(table, bits):
    """Returns True if weights and a bias exist with w·x + b ≥ 1 for the ones of a truth table, and ≤ -1 for zeros."""
    rows = np.array(list(itertools.product((0, 1), repeat=bits)))
    signs = np.where(np.array([*table]) == "1", 1, -1)[:, None]
    extended = np.column_stack([rows, np.ones(len(rows))])
    bound = {"A_ub": -signs * extended, "b_ub": -np.ones(len(rows))}
    return linprog(np.zeros(bits + 1), **bound, bounds=(None, None)).status == 0


def test_the_numbers_are_torchs():
    result = neuron.run(quick=True)
    linear = torch.nn.Linear(3, 1).double()
    with torch.no_grad():
        linear.weight[:] = torch.tensor(neuron.WEIGHTS, dtype=torch.float64)
        linear.bias[:] = neuron.BIAS
        z = linear(torch.tensor(neuron.INPUTS, dtype=torch.float64)).squeeze()
    assert result.neuron.sum(result.inputs) == pytest.approx(float(z), rel=1e-14)
    outputs = result.neuron.outputs(result.inputs)
    for name, value in (("sigmoid", z.sigmoid()), ("tanh", z.tanh()), ("relu", z.relu()), ("step", (z >= 0).double())):
        assert outputs[name] == pytest.approx(float(value), rel=1e-14)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_the_functions_are_those_that_a_linear_program_separates(bits):
    tables = ["".join(bits_) for bits_ in itertools.product("01", repeat=2**bits)]
    expected = {table for table in tables if separable(table, bits)}
    assert set(neuron.threshold_functions(bits)) == expected


def test_each_neuron_of_two_bits_fires_as_its_truth_table_says():
    functions = neuron.run(quick=True).functions
    assert len(functions) == 16
    for table, found in functions.items():
        if found is not None:
            fired = "".join("01"[found.fires(row)] for row in itertools.product((0.0, 1.0), repeat=2))
            assert fired == table
    assert [table for table, found in functions.items() if found is None] == ["0110", "1001"]


def test_the_claim_holds_with_the_counts_of_the_literature():
    result = neuron.run()
    assert result.holds
    assert result.counts == {1: 4, 2: 14, 3: 104, 4: 1882}  # OEIS A000609


def test_weights_that_are_too_few_do_not_bear_the_claim_out(monkeypatch):
    monkeypatch.setattr(neuron, "_GREATEST_WEIGHT", 1)
    assert not neuron.run().holds
