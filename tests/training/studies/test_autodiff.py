"""The small engine's gradients equal torch's and finite differences, for each operation and for whole graphs."""

import numpy as np
import pytest
import torch

from models.errors import DataError
from training.studies.autodiff import Value

A, B, ROW = (3, 4), (3, 4), (4,)
OPERATIONS = {
    "sum of both": (lambda a, b: a + b, (A, B)),
    "broadcast sum": (lambda a, b: a + b, (A, ROW)),
    "broadcast sum, left": (lambda a, b: a + b, (ROW, A)),
    "column and row": (lambda a, b: a * b, ((3, 1), (1, 4))),
    "difference": (lambda a, b: a - b, (A, ROW)),
    "product": (lambda a, b: a * b, (A, ())),
    "quotient": (lambda a, b: a / b, (A, ROW)),
    "number on the left": (lambda a, b: 2.0 / a - 3.0 * b + (1.5 - a), (A, B)),
    "negative": (lambda a, b: -a * b, (A, B)),
    "square": (lambda a, b: a**2 + b**3, (A, B)),
    "root and inverse": (lambda a, b: a**0.5 + b**-1, (A, B)),
    "powers 0 and 1": (lambda a, b: a**0 + b**1, (A, B)),
    "power of a value": (lambda a, b: a**b, (A, B)),
    "number to a value": (lambda a, b: 2.0**a + b, (A, B)),
    "exp and log": (lambda a, b: a.exp() * b.log(), (A, B)),
    "tanh and sigmoid": (lambda a, b: a.tanh() * (b - 1).sigmoid(), (A, B)),
    "relu": (lambda a, b: (a - b).relu(), (A, B)),
    "sum over rows": (lambda a, b: a.sum(0) * b, (A, ROW)),
    "sum over columns": (lambda a, b: a.sum(1) * b, (A, (3,))),
    "sum that keeps its axis": (lambda a, b: a / b.sum(1, keepdims=True), (A, B)),
    "mean": (lambda a, b: a.mean() * b, (A, B)),
    "matrix by matrix": (lambda a, b: a @ b, ((3, 4), (4, 2))),
    "matrix by vector": (lambda a, b: a @ b, ((3, 4), (4,))),
    "vector by matrix": (lambda a, b: a @ b, ((4,), (4, 2))),
    "vector by vector": (lambda a, b: a @ b, ((4,), (4,))),
    "used three times": (lambda a, b: a * a * b + a, (A, B)),
}


def positive(shape, seed):
    return np.random.default_rng(seed).uniform(0.3, 2, shape)


def gradients(expression, arrays):
    values = [Value(array) for array in arrays]
    weigh = np.random.default_rng(9)
    result = expression(*values)
    weights = weigh.normal(size=result.shape)  # gives each element of the result its own gradient
    (result * weights).sum().backward()
    return result, weights, [value.grad for value in values]


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_has_the_value_and_gradients_of_torch_and_of_finite_differences(name):
    expression, shapes = OPERATIONS[name]
    arrays = [positive(shape, seed) for seed, shape in enumerate(shapes)]
    result, weights, found = gradients(expression, arrays)
    tensors = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]
    expected = expression(*tensors)
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(result.data, expected.detach().numpy(), rtol=1e-14)
    for array, gradient, tensor in zip(arrays, found, tensors, strict=True):
        assert gradient.shape == array.shape
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-13, atol=1e-15)
    for array, gradient in zip(arrays, found, strict=True):
        for index in np.ndindex(*array.shape):
            kept, sides = array[index], []
            for step in (1e-6, -1e-6):
                array[index] = kept + step
                sides.append(float((expression(*(Value(a) for a in arrays)).data * weights).sum()))
            array[index] = kept
            assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(gradient[index], rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_with_shared_nodes_have_the_gradients_of_torch(seed):
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(0.5, 1.5, 3)
    steps = [(int(rng.integers(8)), *map(int, rng.integers(0, 3 + k, 2))) for k in range(12)]

    def built(nodes):
        for kind, i, j in steps:
            a, b = nodes[i], nodes[j]
            nodes.append(
                [
                    lambda a, b: a + b,
                    lambda a, b: a - b,
                    lambda a, b: a.tanh() * b.tanh(),
                    lambda a, b: a / (b * b + 1),
                    lambda a, b: a.sigmoid() - b,
                    lambda a, b: (a - b).relu(),
                    lambda a, b: (a * a + 1).log() + b,
                    lambda a, b: (a.tanh() ** 2).exp(),
                ][kind](a, b)
            )
        return nodes[-1]

    leaves = [Value(x) for x in numbers]
    tensors = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
    result, expected = built(list(leaves)), built(list(tensors))
    result.backward()
    expected.backward()
    assert float(result.data) == pytest.approx(expected.item(), rel=1e-12)
    for leaf, tensor in zip(leaves, tensors, strict=True):
        gradient = 0.0 if tensor.grad is None else float(tensor.grad)
        assert float(leaf.grad) == pytest.approx(gradient, rel=1e-10, abs=1e-12)


def test_relu_at_its_kink_is_as_torchs():
    value, tensor = Value([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    value.relu().sum().backward()
    tensor.relu().sum().backward()
    assert value.grad.tolist() == tensor.grad.tolist() == [0, 0, 1]


def test_saturated_sigmoids_and_tanhs_neither_overflow_nor_lose_their_gradient():
    value = Value([-800.0, 800.0])
    (value.sigmoid() + value.tanh()).sum().backward()
    assert value.grad.tolist() == [0, 0]


def test_a_chain_longer_than_the_recursion_limit_is_differentiated():
    x = Value(1.0)
    result = x
    for _ in range(5000):
        result = result + x
    result.backward()
    assert float(x.grad) == 5001
    assert len(result.graph()) == 5001


def test_a_second_pass_replaces_the_gradients():
    x = Value(3.0)
    square = x * x
    square.backward()
    square.backward()
    assert float(x.grad) == 6


def test_an_array_on_the_left_gives_one_value_of_the_graph():
    x = Value([1.0, 2.0])
    for result in (np.ones(2) * x, np.ones(2) + x, np.ones(2) - x, np.ones(2) / x, np.ones((3, 2)) @ x):
        assert isinstance(result, Value)


def test_an_input_is_a_copy_that_nobody_changes_between_the_passes():
    array = np.ones(2)
    value = Value(array)
    array[0] = 7
    assert value.data.tolist() == [1, 1]
    for kept in (value, value * 2, value.sum()):
        with pytest.raises(ValueError, match="read-only"):
            kept.data[...] = 0


def test_a_power_by_a_numpy_number_is_that_of_the_number():
    for exponent in (3, np.int64(3), np.float64(3), np.float32(3)):
        x = Value(-2.0)
        cube = x**exponent
        cube.backward()
        assert (float(cube.data), float(x.grad), cube.operation) == (-8, 12, "^3")


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (lambda: Value([1.0, 2.0]).backward(), "scalar"),
        (lambda: Value(np.inf), "an input is not a finite number"),
        (lambda: Value(0.0).log(), "'log'"),
        (lambda: Value(-1.0).log(), "'log'"),
        (lambda: Value(-1.0) ** Value(2.0), "'log'"),
        (lambda: Value(-1.0) ** 0.5, r"'\^0.5'"),
        (lambda: Value(0.0) ** -1, r"'\^-1'"),
        (lambda: 1 / Value(0.0), "'÷'"),
        (lambda: Value(1000.0).exp(), "'exp'"),
        (lambda: Value(1e200) * 1e200, "'×'"),
        (lambda: (Value(0.0) ** 0.5).backward(), r"the gradient of '\^0.5'"),
        (lambda: Value(np.ones((2, 3))) @ Value(np.ones((2, 3))), "cannot be multiplied"),
        (lambda: Value(1.0) @ Value(1.0), "cannot be multiplied"),
    ],
)
def test_what_has_no_finite_answer_is_refused_by_name(refused, said):
    with pytest.raises(DataError, match=said):
        refused()
