"""Batch invariance: a row has the same bits in any batch, and the test at warm-up detects a network without this."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bit_invariance import is_batch_invariant, trial_sizes
from inference.device_network import DeviceNetwork
from inference.forward_plan import ForwardPlan
from inference.row_blocks import RowBlocks, choices
from models.network.config import Activation, MLPConfig, Normalization
from models.network.fuse import fuse
from models.network.inference_network import Activate, Affine, InferenceNetwork, LayerNorm

CPU = torch.device("cpu")
Float32Array = np.ndarray[Any, np.dtype[np.float32]]

X86 = platform.machine() in {"x86_64", "AMD64"}


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def random_network(
    sizes: tuple[int, ...], activation: Activation, normalization: Normalization, output: Any, seed: int
) -> InferenceNetwork:
    """Makes a random network as from a checkpoint, with random BatchNorm statistics if needed."""
    rng = np.random.default_rng(seed)
    if output == "step":
        sizes, activation, normalization = (sizes[0], 1), "identity", "none"
    config = MLPConfig(layer_sizes=sizes, activation=activation, normalization=normalization, output=output)
    tensors = {}
    for name, shape in config.tensor_shapes().items():
        if name.endswith("running_var"):
            tensors[name] = rng.uniform(0.2, 4, shape).astype(np.float32)
        elif name.startswith("norms"):
            tensors[name] = rng.normal(1, 0.3, shape).astype(np.float32)
        else:
            tensors[name] = (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
    return fuse(config, tensors, input_mean=rng.normal(0, 3, sizes[0]), input_std=rng.uniform(0.1, 9, sizes[0]))


def in_a_batch(network: DeviceNetwork, rows: Float32Array, batch: int, rng: np.random.Generator) -> Float32Array:
    """Returns the answers to rows at random places of a batch."""
    x = rng.normal(0, 3, (batch, network.in_features)).astype(np.float32)
    places = rng.permutation(batch)[: len(rows)]
    x[places] = rows[: len(places)]
    return network.forward(x)[places]


@pytest.mark.skipif(not X86, reason="what a processor's kernels do is known for x86")
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 150) | st.sampled_from([16, 31, 64, 403]), min_size=2, max_size=4).map(tuple),
    activation=st.sampled_from(get_args(Activation)),
    normalization=st.sampled_from(get_args(Normalization)),
    output=st.sampled_from(["softmax", "linear", "exponential", "logistic", "step"]),
    batches=st.lists(st.integers(1, 64) | st.integers(1, 2600), min_size=4, max_size=8),
    seed=st.integers(0, 10_000),
)
def test_answers_are_batch_invariant(
    sizes: tuple[int, ...],
    activation: Activation,
    normalization: Normalization,
    output: Any,
    batches: list[int],
    seed: int,
) -> None:
    if output == "softmax":
        sizes = (*sizes[:-1], sizes[-1] + 1)
    with threads(1):
        assert_same_bits(random_network(sizes, activation, normalization, output, seed), batches, seed)


def assert_same_bits(network: InferenceNetwork, batches: list[int], seed: int) -> None:
    on_device = DeviceNetwork(network, CPU, max_batch_rows=max(batches))
    on_device.warm_up()
    assert on_device.batch_invariant
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 3, (12, network.in_features)).astype(np.float32)
    alone = np.concatenate([on_device.forward(row[None]) for row in rows])
    for batch in batches:
        answers = in_a_batch(on_device, rows, batch, rng)
        assert answers.tobytes() == alone[: len(answers)].tobytes(), f"{batch=}"


# The narrow shapes fail with one thread unless rows lie on 64-byte boundaries, the wide ones with two threads unless
# rows are padded.
@pytest.mark.skipif(not X86, reason="what a processor's kernels do is known for x86")
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("sizes", [(1000, 1000, 3), (784, 512, 256, 10), (54, 10), (403, 6), (31, 7, 5), (377, 22)])
def test_shapes_that_are_known_to_be_hard_hold(number: int, sizes: tuple[int, ...]) -> None:
    with threads(number):
        assert_same_bits(random_network(sizes, "gelu", "none", "linear", 0), [2, 17, 33, 100, 257, 1100], 0)


class CountDependentNetwork(DeviceNetwork):
    """A network whose answers depend on the number of rows, as if its device had a kernel for each number."""

    def plan(self, rows: int, members: int | None = None) -> ForwardPlan:
        plan = super().plan(rows, members)
        return ForwardPlan(plan.x, plan.y, (*plan.steps, lambda: plan.y.mul_(1 + rows * 1e-6)))


class PlaceDependentNetwork(DeviceNetwork):
    """A network whose answers depend on a row's place."""

    def plan(self, rows: int, members: int | None = None) -> ForwardPlan:
        plan = super().plan(rows, members)
        places = torch.linspace(1, 1.0001, rows)[:, None]
        return ForwardPlan(plan.x, plan.y, (*plan.steps, lambda: plan.y.mul_(places)))


def test_where_row_counts_matter_one_count_is_used_for_all() -> None:
    network = CountDependentNetwork(random_network((5, 8, 3), "tanh", "none", "softmax", 0), CPU, max_batch_rows=500)
    network.warm_up()
    assert network.batch_invariant
    assert list(network.blocks.sizes) == [64]
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 5)).astype(np.float32)
    alone = np.concatenate([network.forward(row[None]) for row in rows])
    assert in_a_batch(network, rows, 200, rng).tobytes() == alone.tobytes()


def test_where_nothing_helps_it_says_so_and_takes_the_fastest() -> None:
    network = PlaceDependentNetwork(random_network((5, 8, 3), "tanh", "none", "softmax", 0), CPU, max_batch_rows=500)
    network.warm_up()
    assert not network.batch_invariant
    assert network.blocks.sizes == range(16, 513, 16)


@pytest.mark.parametrize("changed", [16, 32, 48, 256, 512])
def test_the_check_sees_one_bit_in_one_row_count(changed: int) -> None:
    first = InferenceNetwork(((Affine(np.ones((2, 3), np.float32), np.zeros(2, np.float32)),),), "linear", 3, 2)
    blocks = RowBlocks(range(16, 513, 16))

    def forward(x: Float32Array) -> Float32Array:
        y = np.float32(x.sum(axis=1, keepdims=True))
        return np.nextafter(y, np.float32(9)) if blocks.padded(len(x)) == changed and len(x) > 1 else y

    assert not is_batch_invariant(forward, first, blocks)
    assert is_batch_invariant(lambda x: np.float32(x.sum(axis=1, keepdims=True)), first, blocks)


@given(step=st.integers(1, 64), count=st.integers(1, 70), rows=st.integers(1, 10_000))
def test_blocks_are_the_batch_in_order_each_in_the_least_count_that_holds_it(step: int, count: int, rows: int) -> None:
    blocks = RowBlocks(range(step, step * count + 1, step))
    cut = list(blocks.cut(rows))
    assert [row for block in cut for row in range(block.start, block.start + block.rows)] == list(range(rows))
    for block in cut:
        assert block.rows <= block.padded < block.rows + step
        assert block.padded in blocks.sizes


@pytest.mark.parametrize("sizes", [[], [0, 1], [2, 1], [3, 3]])
def test_row_counts_that_make_no_sense_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="sizes="):
        RowBlocks(sizes)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("max_batch_rows", [1, 16, 100, 4096, 100_000])
@pytest.mark.parametrize(("multiply_adds", "widest"), [(10, 10), (10**6, 10**6), (10**7, 4096), (10**9, 10**5)])
def test_every_choice_is_small_enough_to_be_tried_whole(
    device: str, max_batch_rows: int, multiply_adds: int, widest: int
) -> None:
    tried = choices(device, max_batch_rows=max_batch_rows, multiply_adds=multiply_adds, widest=widest)
    assert tried[0].largest == 16 or tried[0].largest * widest <= 2**24
    for blocks in tried:
        assert blocks.largest <= (1024 if device == "cpu" else 4096)
        assert blocks.smallest in {16, 32, 64, 256}
        sizes = trial_sizes(blocks)
        assert sizes[-1] == blocks.largest
        assert sum(sizes) <= 7 * blocks.largest
    if device == "cuda":
        assert all(size & (size - 1) == 0 for blocks in tried for size in blocks.sizes)


def test_the_stages_of_a_network_cover_what_is_checked_here() -> None:
    kinds = {
        type(stage)
        for normalization in get_args(Normalization)
        for stage in random_network((5, 8, 3), "relu", normalization, "softmax", 0).stages
    }
    assert kinds == {Affine, Activate, LayerNorm}


@pytest.mark.skipif(not X86, reason="what a processor's kernels do is known for x86")
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 9])
def test_shares_have_the_same_bits_wherever_a_row_lies_in_its_batch(width: int) -> None:
    # torch.sigmoid computes the last numbers of a memory block in another way than the others.
    with threads(1):
        network = random_network((4, 6, width), "relu", "none", "logistic", width)
        assert_same_bits(network, list(range(1, 40)), width)
        if width == 1:
            assert_same_bits(dataclasses.replace(network, output="sigmoid", out_features=2), list(range(1, 40)), width)
