"""A deep network without nonlinearity is served as one matrix product."""

import functools

import numpy as np
import pytest

from models.checkpoint import load_checkpoint, save_checkpoint
from models.network.inference_network import Affine
from models.network.numpy_mlp import NumpyMLP
from training.datasets import dataset
from training.studies import linear


def test_the_checkpoint_of_a_deep_linear_network_is_served_as_one_affine(tmp_path):
    model = linear.linear_model(seed=0, epochs=3)
    path = tmp_path / "model.safetensors"
    save_checkpoint(model.checkpoint, path)
    checkpoint = load_checkpoint(path).checkpoint
    assert checkpoint.config.layer_sizes == (4, 32, 32, 32, 3)
    (stage,) = checkpoint.inference_network().stages
    assert isinstance(stage, Affine)
    assert stage.weight.shape == (3, 4)

    # The answers of the trained layers, one by one; the rows of the training part give the standardisation.
    columns = [column for name, column in dataset("iris").load().columns.items() if name != "species"]
    x = np.column_stack([column.to_numpy() for column in columns])
    train = x[model.split.train]
    standardised = (x - train.mean(axis=0)) / train.std(axis=0)
    layered = NumpyMLP.from_tensors(checkpoint.config, checkpoint.tensors, dtype=np.float64)
    expected = [model.checkpoint.schema.target.labels[i] for i in layered.forward(standardised).argmax(axis=1)]
    assert model.predict(x.tolist()) == expected


def test_the_product_is_that_of_numpy():
    config = linear._config((3, 5, 4, 2), "identity")
    network = NumpyMLP(config, rng=np.random.default_rng(0), dtype=np.float64)
    weight, bias = linear.product(network)
    matrices = [network.parameters[f"layers.{i}.weight"] for i in (2, 1, 0)]
    np.testing.assert_allclose(weight, functools.reduce(np.matmul, matrices), rtol=1e-12)
    np.testing.assert_array_equal(bias, np.zeros(2))


@pytest.mark.parametrize("seed", range(2))
def test_the_claim_holds(seed):
    result = linear.run(seed=seed, quick=True)
    assert result.holds, result.verdict
    assert [run.fused_multiply_adds for run in result.runs] == [8 * 4] * 3
    assert [run.layered_multiply_adds for run in result.runs] == [8 * 4, 8 * 32 + 32 * 4, 8 * 32 + 2 * 32 * 32 + 32 * 4]
