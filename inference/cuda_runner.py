"""A forward plan on a CUDA device: one copy in, one captured graph, one copy out, on the network's own stream."""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from numpy.typing import NDArray

from inference.device_faults import is_sticky
from inference.forward_plan import ForwardPlan
from inference.log import Log
from inference.scratch import Scratch

# Rows from this size on are copied from where they are: the driver stages them, while the device copies. On an H100,
# 4,096 rows of 784 numbers take 0.55 × the time of a copy through our pinned memory, 256 rows take 0.84 ×.
_LARGE_BYTES = 1 << 19
_WARM_UP_RUNS = 2  # in the first run, libraries choose kernels and allocate workspaces, which a capture forbids


class CudaRunner:
    """Runs a plan in device memory; small batches go through pinned host memory.

    A plan that cannot be captured is run call by call, with the same answers.

    Args:
        plan: forward pass over a fixed number of rows, in the device's memory.
        stream: CUDA stream of the network.
        pinned: page-locked host memory for inputs and outputs.
        log: log for a plan that cannot be captured.
    """

    def __init__(self, plan: ForwardPlan, stream: torch.cuda.Stream, pinned: Scratch, log: Log) -> None:
        rows, out_features = plan.y.shape
        self._plan = plan
        self._stream = stream
        self._device_x = with_padding(plan.x)
        # The same padding as on the device, so that the copy is one contiguous block.
        self._pinned_x = pinned.matrix("input", rows, self._device_x.shape[1], packed=True)
        self._pinned_y = pinned.matrix("output", rows, out_features, packed=True)
        self._host_x = self._pinned_x.numpy()[:, : plan.x.shape[1]]
        self._host_y = self._pinned_y.numpy()
        self._graph = _capture(plan, stream, log)

    @property
    def captured(self) -> bool:
        """True if the plan runs as a CUDA graph."""
        return self._graph is not None

    def run(self, x: NDArray[np.float32], answers: NDArray[np.float32]) -> None:
        """Writes the answers to (n, in_features) rows into (n, out_features); n is at most the plan's row count."""
        n = len(x)
        with torch.cuda.stream(self._stream):
            if x.nbytes >= _LARGE_BYTES and x.flags.c_contiguous:
                self._plan.x[:n].copy_(_tensor_over(x))
            else:
                self._host_x[:n] = x
                self._device_x[:n].copy_(self._pinned_x[:n], non_blocking=True)
            if n < len(self._device_x):
                self._device_x[n:].zero_()  # the memory is shared, and its old numbers may be no indices of categories
            if self._graph is None:
                self._plan.run()
            else:
                self._graph.replay()
            self._pinned_y[:n].copy_(self._plan.y[:n], non_blocking=True)
        self._stream.synchronize()
        answers[:] = self._host_y[:n]


def _tensor_over(x: NDArray[np.float32]) -> torch.Tensor:
    """Returns a tensor over an array's memory, to read from: `from_numpy` warns of arrays that are read-only."""
    memory = (ctypes.c_char * x.nbytes).from_address(x.ctypes.data)
    return torch.frombuffer(memory, dtype=torch.float32).view(x.shape)


def with_padding(x: torch.Tensor) -> torch.Tensor:
    """Returns a contiguous view of a matrix and the padding of each row: (rows, width) → (rows, stride)."""
    stride = x.stride(0)
    return x.as_strided((x.shape[0], stride), (stride, 1))


def _capture(plan: ForwardPlan, stream: torch.cuda.Stream, log: Log) -> torch.cuda.CUDAGraph | None:
    stream.wait_stream(torch.cuda.current_stream(stream.device))  # the stream that filled the plan's memory
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_RUNS):
            plan.run()
    stream.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        # Other threads go on using the device: only the calls of this thread have to be allowed in a capture.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            plan.run()
    except RuntimeError as error:
        if is_sticky(error) and not _answers(stream):
            raise
        log.warning("no CUDA graph; running call by call", rows=plan.x.shape[0], reason=str(error).partition("\n")[0])
        return None
    return graph


def _answers(stream: torch.cuda.Stream) -> bool:
    """Returns True if the device still works: a failed capture says `CUDA error` even if nothing is broken."""
    try:
        stream.synchronize()
        torch.zeros(1, device=stream.device).item()
    except RuntimeError:
        return False
    return True
