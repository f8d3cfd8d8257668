"""The GPU's path: the bookkeeping runs on a CPU; the rest needs a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.cublas import forbid_split_sums
from inference.cuda_runner import CudaRunner, with_padding
from inference.device_network import DeviceNetwork, Precision
from inference.scratch import Scratch
from models.network.config import MLPConfig
from models.network.fuse import fuse
from models.network.inference_network import InferenceNetwork
from models.network.mlp import MLP

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
ERROR = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 4e-2}  # greatest error of probabilities: 24, 11 and 8 bits of mantissa

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def network_of(*sizes: int, **config: Any) -> InferenceNetwork:
    mlp_config = MLPConfig(layer_sizes=sizes, **config)
    return fuse(mlp_config, MLP(mlp_config, generator=torch.Generator().manual_seed(0)).to_tensors())


def rows_of(rows: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_each_precision_answers_within_its_own_rounding(precision: Precision, normalization: str) -> None:
    network = network_of(30, 100, 64, 3, normalization=normalization)
    x = rows_of(200, 30)
    on_device = DeviceNetwork(network, CPU, precision=precision, max_batch_rows=256)
    error = np.abs(on_device.forward(x) - network.forward(x)).max()
    assert error < ERROR[precision]
    if precision == "bf16":
        assert error > ERROR["fp32"], "nothing was computed in bfloat16"


def test_the_first_product_stays_float32_so_that_far_off_columns_keep_their_differences() -> None:
    config = MLPConfig(layer_sizes=(1, 16, 1), output="linear", activation="tanh")
    tensors = MLP(config, generator=torch.Generator().manual_seed(0)).to_tensors()
    network = fuse(config, tensors, input_mean=1e4, input_std=1.0)
    x = np.float32([[1e4 - 1], [1e4], [1e4 + 1]])
    answers = DeviceNetwork(network, CPU, precision="bf16", max_batch_rows=16).forward(x)
    np.testing.assert_allclose(answers, network.forward(x), rtol=0, atol=2e-2)


def test_the_last_product_stays_float32_so_that_values_far_from_zero_keep_their_differences() -> None:
    config = MLPConfig(layer_sizes=(4, 32, 32, 2), output="linear")
    tensors = MLP(config, generator=torch.Generator().manual_seed(0)).to_tensors()
    mean, std = np.array([1_000.0, 250_000.0]), np.array([5.0, 400.0])
    network = fuse(config, tensors, output_mean=mean, output_std=std)
    x = rows_of(200, 4)
    answers = DeviceNetwork(network, CPU, precision="bf16", max_batch_rows=256).forward(x)
    assert (np.abs(answers - network.forward(x)) < 0.05 * std).all()


def test_tf32_is_allowed_for_the_later_products_alone_and_for_none_after() -> None:
    allowed = []
    plan = DeviceNetwork(network_of(5, 8, 8, 2), CPU, precision="tf32", max_batch_rows=16).plan(16)
    assert not torch.backends.cuda.matmul.allow_tf32
    for step in plan.steps:
        step()
        if isinstance(step, partial) and step.func is torch.addmm:
            allowed.append(torch.backends.cuda.matmul.allow_tf32)
    assert allowed == [False, True, True]
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("width", [1, 15, 16, 17, 784])
def test_rows_and_the_gaps_between_them_are_one_piece_to_copy(width: int) -> None:
    x = Scratch(CPU).matrix("input", 5, width)
    whole = with_padding(x)
    assert whole.is_contiguous()
    assert whole.shape == (5, -(-width // 16) * 16)
    source = torch.arange(5.0)[:, None].expand(whole.shape)
    whole.copy_(source)
    assert torch.equal(x, source[:, :width])
    assert all(x[i].data_ptr() % 64 == 0 for i in range(5))


def test_scratch_grows_for_the_largest_and_is_the_same_memory_for_all() -> None:
    scratch = Scratch(CPU)
    small = scratch.matrix("input", 16, 10)
    large = scratch.matrix("input", 64, 10)
    again = scratch.matrix("input", 16, 10)
    other = scratch.matrix("output", 16, 10)
    assert again.data_ptr() == large.data_ptr() != small.data_ptr()
    assert other.data_ptr() != again.data_ptr()


@pytest.mark.slow
def test_the_gpu_benchmark_says_where_there_is_no_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "There is no CUDA device" in done.stderr
    assert not done.stdout


def test_the_user_has_the_last_word_on_the_workspace_of_cublas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("CUBLASLT_WORKSPACE_SIZE", raising=False)
    forbid_split_sums()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["CUBLASLT_WORKSPACE_SIZE"] == "0"
    monkeypatch.delenv("CUBLASLT_WORKSPACE_SIZE")


@needs_gpu
def test_large_batches_are_read_in_place_also_if_they_are_read_only() -> None:
    network = network_of(784, 64, 10)
    on_device = DeviceNetwork(network, torch.device("cuda:0"), max_batch_rows=4096)
    x = rows_of(1000, 784)
    read_only = np.frombuffer(x.tobytes(), np.float32).reshape(x.shape)
    assert on_device.forward(read_only).tobytes() == on_device.forward(x).tobytes()
    np.testing.assert_allclose(on_device.forward(x), network.forward(x), rtol=0, atol=5 * ERROR["fp32"])


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("config", [{}, {"normalization": "layer"}, {"activation": "gelu", "output": "linear"}])
def test_a_gpu_answers_as_the_reference_does_from_captured_graphs(precision: Precision, config: Any) -> None:
    network = network_of(30, 128, 64, 2, **config)
    on_device = DeviceNetwork(network, torch.device("cuda:0"), precision=precision, max_batch_rows=1000)
    on_device.warm_up()
    runners = [on_device._runners[size] for size in on_device.blocks.sizes]
    assert all(isinstance(runner, CudaRunner) and runner.captured for runner in runners)
    for rows in (1, 16, 17, 500, 3000):
        x = rows_of(rows, 30)
        np.testing.assert_allclose(on_device.forward(x), network.forward(x), rtol=0, atol=5 * ERROR[precision])


@needs_gpu
@pytest.mark.parametrize("sizes", [(30, 128, 64, 2), (784, 512, 256, 10), (54, 10)])
def test_answers_are_batch_invariant_on_a_gpu(sizes: tuple[int, ...]) -> None:
    network = DeviceNetwork(network_of(*sizes), torch.device("cuda:0"), max_batch_rows=1024)
    network.warm_up()
    assert network.batch_invariant
    rng = np.random.default_rng(1)
    x = rows_of(1024, sizes[0])
    alone = np.concatenate([network.forward(row[None]) for row in x[:16]])
    for rows in (2, 16, 17, 100, 300, 1024):
        batch, places = x[:rows].copy(), rng.permutation(rows)[:16]
        batch[places] = x[: len(places)]
        assert network.forward(batch)[places].tobytes() == alone[: len(places)].tobytes(), f"{rows=}"
