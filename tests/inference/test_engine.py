"""The engine: answers equal the reference's, the table of networks is thread-safe, and device errors are named."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.device_faults import is_out_of_memory, is_sticky
from inference.device_network import DeviceNetwork
from inference.engine import Engine
from inference.errors import DeviceFault, NetworkUnavailable, OutOfMemory
from inference.forward_plan import ForwardPlan
from models.checkpoint import Checkpoint
from models.columns.schema import NumericColumn, NumericTarget, Schema
from models.errors import CheckpointError, DataError, StoreError
from models.keys import make_key
from models.network.config import Activation, MLPConfig, Normalization
from models.network.fuse import fuse
from models.network.inference_network import InferenceNetwork
from models.network.mlp import MLP
from models.store import Store
from service.stream.kept_checkpoints import KeptCheckpoints

CPU = torch.device("cpu")
IN_FEATURES = 3


@dataclass(frozen=True)
class Part:
    """The rows of one request in a frame."""

    values: np.ndarray[Any, np.dtype[np.float32]]

    def matrix(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self.values


def checkpoint(seed: int) -> Checkpoint:
    config = MLPConfig(layer_sizes=(IN_FEATURES, 20, 1), output="linear")
    columns = tuple(
        NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0) for i in range(IN_FEATURES)
    )
    target = NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
    tensors = MLP(config, generator=torch.Generator().manual_seed(seed)).to_tensors()
    return Checkpoint(config=config, schema=Schema(columns=columns, target=target), tensors=tensors)


class CountingStore(Store):
    """A store that counts reads, and can hold back the reading of a model."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.held: dict[str, threading.Event] = {}
        self.reading = threading.Event()

    def load(self, reference: str) -> Any:
        self.reads.append(reference)
        if reference in self.held:
            self.reading.set()
            assert self.held[reference].wait(10)
        return super().load(reference)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path)
    for seed, name in enumerate(["a", "b", "c"]):
        store.publish(name, checkpoint(seed))
    return store


def key_of(store: Store, name: str) -> str:
    return make_key(name, 1, Store.load(store, f"{name}@1").digest)


def reference_of(store: Store, name: str) -> InferenceNetwork:
    return Store.load(store, f"{name}@1").checkpoint.inference_network()


def engine_of(
    store: Store, *, type_: type[Engine] = Engine, capacity: int = 8, kept: KeptCheckpoints | None = None
) -> Engine:
    return type_(
        store,
        kept=kept,
        device="cpu",
        threads=torch.get_num_threads(),
        capacity=capacity,
        max_batch_rows=4096,
        precision="bf16",
    )


@pytest.fixture
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptCheckpoints:
    return KeptCheckpoints(tmp_path_factory.mktemp("runtime"))


def rows_of(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(n, IN_FEATURES)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=5).map(tuple),
    activation=st.sampled_from(get_args(Activation)),
    normalization=st.sampled_from(get_args(Normalization)),
    output=st.sampled_from(["softmax", "linear", "exponential", "logistic", "step"]),
    rows=st.integers(1, 200),
    seed=st.integers(0, 100),
)
def test_any_network_answers_as_the_numpy_reference_does(
    sizes: tuple[int, ...], activation: Activation, normalization: Normalization, output: Any, rows: int, seed: int
) -> None:
    if output == "step":
        sizes, normalization = (sizes[0], 1), "none"
    if output == "softmax":
        sizes = (*sizes[:-1], sizes[-1] + 1)
    # LayerNorm of a few nearly equal numbers magnifies a rounding error a hundredfold, here as in the reference.
    sizes = tuple(max(size, 4) for size in sizes) if normalization == "layer" else sizes
    config = MLPConfig(layer_sizes=sizes, activation=activation, normalization=normalization, output=output)
    network = inference_network(config, seed)
    x = np.random.default_rng(seed).normal(0, 2, (rows, sizes[0])).astype(np.float32)
    expected = network.forward(x)
    answer = DeviceNetwork(network, CPU, max_batch_rows=64).forward(x)
    assert answer.dtype == np.float32
    if output == "step":
        logits = x @ network.stages[0].weight.T + network.stages[0].bias  # type: ignore[union-attr]
        sure = np.abs(logits[:, 0]) > 1e-4  # far enough from the threshold that rounding cannot change the answer
        np.testing.assert_array_equal(answer[sure], expected[sure])
    else:
        np.testing.assert_allclose(answer, expected, rtol=0, atol=3e-5 * max(1.0, np.abs(expected).max()))


def test_a_sum_that_is_no_number_is_no_class() -> None:
    config = MLPConfig(layer_sizes=(2, 1), output="step")
    network = fuse(
        config, {"layers.0.weight": np.array([[2, -2]], np.float32), "layers.0.bias": np.ones(1, np.float32)}
    )
    inf = np.inf  # and no overflow in the product, which a fused multiply-add does not have
    x = np.array([[inf, inf], [inf, 0], [0, inf], [0, 0]], dtype=np.float32)  # ∞ - ∞ is NaN, and ∞ is above 0
    with np.errstate(over="ignore", invalid="ignore"):
        expected = network.forward(x)
    np.testing.assert_array_equal(expected, [[np.nan, np.nan], [0, 1], [1, 0], [0, 1]])
    for rows in (1, 4):
        answers = [DeviceNetwork(network, CPU, max_batch_rows=4).forward(part) for part in np.split(x, 4 // rows)]
        np.testing.assert_array_equal(np.concatenate(answers), expected)


def inference_network(config: MLPConfig, seed: int) -> InferenceNetwork:
    """Makes a fused network with non-zero biases and random normalisation statistics."""
    rng = np.random.default_rng(seed)
    if config.output == "step":
        tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in config.tensor_shapes().items()}
    else:
        tensors = MLP(config, generator=torch.Generator().manual_seed(seed)).to_tensors()
        for name, tensor in tensors.items():
            if name.endswith("running_var"):
                tensor[:] = rng.uniform(0.5, 2, tensor.shape)
            elif name.endswith(("bias", "running_mean")):
                tensor[:] = rng.normal(0, 0.3, tensor.shape)
    return fuse(config, tensors)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 1024, 1025, 5000])
def test_parts_are_answered_in_their_order_and_a_second_run_leaves_the_first_answers_alone(
    store: CountingStore, rows: int
) -> None:
    engine, key = engine_of(store), key_of(store, "a")
    x = rows_of(rows)
    first = engine.run(key, [Part(part) for part in np.array_split(x, min(rows, 7))])
    kept = first.copy()
    engine.run(key, [Part(-x)])
    engine.run(key_of(store, "b"), [Part(x)])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_allclose(first, reference_of(store, "a").forward(x), rtol=0, atol=1e-5)


def test_rows_of_another_width_are_refused_also_where_numpy_would_stretch_them(store: CountingStore) -> None:
    with pytest.raises(DataError, match="1 columns where the model takes 3"):
        engine_of(store).run(key_of(store, "a"), [Part(np.zeros((4, 1), np.float32))])


def test_a_network_that_many_threads_ask_for_is_read_once(store: CountingStore) -> None:
    engine, key = engine_of(store), key_of(store, "a")
    store.held["a@1"] = threading.Event()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(engine.load, key) for _ in range(8)]
        assert store.reading.wait(10)
        # The table is not locked meanwhile: this thread loads and runs another model.
        x = rows_of(5)
        answer = engine.run(key_of(store, "b"), [Part(x)])
        np.testing.assert_allclose(answer, reference_of(store, "b").forward(x), rtol=0, atol=1e-5)
        store.held["a@1"].set()
        networks = {id(asked_for.result(10)) for asked_for in asked}
    assert len(networks) == 1
    assert store.reads.count("a@1") == 1


def test_a_load_that_fails_fails_for_all_who_wait_and_is_tried_again_for_who_comes_later(store: CountingStore) -> None:
    engine, wrong = engine_of(store), make_key("a", 1, "sha256:another")
    for _ in range(2):
        with pytest.raises(StoreError, match="was replaced"):
            engine.load(wrong)
    assert store.reads == ["a@1", "a@1"]


def test_the_network_used_longest_ago_is_forgotten(store: CountingStore) -> None:
    engine = engine_of(store, capacity=2)
    for name in ["a", "b", "a", "c", "a", "b"]:
        engine.load(key_of(store, name))
    assert store.reads == ["a@1", "b@1", "c@1", "b@1"]


class FaultyNetwork(DeviceNetwork):
    """A network with one more operation at its end, which gets the plan's number of rows."""

    operation: Callable[[int], object]

    def plan(self, rows: int, members: int | None = None) -> ForwardPlan:
        plan = super().plan(rows, members)
        return ForwardPlan(plan.x, plan.y, (*plan.steps, partial(self.operation, rows)))


class FaultyEngine(Engine):
    """An engine whose networks have an operation that can be made to fail after loading."""

    operation: Callable[[int], object] = staticmethod(lambda _: None)

    def on_device(self, network: InferenceNetwork) -> DeviceNetwork:
        faulty = FaultyNetwork(network, self.device, max_batch_rows=4096)
        faulty.operation = lambda rows: self.operation(rows)
        return faulty


@pytest.fixture
def faulty(store: CountingStore) -> tuple[FaultyEngine, str]:
    engine, key = engine_of(store, type_=FaultyEngine), key_of(store, "a")
    assert isinstance(engine, FaultyEngine)
    engine.load(key)
    return engine, key


def cuda_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def host_out_of_memory() -> None:
    torch.empty(1 << 45)  # more than an address space holds, so the allocator itself raises the error


@pytest.mark.parametrize("exhaust", [cuda_out_of_memory, host_out_of_memory])
@pytest.mark.parametrize("room", [16, 48, 1024])
def test_out_of_memory_halves_the_batch_until_it_fits(
    faulty: tuple[FaultyEngine, str], store: CountingStore, exhaust: Callable[[], None], room: int
) -> None:
    engine, key = faulty
    computed = []

    def operation(rows: int) -> None:
        if rows > room:
            exhaust()
        computed.append(rows)

    x = rows_of(1500)
    whole = engine.run(key, [Part(x)])
    engine.operation = operation
    np.testing.assert_array_equal(engine.run(key, [Part(x)]), whole)
    assert max(computed) <= room
    np.testing.assert_allclose(whole, reference_of(store, "a").forward(x), rtol=0, atol=1e-5)


def test_out_of_memory_for_the_fewest_rows_is_told_and_passes(faulty: tuple[FaultyEngine, str]) -> None:
    engine, key = faulty
    engine.operation = lambda _: host_out_of_memory()
    with pytest.raises(OutOfMemory, match="no memory for 16 rows"):
        engine.run(key, [Part(rows_of(100))])
    engine.operation = lambda _: None
    assert engine.run(key, [Part(rows_of(100))]).shape == (100, 1)


def test_a_lost_device_is_named_and_no_row_is_tried_twice(faulty: tuple[FaultyEngine, str]) -> None:
    engine, key = faulty
    tries = []

    def operation(rows: int) -> None:
        tries.append(rows)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with …")

    engine.operation = operation
    with pytest.raises(DeviceFault, match=r"illegal memory access was encountered$"):
        engine.run(key, [Part(rows_of(100))])
    assert tries == [112]


def test_a_fault_of_the_model_itself_passes_as_it_is(faulty: tuple[FaultyEngine, str]) -> None:
    engine, key = faulty

    def operation(_: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    engine.operation = operation
    with pytest.raises(RuntimeError, match="mat1") as raised:
        engine.run(key, [Part(rows_of(2))])
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("error", "out_of_memory", "sticky"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True, False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory"), True, False),
        (MemoryError(), True, False),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), False, True),
        (RuntimeError("shapes cannot be multiplied"), False, False),
        (ValueError("out of memory"), False, False),
    ],
)
def test_what_a_device_raises_is_told_apart(error: Exception, out_of_memory: bool, sticky: bool) -> None:
    assert (is_out_of_memory(error), is_sticky(error)) == (out_of_memory, sticky)


def test_a_network_comes_from_the_copy_that_was_kept_of_it_whatever_the_store_holds(
    store: CountingStore, kept: KeptCheckpoints
) -> None:
    key = key_of(store, "a")
    expected = engine_of(store, kept=kept).take_in(key).forward(rows_of(5))
    shutil.rmtree(store.root)
    np.testing.assert_array_equal(engine_of(store, kept=kept).load(key).forward(rows_of(5)), expected)
    kept.path(key).write_bytes(kept.path(key).read_bytes()[:-1])
    with pytest.raises(StoreError, match="a@1 is not in the store"):
        engine_of(store, kept=kept).load(key)
    assert not kept.path(key).exists(), "a damaged copy is no use"


def test_taking_in_looks_at_the_file_again_although_its_network_is_in_memory(
    store: CountingStore, kept: KeptCheckpoints
) -> None:
    ours, key = engine_of(store, kept=kept), key_of(store, "a")
    network = ours.take_in(key)
    assert ours.take_in(key) is network
    assert store.reads == ["a@1"], "the file is as it was"
    path = store.version("a", 1).path
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="SHA-256"):
        ours.take_in(key)
    assert ours.load(key) is network
    path.write_bytes(sound)
    kept.discard(key)
    assert ours.take_in(key) is network
    assert kept.read(key) == sound


def test_what_cannot_be_loaded_any_more_is_unavailable_and_shows_no_path(store: CountingStore) -> None:
    ours, key = engine_of(store), key_of(store, "a")
    store.version("a", 1).path.write_bytes(b"nothing")
    with pytest.raises(NetworkUnavailable) as caught:
        ours.run(key, [Part(rows_of(5))])
    assert str(store.root) not in str(caught.value)
