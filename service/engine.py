"""The device's side of a worker: networks in memory, and one forward pass over a batch.

Only a worker imports this module, since it alone needs torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.config import LEAKY_RELU_SLOPE, Activation
from models.errors import StoreError
from models.fuse import Activate, Affine, InferenceNetwork, LayerNorm
from models.store import Store
from service.keys import parse_key

# On a CPU, a matrix product rounds a row differently by how many rows stand beside it. Padded to a multiple of 16
# rows it does not, at almost no cost, so that a row's answer does not depend on its company.
ROW_MULTIPLE = 16

Operation = Callable[[torch.Tensor], torch.Tensor]

_ACTIVATIONS: dict[Activation, Operation] = {
    "relu": torch.relu_,
    "leaky_relu": lambda x: functional.leaky_relu_(x, LEAKY_RELU_SLOPE),
    "gelu": functional.gelu,
    "silu": lambda x: functional.silu(x, inplace=True),
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
    "identity": lambda x: x,
}


class Rows(Protocol):
    """Something that holds float32 rows."""

    @property
    def rows(self) -> int:
        """How many."""

    def matrix(self) -> NDArray[np.float32]:
        """`(rows, width)`."""


class LoadedNetwork:
    """An inference network on a device."""

    def __init__(self, network: InferenceNetwork, device: torch.device) -> None:
        self.in_features = network.in_features
        self.out_features = network.out_features
        self.parameter_count = network.parameter_count
        self._device = device
        self._operations = [*(_operation(stage, device) for stage in network.stages), _output(network.output)]

    @torch.inference_mode()
    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answers for `(rows, in_features)` rows: `(rows, out_features)` probabilities or values."""
        y = torch.from_numpy(x)
        if self._device.type != "cpu":
            y = y.pin_memory().to(self._device, non_blocking=True)
        for operation in self._operations:
            y = operation(y)
        answer: NDArray[np.float32] = y.cpu().numpy()
        return answer


class Engine:
    """The networks of one worker on one device, the least recently used forgotten beyond `capacity`.

    Args:
        store: where checkpoints are.
        device: a torch device's name, `cpu` or `cuda:0`.
        threads: CPU threads of a matrix product.
        capacity: networks kept.
        max_batch_rows: the largest batch, for warming up.
    """

    def __init__(self, store: Store, *, device: str, threads: int, capacity: int, max_batch_rows: int) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self._store = store
        self._capacity = capacity
        self._max_batch_rows = max_batch_rows
        self._networks: OrderedDict[str, LoadedNetwork] = OrderedDict()

    def load(self, key: str) -> LoadedNetwork:
        """The network behind a key, read from the store, verified and warmed if it is not in memory.

        Raises:
            CheckpointError: the file is not sound.
            StoreError: the file is another one than the key means.
        """
        if key in self._networks:
            self._networks.move_to_end(key)
            return self._networks[key]
        name, version, digest = parse_key(key)
        loaded = self._store.load(f"{name}@{version}")
        if loaded.digest != digest:
            raise StoreError(f"{name}@{version} was replaced while it was being loaded.")
        network = LoadedNetwork(loaded.checkpoint.inference_network(), self.device)
        self._warm_up(network)
        self._networks[key] = network
        while len(self._networks) > self._capacity:
            self._networks.popitem(last=False)
        return network

    def run(self, key: str, parts: list[Rows]) -> NDArray[np.float32]:
        """One forward pass over the rows of all parts, in their order.

        Returns:
            `(rows, out_features)` answers.
        """
        network = self.load(key)
        rows = sum(part.rows for part in parts)
        padded = -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE if self.device.type == "cpu" else rows
        batch = np.zeros((padded, network.in_features), dtype=np.float32)
        at = 0
        for part in parts:
            batch[at : at + part.rows] = part.matrix()
            at += part.rows
        return network.forward(batch)[:rows]

    def _warm_up(self, network: LoadedNetwork) -> None:
        for rows in _warm_up_sizes(self._max_batch_rows):
            network.forward(np.zeros((rows, network.in_features), dtype=np.float32))


def _warm_up_sizes(largest: int) -> Iterator[int]:
    """16, 64, 256, …: each size class that allocators and matrix kernels set something up for; at most 1,024 rows."""
    for power in count(2):
        rows = 4**power
        if rows > min(largest, 1024):
            return
        yield rows


def _operation(stage: Affine | Activate | LayerNorm, device: torch.device) -> Operation:
    match stage:
        case Affine(weight, bias):
            w, b = _tensor(weight, device), _tensor(bias, device)
            return lambda x: functional.linear(x, w, b)
        case LayerNorm(weight, bias, eps):
            w, b = _tensor(weight, device), _tensor(bias, device)
            return lambda x: functional.layer_norm(x, w.shape, w, b, eps)
        case Activate(name):
            return _ACTIVATIONS[name]


def _output(output: str) -> Operation:
    match output:
        case "softmax":
            return lambda z: torch.softmax(z, dim=-1)
        case "step":
            return lambda z: torch.cat([z < 0, z >= 0], dim=-1).float()
        case _:
            return lambda z: z


def _tensor(array: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    return torch.tensor(array, device=device)
