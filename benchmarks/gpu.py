"""One forward pass on a GPU beside eager PyTorch and the device's limits, as a Markdown table.

    python -m benchmarks.gpu --device cuda:0 --precision fp32

Every figure includes the copies of rows to the device and of answers back. `limit` is the shortest time that the pass
could take at the device's measured speeds. It is the longest of three times, which overlap at best: matrix products,
memory traffic, and copies. The costs of a launch and of a wait are not included. Eager PyTorch and the limits are
measured in a process of their own, with cuBLAS's default settings; Axon's pass has those of a worker.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np
import torch
from torch import nn

from inference.cublas import forbid_split_sums
from inference.device_network import DeviceNetwork, Precision
from models.network.inference_network import Activate, Affine, InferenceNetwork

ARCHITECTURES = ((30, 128, 64, 2), (784, 512, 256, 10), (1024, 4096, 4096, 100))
BATCHES = (1, 16, 64, 256, 1024, 4096)
WARM_UP_RUNS = 20
RUNS = 200
MATRIX = 8192  # width of the product that measures a device's speed
BLOCK_BYTES = 1 << 30  # copied to measure the speed of its memory
FLOAT_BYTES = 4
Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Limits:
    """A device's measured speeds: multiply-adds, bytes of memory, and bytes over the bus, each per second."""

    first_multiply_adds: float  # multiply-adds of the first product, which is always in float32
    multiply_adds: float  # multiply-adds of the other products, in the requested precision
    memory_bytes: float
    bus_bytes: float

    def seconds(self, sizes: tuple[int, ...], rows: int) -> float:
        """Returns the shortest time of one pass."""
        first, *later = [n_in * n_out for n_in, n_out in itertools.pairwise(sizes)]
        products = rows * (first / self.first_multiply_adds + sum(later) / self.multiply_adds)
        weights = first + sum(later) + sum(sizes[1:])
        # Each matrix between two layers is written once and read once; fusing can only save the passes of activations.
        memory = FLOAT_BYTES * (weights + rows * (sizes[0] + sizes[-1] + 2 * sum(sizes[1:-1]))) / self.memory_bytes
        bus = FLOAT_BYTES * rows * max(sizes[0], sizes[-1]) / self.bus_bytes  # both directions overlap
        return max(products, memory, bus)


def measure_limits(device: torch.device, precision: Precision) -> Limits:
    """Times a large product, a large copy within the device, and a large copy to the device."""
    products = {}
    for kind in {"fp32", precision}:
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        a = torch.randn(MATRIX, MATRIX, device=device, dtype=DTYPES[kind])
        out = torch.empty_like(a)
        products[kind] = MATRIX**3 / _seconds(lambda: torch.mm(a, a, out=out), device, runs=10)  # noqa: B023 -- run here
    torch.backends.cuda.matmul.allow_tf32 = False
    block = torch.empty(BLOCK_BYTES, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    memory = 2 * BLOCK_BYTES / _seconds(lambda: other.copy_(block), device, runs=10)
    host = torch.empty(BLOCK_BYTES // 4, dtype=torch.uint8, pin_memory=True)
    bus = host.numel() / _seconds(lambda: block[: host.numel()].copy_(host, non_blocking=True), device, runs=10)
    return Limits(products["fp32"], products[precision], memory, bus)


def make_network(sizes: tuple[int, ...]) -> tuple[InferenceNetwork, nn.Sequential]:
    """Makes the same random ReLU network for the engine and for eager PyTorch."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    stages: list[Affine | Activate] = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        layers += [linear, nn.ReLU()]
        stages += [Affine(linear.weight.detach().numpy(), linear.bias.detach().numpy()), Activate("relu")]
    network = InferenceNetwork((tuple(stages[:-1]),), "softmax", sizes[0], sizes[-1])
    return network, nn.Sequential(*layers[:-1], nn.Softmax(dim=-1)).eval()


@dataclass(frozen=True)
class Eager:
    """Measurements with cuBLAS's default settings.

    Attributes:
        limits: measured speeds of the device.
        seconds: median time of an eager pass, by architecture and then by batch size.
    """

    limits: Limits
    seconds: list[list[float]]


def measure_eager(device: torch.device, precision: Precision) -> Eager:
    """Measures the device's limits, and eager PyTorch in float32 for all architectures and batch sizes."""
    limits = measure_limits(device, precision)
    seconds = []
    for sizes in ARCHITECTURES:
        eager = make_network(sizes)[1].to(device)

        def forward(x: Rows, eager: nn.Module = eager) -> object:
            with torch.inference_mode():
                return eager(torch.from_numpy(x).to(device)).cpu().numpy()

        seconds.append([_seconds(lambda: forward(x), device) for x in map(make_rows, [sizes] * len(BATCHES), BATCHES)])  # noqa: B023 -- run here
    return Eager(limits, seconds)


def make_rows(sizes: tuple[int, ...], rows: int) -> Rows:
    """Makes a batch of random rows for a network."""
    return np.random.default_rng(0).standard_normal((rows, sizes[0]), dtype=np.float32)


def measure(
    sizes: tuple[int, ...], device: torch.device, precision: Precision, limits: Limits, eager: list[float]
) -> str:
    """Prints one architecture's rows of the table; returns a sentence about whether its answers are batch-invariant."""
    network = DeviceNetwork(make_network(sizes)[0], device, precision=precision, max_batch_rows=max(BATCHES))
    network.warm_up()
    name = "-".join(map(str, sizes))
    for rows, theirs in zip(BATCHES, eager, strict=True):
        x = make_rows(sizes, rows)
        ours = _seconds(lambda: network.forward(x), device)  # noqa: B023 -- run here
        limit = limits.seconds(sizes, rows)
        print(
            f"| {name} | {rows} | {1e6 * ours:.0f} | {1e6 * theirs:.0f} | {theirs / ours:.2f} | {rows / ours:,.0f} "
            f"| {1e6 * limit:.1f} | {100 * limit / ours:.0f} |",
            flush=True,
        )
    batch_invariant = "batch-invariant" if network.batch_invariant else "not batch-invariant"
    return f"{name}: answers are {batch_invariant}; rows computed at once: {', '.join(map(str, network.blocks.sizes))}."


def main() -> int:
    """Measures and prints the table; returns 2 if there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--precision", choices=list(DTYPES), default="fp32")
    parser.add_argument("--eager", action="store_true", help="measure eager PyTorch and the limits alone, as JSON")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA device here, so there is nothing to measure.", file=sys.stderr)
        return 2
    device = torch.device(arguments.device)
    torch.cuda.set_device(device)
    if arguments.eager:
        print(json.dumps(asdict(measure_eager(device, arguments.precision))))
        return 0
    command = [sys.executable, "-m", "benchmarks.gpu", "--eager", "--device", arguments.device]
    done = subprocess.run([*command, "--precision", arguments.precision], stdout=subprocess.PIPE, check=True)
    measured = json.loads(done.stdout)
    limits = Limits(**measured["limits"])
    forbid_split_sums()
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {arguments.precision}; measured at most")
    print(
        f"{limits.first_multiply_adds / 1e12:.1f} (float32) and {limits.multiply_adds / 1e12:.1f} tera multiply-adds,"
    )
    print(f"{limits.memory_bytes / 1e9:.0f} GB of memory and {limits.bus_bytes / 1e9:.1f} GB over the bus a second.\n")
    print("| network | rows | µs | eager PyTorch µs | × eager | rows/s | limit µs | % of limit |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    each = zip(ARCHITECTURES, measured["seconds"], strict=True)
    notes = [measure(sizes, device, arguments.precision, limits, eager) for sizes, eager in each]
    print("", *notes, sep="\n")
    return 0


def _seconds(call: Callable[[], object], device: torch.device, runs: int = RUNS) -> float:
    """Returns the median time of a call, including the work that the call queues on the device."""
    for _ in range(WARM_UP_RUNS if runs == RUNS else 2):
        call()
    torch.cuda.synchronize(device)
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return median(times)


if __name__ == "__main__":
    sys.exit(main())
