"""Networks with input stages, learned activations and members on a device: the reference's answers, batch-invariant."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.device_network import DeviceNetwork
from models.network.config import MLPConfig
from models.network.fuse import fuse
from models.network.inference_network import InferenceNetwork
from models.network.inputs import InputConfig

CPU = torch.device("cpu")
X86 = platform.machine() == "x86_64"


def network_of(
    kinds: list[str], *, output: Any, members: int, clip: float | None, seed: int, weighted: bool = False
) -> InferenceNetwork:
    rng = np.random.default_rng(seed)
    places = {kind: tuple(i for i, other in enumerate(kinds) if other == kind) for kind in ("number", "flag", "index")}
    inputs = InputConfig(
        numbers=places["number"],
        flags=places["flag"],
        indices=places["index"],
        categories=tuple(int(n) for n in rng.integers(1, 40, len(places["index"]))),
        clip=clip,
        frequencies=int(rng.integers(0, 9)),
        scale=bool(rng.integers(2)),
    )
    config = MLPConfig(
        layer_sizes=(len(kinds), 24, 17, 1 if output == "linear" else 3),
        activation="mish" if output == "linear" else "selu",
        output=output,
        learned_activation=bool(rng.integers(2)),
        clamp=output == "linear",
        members=members,
        member_weights=tuple(rng.integers(1, 9, members).tolist()) if weighted else None,
        inputs=inputs,
    )
    tensors = {
        name: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    mean, std = np.zeros(len(kinds)), np.ones(len(kinds))
    numbers = list(inputs.numbers)
    mean[numbers], std[numbers] = rng.normal(0, 3, len(numbers)), rng.uniform(0.1, 9, len(numbers))
    return fuse(config, tensors, input_mean=mean, input_std=std, output_range=(-0.5, 1.5))


def rows_for(network: InferenceNetwork, n: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    inputs = network.members[0][0].inputs  # type: ignore[union-attr]
    x = rng.normal(0, 3, (n, network.in_features)).astype(np.float32)
    x[:, inputs.flags] = rng.integers(0, 2, (n, len(inputs.flags)))
    for at, categories in zip(inputs.indices, inputs.categories, strict=True):
        x[:, at] = rng.integers(0, categories + 1, n)
    return x


networks = st.builds(
    network_of,
    st.lists(st.sampled_from(["number", "flag", "index"]), min_size=1, max_size=9),
    output=st.sampled_from(["softmax", "linear"]),
    members=st.integers(1, 3),
    clip=st.none() | st.just(3.0),
    seed=st.integers(0, 10_000),
    weighted=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(networks, st.integers(1, 70), st.integers(0, 1000))
@pytest.mark.slow
def test_a_device_answers_as_the_reference_does(network: InferenceNetwork, n: int, seed: int) -> None:
    x = rows_for(network, n, np.random.default_rng(seed))
    on_device = DeviceNetwork(network, CPU, max_batch_rows=100)
    np.testing.assert_allclose(on_device.forward(x), network.forward(x), atol=2e-5, rtol=2e-4)


@pytest.mark.skipif(not X86, reason="what a processor's kernels do is known for x86")
@settings(max_examples=25, deadline=None)
@given(networks, st.lists(st.integers(1, 700), min_size=3, max_size=5), st.integers(0, 1000))
def test_answers_are_batch_invariant(network: InferenceNetwork, batches: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    on_device = DeviceNetwork(network, CPU, max_batch_rows=max(batches))
    on_device.warm_up()
    assert on_device.batch_invariant
    rows = rows_for(network, 6, rng)
    alone = np.concatenate([on_device.forward(row[None]) for row in rows])
    for batch in batches:
        x = rows_for(network, batch, rng)
        places = rng.permutation(batch)[: len(rows)]
        x[places] = rows[: len(places)]
        assert on_device.forward(x)[places].tobytes() == alone[: len(places)].tobytes(), f"{batch=}"


def test_values_far_out_are_answered_as_the_bound_is() -> None:
    network = network_of(["number", "number"], output="softmax", members=1, clip=3.0, seed=1)
    on_device = DeviceNetwork(network, CPU, max_batch_rows=16)
    far = np.array([[3e38, -3e38], [1e20, -1e20]], dtype=np.float32)
    answers = on_device.forward(far)
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    np.testing.assert_allclose(answers, network.forward(far), atol=1e-5)
