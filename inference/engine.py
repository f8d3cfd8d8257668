"""The device's side of a worker: networks in memory, and one forward pass over a batch.

Only a worker imports this module, since it alone needs torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from inference.device_faults import is_out_of_memory, is_sticky
from inference.device_network import DeviceNetwork, Precision
from inference.errors import DeviceFault, NetworkUnavailable, OutOfMemory
from inference.log import Log, StandardLog
from inference.scratch import Scratch
from models.checkpoint import LoadedCheckpoint, parse_checkpoint
from models.errors import AxonError, CheckpointError, DataError, ModelNotFound, StoreError, reason_of
from models.file_identity import FileIdentity
from models.keys import parse_key
from models.network.fuse import InferenceNetwork
from models.store import Store

Float32Array = NDArray[np.float32]


class Rows(Protocol):
    """Something that holds float32 rows."""

    def matrix(self) -> Float32Array:
        """`(rows, width)`."""


class CheckpointCopies(Protocol):
    """Copies of checkpoints by key, which outlive the process that keeps them."""

    def path(self, key: str) -> Path:
        """Returns the path of a copy, whether or not the copy exists."""

    def read(self, key: str) -> bytes | None:
        """Returns the bytes of a copy, or None if no copy can be read."""

    def keep(self, key: str, payload: bytes) -> None:
        """Writes a copy of a verified checkpoint."""

    def discard(self, key: str) -> None:
        """Removes a copy."""


class Engine:
    """The networks of one worker on one device, the least recently used forgotten beyond `capacity`.

    `run` is for one thread. `load` is for any: a network is read and warmed in the thread that asks first, while
    others run theirs.

    Args:
        store: where checkpoints are.
        kept: copies of what was taken in from the store; None keeps none.
        device: a torch device's name, `cpu` or `cuda:0`.
        threads: CPU threads of a matrix product.
        capacity: networks kept.
        max_batch_rows: the largest batch, for warming up.
        precision: of a GPU's matrix products; a CPU computes in float32.
        log: log of the engine; Python's own `logging` if None.
        limited_log: log of what callers can cause again and again; the same as `log` if None.
    """

    def __init__(
        self,
        store: Store,
        *,
        kept: CheckpointCopies | None = None,
        device: str,
        threads: int,
        capacity: int,
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
        self._capacity = capacity
        self._max_batch_rows = max_batch_rows
        self._precision: Precision = "fp32" if self.device.type == "cpu" else precision
        self._scratch = Scratch(self.device)
        self._table = Lock()  # held for look-ups alone, never while a network is read or runs
        self._networks: OrderedDict[str, DeviceNetwork] = OrderedDict()
        self._loading: dict[str, Future[DeviceNetwork]] = {}
        self._taken_in: dict[str, FileIdentity] = {}  # of networks in memory: the file that was found sound for it

    def take_in(self, key: str) -> DeviceNetwork:
        """Verifies the store's file, keeps a copy of it, and loads its network, also where that is in memory already.

        Raises:
            As `load`, and CheckpointError where the store's file is not sound, whatever was loaded before.
        """
        name, version, _ = parse_key(key)
        identity = self._store.version(name, version).identity()
        has_copy = self._kept is None or self._kept.path(key).exists()
        if has_copy and self._taken_in.get(key) == identity:
            return self.load(key)
        loaded = self._read_store(key)
        network = self._load(key, loaded)
        with self._table:
            if key in self._networks:
                self._taken_in[key] = identity
        return network

    def load(self, key: str) -> DeviceNetwork:
        """The network behind a key. If it is not in memory, it is read from the copy that was kept of it, else from the
        store, verified and warmed.

        Raises:
            CheckpointError: the file is not sound.
            StoreError: the file is another one than the key means.
            OutOfMemory: the device has no room for it.
            DeviceFault: the device is lost.
        """
        return self._load(key, None)

    def _load(self, key: str, loaded: LoadedCheckpoint | None) -> DeviceNetwork:
        """The network behind a key; `loaded` is its checkpoint where that was read already."""
        with self._table:
            network = self._networks.get(key)
            if network is not None:
                self._networks.move_to_end(key)
                return network
            loading = self._loading.get(key)
            if loading is None:
                mine = self._loading[key] = Future()
        if loading is not None:
            return loading.result()
        try:
            network = self._build(key, loaded or self._read_kept(key) or self._read_store(key))
        except BaseException as error:
            with self._table:
                del self._loading[key]
            mine.set_exception(error)
            raise
        forgotten = []  # until the lock is released: giving back a network's memory takes a while
        with self._table:
            del self._loading[key]
            self._networks[key] = network
            while len(self._networks) > self._capacity:
                oldest, surplus = self._networks.popitem(last=False)
                self._taken_in.pop(oldest, None)
                forgotten.append(surplus)
        mine.set_result(network)
        return network

    def run(self, key: str, parts: Sequence[Rows]) -> Float32Array:
        """One forward pass over the rows of all parts, in their order.

        Where memory runs out, the batch is halved, and halved again.

        Returns:
            `(rows, out_features)` answers, the caller's to keep.

        Raises:
            DataError: rows of another width than the network's.
            OutOfMemory: the fewest rows that it computes are too many.
            DeviceFault: the device is lost, and with it this process's use of it.
            NetworkUnavailable: the network is not in memory and cannot be loaded.
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
        return self._forward(network, x)

    def on_device(self, network: InferenceNetwork) -> DeviceNetwork:
        """The network as this engine runs it, not warmed."""
        return DeviceNetwork(
            network,
            self.device,
            precision=self._precision,
            max_batch_rows=self._max_batch_rows,
            log=self._limited_log,
        )

    def _forward(self, network: DeviceNetwork, x: Float32Array) -> Float32Array:
        smallest = network.blocks.smallest
        try:
            return network.forward(x)
        except (RuntimeError, MemoryError) as error:
            if (fault := _fault_of(error, f"{len(x)} rows of this model")) is None:
                raise
            if isinstance(fault, DeviceFault) or len(x) <= smallest:
                raise fault from error
            self._release()
            reason = str(error).partition("\n")[0]
            self._limited_log.warning("out of memory; halving the batch", rows=len(x), reason=reason)
        half = -(-len(x) // (2 * smallest)) * smallest
        return np.concatenate([self._forward(network, x[:half]), self._forward(network, x[half:])])

    def _enter_device(self) -> None:
        """Makes the device this thread's own: whatever torch allocates by the way is not to wake another GPU."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)

    def _release(self) -> None:
        """Gives back all memory but the networks' own."""
        with self._table:
            networks = list(self._networks.values())
        for network in networks:
            network.release()
        self._scratch.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _read_store(self, key: str) -> LoadedCheckpoint:
        """A checkpoint from the store, verified; a copy is kept."""
        name, version, digest = parse_key(key)
        try:
            loaded = self._store.load(f"{name}@{version}")
        except ModelNotFound as error:
            raise StoreError(f"{name}@{version} is not in the store.") from error
        if loaded.digest != digest:
            raise StoreError(f"{name}@{version} was replaced while it was being loaded.")
        if self._kept is not None:
            self._kept.keep(key, loaded.payload)
        return loaded

    def _read_kept(self, key: str) -> LoadedCheckpoint | None:
        """A checkpoint from the copy that was kept of it, verified; None where there is none that is sound."""
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
        """The network of a verified checkpoint, warmed."""
        name, version, _ = parse_key(key)
        try:
            self._enter_device()
            network = self.on_device(loaded.checkpoint.inference_network())
            network.warm_up()
        except (RuntimeError, MemoryError) as error:
            if (fault := _fault_of(error, "this model")) is None:
                raise
            raise fault from error
        if self.device.type == "cpu":  # a GPU's graphs are bound to the memory that they were captured with
            network.share(self._scratch)
        if not network.batch_invariant:
            self._log.warning("a row's answer may depend on its batch in its last bits", model=name, version=version)
        return network


def _fault_of(error: RuntimeError | MemoryError, what: str) -> OutOfMemory | DeviceFault | None:
    """A device's exception as a caller knows it, or None where it is something else."""
    if is_out_of_memory(error):
        return OutOfMemory(f"the device has no memory for {what}.")
    if is_sticky(error):
        reason, _, _ = str(error).partition("\n")
        return DeviceFault(f"the device is lost: {reason}")
    return None
