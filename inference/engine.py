"""An engine: the networks in memory on one device, and the forward pass over a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from inference.device_faults import is_out_of_memory, is_sticky
from inference.device_network import DeviceNetwork, Precision
from inference.errors import DeviceFault, NetworkUnavailable, OutOfMemory
from inference.log import Log, StandardLog
from inference.network_memory import NetworkMemory
from inference.scratch import Scratch
from models.checkpoint import LoadedCheckpoint, parse_checkpoint
from models.errors import AxonError, CheckpointError, DataError, ModelNotFound, StoreError, reason_of
from models.file_identity import FileIdentity
from models.keys import parse_key
from models.model_store import ReadableStore
from models.network.inference_network import InferenceNetwork

Float32Array = NDArray[np.float32]

_MOST_REMEMBERED = 10_000  # keys whose facts are remembered; more than a server has versions in use

_Value = TypeVar("_Value")


class Rows(Protocol):
    """A holder of float32 rows."""

    def matrix(self) -> Float32Array:
        """Returns the rows, `(rows, width)`."""


class CheckpointCopies(Protocol):
    """Copies of checkpoints by key, which outlive the process that wrote the copies."""

    def path(self, key: str) -> Path:
        """Returns the path of a copy, whether or not the copy exists."""

    def read(self, key: str) -> bytes | None:
        """Returns the bytes of a copy, or None if no copy can be read."""

    def keep(self, key: str, payload: bytes) -> None:
        """Writes a copy of a verified checkpoint."""

    def discard(self, key: str) -> None:
        """Removes a copy."""


@dataclass(frozen=True)
class NetworkFacts:
    """The facts about a verified network that outlive the network's time in memory.

    Attributes:
        parameter_count: number of values in the tensors of the fused network.
        batch_invariant: True if a test found that a row's answer does not depend on its batch.
        choice: position of the row counts that the test chose.
        memory_bytes: number of bytes that the network takes in memory.
    """

    parameter_count: int
    batch_invariant: bool
    choice: int
    memory_bytes: int


class Engine:
    """The networks on one device; beyond the limits, the least recently used networks leave the memory.

    Only one thread may call `run`. Any thread may call `load`: the first thread that asks for a network reads it and
    warms it up, while other threads run theirs.

    Args:
        store: model store to read checkpoints from.
        kept: copies of verified checkpoints of the store; None for no copies.
        device: name of a torch device, `cpu` or `cuda:0`.
        threads: number of CPU threads of a matrix product.
        capacity: largest number of networks in memory.
        memory_bytes: largest number of bytes of all networks in memory; None for no limit.
        max_batch_rows: number of rows of the largest batch.
        precision: number format of a GPU's matrix products; a CPU computes in float32.
        log: log of the engine; Python's own `logging` if None.
        limited_log: log for events that callers can cause again and again; the same as `log` if None.

    Attributes:
        device: torch device that holds the networks.
        memory: networks in memory.
    """

    def __init__(
        self,
        store: ReadableStore,
        *,
        kept: CheckpointCopies | None = None,
        device: str,
        threads: int,
        capacity: int,
        memory_bytes: int | None = None,
        max_batch_rows: int,
        precision: Precision = "fp32",
        log: Log | None = None,
        limited_log: Log | None = None,
    ) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self._enter_device()
        self._store = store
        self._log = StandardLog() if log is None else log
        self._limited_log = self._log if limited_log is None else limited_log
        self._kept = kept
        self.memory: NetworkMemory[DeviceNetwork] = NetworkMemory(
            capacity=capacity, limit_bytes=memory_bytes, can_return=self._can_return
        )
        self._max_batch_rows = max_batch_rows
        self._precision: Precision = "fp32" if self.device.type == "cpu" else precision
        self._scratch = Scratch(self.device)
        self._table = Lock()  # held only for look-ups, never while a network is read or runs
        self._loading: dict[str, Future[DeviceNetwork]] = {}
        self._taken_in: dict[str, FileIdentity] = {}  # verified file in the store, by key
        self._facts: dict[str, NetworkFacts] = {}  # of networks that were in memory, by key

    def take_in(self, key: str) -> DeviceNetwork:
        """Verifies the store's file, keeps a copy, and loads the network, even if the network is in memory already.

        Raises:
            The same as `load`, and CheckpointError if the store's file is not sound, even if the network was loaded
            before.
        """
        return self.load(key) if self._is_taken_in(key) else self._load(key, self._read_store(key))

    def verify(self, key: str) -> NetworkFacts:
        """Takes the network in as `take_in` does, unless the same file was taken in before.

        Raises:
            The same as `take_in`.
        """
        facts = self._facts.get(key)
        if facts is None or not self._is_taken_in(key):
            self.take_in(key)
            facts = self._facts[key]
        return facts

    def restore(self, key: str) -> NetworkFacts | None:
        """Loads a network if there is room; otherwise makes sure that the network can be loaded later.

        Returns:
            Facts about the network; None if they are not known yet.

        Raises:
            The same as `load`.
        """
        if key in self.memory or self.has_room(key):
            self.load(key)
        elif key not in self._facts or not self._can_return(key):
            _ = self._read_kept(key) or self._read_store(key)
        return self._facts.get(key)

    def fetch(self, key: str) -> None:
        """Loads a network, and pins the network in memory.

        Raises:
            The same as `load`.
        """
        self._load(key, None, pinned=True)

    def has_room(self, key: str) -> bool:
        """Returns True if the network of a key fits into the memory beside the present ones."""
        return self.memory.fits(self.size_of(key))

    def size_of(self, key: str) -> int:
        """Returns the number of bytes that the network of a key takes in memory, estimated before its first time."""
        facts = self._facts.get(key)
        if facts is not None:
            return facts.memory_bytes
        name, version, _ = parse_key(key)
        if self._kept is not None:
            with contextlib.suppress(OSError):
                return 2 * self._kept.path(key).stat().st_size
        with contextlib.suppress(CheckpointError):
            return 2 * self._store.version(name, version).identity().size
        return 0

    def load(self, key: str) -> DeviceNetwork:
        """Returns the network of a key.

        A network that is not in memory is read from the kept copy, else from the store, then verified and warmed up.

        Raises:
            CheckpointError: The file is not sound.
            StoreError: The file is not the one that the key names.
            OutOfMemory: The device has no memory for the network.
            DeviceFault: The device is lost.
        """
        return self._load(key, None)

    def _load(self, key: str, loaded: LoadedCheckpoint | None, *, pinned: bool = False) -> DeviceNetwork:
        """Returns the network of a key.

        Args:
            key: key of the model version.
            loaded: checkpoint of the key, or None to read the checkpoint.
            pinned: True to pin the network in memory.
        """
        while pinned and not self.memory.pin(key):
            self._load(key, None)
        network = self.memory.get(key)
        if network is not None:
            return network
        with self._table:
            network = self.memory.get(key)
            if network is not None:
                return network
            loading = self._loading.get(key)
            if loading is None:
                mine = self._loading[key] = Future()
        if loading is not None:
            return loading.result()
        try:
            network = self._build_with_room(key, loaded)
        except BaseException as error:
            with self._table:
                del self._loading[key]
            mine.set_exception(error)
            raise
        self.memory.add(key, network)
        with self._table:
            del self._loading[key]
        mine.set_result(network)
        return network

    def run(self, key: str, parts: Sequence[Rows], members: int | None = None) -> Float32Array:
        """Runs a forward pass over the rows of all parts, in order.

        If memory runs out, the batch is halved, as often as needed.

        Args:
            key: key of the model version.
            parts: rows of the batch.
            members: number of members of an ensemble whose mean is the answer, the first ones; None for all.

        Returns:
            `(rows, out_features)` answers, in memory that the engine does not use again.

        Raises:
            DataError: The width of the rows is not that of the network's input.
            OutOfMemory: The device has no memory for the smallest batch.
            DeviceFault: The device is lost to this process.
            NetworkUnavailable: The network is not in memory and cannot be loaded.
        """
        try:
            network = self.load(key)
        except DeviceFault:
            raise
        except AxonError as error:
            self._log.error("checkpoint not loaded", key=key, reason=str(error))
            raise NetworkUnavailable(reason_of(error)) from error
        x = parts[0].matrix() if len(parts) == 1 else np.concatenate([part.matrix() for part in parts])
        if x.shape[1] != network.in_features:
            raise DataError(f"rows have {x.shape[1]} columns where the model takes {network.in_features}.")
        return self._forward(network, x, members)

    def on_device(self, network: InferenceNetwork) -> DeviceNetwork:
        """Puts a network on this engine's device, without warming up."""
        return DeviceNetwork(
            network,
            self.device,
            precision=self._precision,
            max_batch_rows=self._max_batch_rows,
            log=self._limited_log,
        )

    def _forward(self, network: DeviceNetwork, x: Float32Array, members: int | None) -> Float32Array:
        smallest = network.blocks.smallest
        try:
            return network.forward(x, members)
        except (RuntimeError, MemoryError) as error:
            if (fault := _fault_of(error, f"{len(x)} rows of this model")) is None:
                raise
            if isinstance(fault, DeviceFault) or len(x) <= smallest:
                raise fault from error
            self._release()
            reason = str(error).partition("\n")[0]
            self._limited_log.warning("out of memory; halving the batch", rows=len(x), reason=reason)
        half = -(-len(x) // (2 * smallest)) * smallest
        return np.concatenate([self._forward(network, x[:half], members), self._forward(network, x[half:], members)])

    def _build_with_room(self, key: str, loaded: LoadedCheckpoint | None) -> DeviceNetwork:
        """Builds the network of a key, after others have left the memory as far as necessary.

        Raises:
            OutOfMemory: The network is larger than the limit, or the device has no memory for it.
        """
        loaded = loaded or self._read_kept(key) or self._read_store(key)
        facts = self._facts.get(key)
        self.memory.make_room(2 * len(loaded.payload) if facts is None else facts.memory_bytes)
        try:
            network = self._build(key, loaded)
        except OutOfMemory:
            if not self.memory.drop_unpinned():
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            network = self._build(key, loaded)
        limit = self.memory.limit_bytes
        if limit is not None and network.memory_bytes > limit:
            raise OutOfMemory(
                f"this model takes {network.memory_bytes:,} bytes of memory, more than the limit of {limit:,} bytes "
                "(AXON_MODEL_MEMORY_BYTES)."
            )
        facts = NetworkFacts(network.parameter_count, network.batch_invariant, network.choice, network.memory_bytes)
        self._remember(self._facts, key, facts)
        return network

    def _can_return(self, key: str) -> bool:
        """Returns True if the network of a key can be read again: there is a copy, or the store has the same file."""
        if self._kept is not None and self._kept.path(key).exists():
            return True
        try:
            return self._identity(key) == self._taken_in.get(key)
        except CheckpointError:
            return False

    def _is_taken_in(self, key: str) -> bool:
        """Returns True if the file in the store was verified and copied.

        Raises:
            CheckpointError: There is no such file.
        """
        identity = self._identity(key)
        has_copy = self._kept is None or self._kept.path(key).exists()
        return has_copy and self._taken_in.get(key) == identity

    def _identity(self, key: str) -> FileIdentity:
        name, version, _ = parse_key(key)
        return self._store.version(name, version).identity()

    @staticmethod
    def _remember(table: dict[str, _Value], key: str, value: _Value) -> None:
        """Adds a value to a table, and removes the oldest ones of a full table."""
        table[key] = value
        while len(table) > _MOST_REMEMBERED:
            table.pop(next(iter(table)), None)

    def _enter_device(self) -> None:
        """Makes the device the thread's current one, so that no allocation of torch initializes another GPU."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)

    def _release(self) -> None:
        """Frees all memory but the networks' tensors."""
        for network in self.memory.networks():
            network.release()
        self._scratch.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _read_store(self, key: str) -> LoadedCheckpoint:
        """Reads and verifies a checkpoint of the store, and keeps a copy."""
        name, version, digest = parse_key(key)
        identity = None
        with contextlib.suppress(CheckpointError):  # the next line finds the reason
            identity = self._identity(key)
        try:
            loaded = self._store.load(f"{name}@{version}")
        except ModelNotFound as error:
            raise StoreError(f"{name}@{version} is not in the store.") from error
        if loaded.digest != digest:
            raise StoreError(f"{name}@{version} was replaced while it was being loaded.")
        if self._kept is not None:
            self._kept.keep(key, loaded.payload)
        if identity is not None:
            self._remember(self._taken_in, key, identity)
        return loaded

    def _read_kept(self, key: str) -> LoadedCheckpoint | None:
        """Reads and verifies the kept copy of a checkpoint; None if there is no sound copy."""
        payload = None if self._kept is None else self._kept.read(key)
        if self._kept is None or payload is None:
            return None
        try:
            loaded = parse_checkpoint(self._kept.path(key), payload)
        except CheckpointError as error:
            self._log.error("a kept copy is damaged", key=key, reason=str(error))
            self._kept.discard(key)
            return None
        return loaded if loaded.digest == parse_key(key)[2] else None

    def _build(self, key: str, loaded: LoadedCheckpoint) -> DeviceNetwork:
        """Builds and warms up the network of a verified checkpoint."""
        name, version, _ = parse_key(key)
        try:
            self._enter_device()
            network = self.on_device(loaded.checkpoint.inference_network())
            facts = self._facts.get(key)
            if facts is None:
                network.warm_up()
            else:  # the same bytes on the same device: the test would give the same result, and takes most of the time
                network.resume(facts.choice, batch_invariant=facts.batch_invariant)
        except (RuntimeError, MemoryError) as error:
            if (fault := _fault_of(error, "this model")) is None:
                raise
            raise fault from error
        if self.device.type == "cpu":  # not on a GPU, whose graphs are bound to the memory of their capture
            network.share(self._scratch)
        if facts is None and not network.batch_invariant:
            self._log.warning("a row's answer may depend on its batch in its last bits", model=name, version=version)
        return network


def _fault_of(error: RuntimeError | MemoryError, what: str) -> OutOfMemory | DeviceFault | None:
    """Converts an exception of torch to one for the caller; None if the device did not cause the exception."""
    if is_out_of_memory(error):
        return OutOfMemory(f"the device has no memory for {what}.")
    if is_sticky(error):
        reason, _, _ = str(error).partition("\n")
        return DeviceFault(f"the device is lost: {reason}")
    return None
