"""Threads: the number of CPU threads of a run, and the limit of that number during the run.

Threads that share a small matrix product wait for each other longer than they compute, and waiting uses the CPU. With
other work on the machine, two threads take four to five times as long as one. So a network with small steps gets one
thread on every machine. For other networks, a short trial decides among the numbers that the free CPUs allow.
docs/decisions/0036 has the figures.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models.network.config import MLPConfig
from training.free_cpus import free_cpus

# Multiply-adds of one step, forward and backward. Below this number, a run has 1 thread on every machine, so that the
# same seed gives the same bytes: another division of the products among threads rounds them differently.
SHARED_FROM = 300_000_000

_PRODUCTS = 3  # per Linear layer and step: output, gradient of the weights, gradient of the input
_WORTH = 0.85  # share of the time with fewer threads; with a smaller gain, more CPUs are a waste
_TRIAL_SECONDS = 0.15  # per number of threads
_TRIAL_NUMBERS = 20_000_000  # upper bound for the matrices of a trial: 80 MB
_MOST = 64
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadChoice:
    """The number of threads of a run, and the reason.

    Attributes:
        number: number of threads of torch and of BLAS.
        reason: end of a sentence that begins with the number.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        """Returns a sentence for the user."""
        return f"Training with {self.number} CPU thread{'' if self.number == 1 else 's'}{self.reason}."


def choose_threads(
    architecture: MLPConfig,
    *,
    batch_rows: int,
    asked: int | None = None,
    can_share: bool = True,
    free: Callable[[], int] = free_cpus,
) -> ThreadChoice:
    """Chooses the number of threads for a run.

    Args:
        architecture: architecture of the network to train.
        batch_rows: number of rows per step.
        asked: number of threads that the user asks for; None to apply the rule and the trial.
        can_share: True if CPU threads share the steps of the device and the engine.
        free: function that counts the free CPUs; called only if the answer matters.
    """
    if asked is not None:
        return ThreadChoice(number=asked, reason=", as asked")
    if not can_share:
        return ThreadChoice(number=1, reason=": torch's CPU threads have no part in its steps")
    if step_multiply_adds(architecture, batch_rows) < SHARED_FROM:
        return ThreadChoice(number=1, reason=": its steps are too small to share (--threads N takes more)")
    allowed = _allowed_by_environment()
    if allowed == 1:
        return ThreadChoice(number=1, reason=": OMP_NUM_THREADS allows no more")
    available = free()
    most = min(available, _MOST, allowed or _MOST)
    if most == 1:
        return ThreadChoice(number=1, reason=": no other CPU is free")
    numbers = candidates(most)
    number = fastest(architecture, batch_rows, numbers)
    tried = ", ".join(map(str, numbers))
    return ThreadChoice(number=number, reason=f", the fastest of {tried} in a short trial; {available} CPUs are free")


def step_multiply_adds(architecture: MLPConfig, batch_rows: int) -> int:
    """Returns the number of multiply-adds in the matrix products of one training step."""
    return _PRODUCTS * batch_rows * sum(layer.multiply_adds for layer in architecture.layers())


def candidates(most: int) -> list[int]:
    """Returns the numbers of threads to try: powers of two, and `most`."""
    numbers = [1]
    while numbers[-1] * 2 < most:
        numbers.append(numbers[-1] * 2)
    return [*numbers, most] if most > 1 else numbers


def fastest(architecture: MLPConfig, batch_rows: int, numbers: list[int]) -> int:
    """Returns the number of threads with the shortest time for the matrix products of a step.

    Args:
        architecture: architecture of the network.
        batch_rows: number of rows per step.
        numbers: numbers of threads to try, ascending; a larger number must be faster by enough to justify its CPUs.
    """
    import torch  # slow to import, and most choices do not need torch

    pairs = [(layer.in_features, layer.out_features) for layer in architecture.layers() if layer.type == "Linear"]
    members = architecture.members
    # A part of a very large batch is enough, since all parts are divided among threads in the same way.
    rows = min(batch_rows, max(_TRIAL_NUMBERS // (members * sum(map(sum, pairs))), 32))
    # Ones: the values do not change the time, and no random generator changes its state.
    data = [(torch.ones(members, rows, n), torch.ones(members, n, m), torch.ones(members, rows, m)) for n, m in pairs]

    def step() -> None:
        for x, w, gradient in data:
            torch.tanh(x @ w)
            x.transpose(1, 2) @ gradient
            gradient @ w.transpose(1, 2)

    before = torch.get_num_threads()
    try:
        best, best_seconds = numbers[0], _seconds(step, numbers[0])
        for number in numbers[1:]:
            if (seconds := _seconds(step, number)) < _WORTH * best_seconds:
                best, best_seconds = number, seconds
    finally:
        torch.set_num_threads(before)
    return best


def _seconds(step: Callable[[], None], number: int) -> float:
    """Returns the median time of a step, in seconds. The shortest time would hide other work on the CPUs."""
    import torch

    torch.set_num_threads(number)
    step()  # starts the threads
    times: list[float] = []
    while len(times) < 3 or (sum(times) < _TRIAL_SECONDS and len(times) < 50):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return sorted(times)[len(times) // 2]


@contextlib.contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Limits torch and the BLAS and OpenMP libraries to a number of threads, inside the `with` block.

    Libraries that are loaded inside the block read the number from the environment, and keep it afterwards.

    Args:
        number: number of threads, at least 1.
    """
    # Imported here: the import inspects all libraries of the process, and commands without training do not need it.
    from threadpoolctl import threadpool_limits

    # If torch is not imported yet, the engine does not need it, and does not wait for the import.
    torch: Any = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    with threadpool_limits(limits=number), thread_variables(number):
        if torch is not None:
            torch.set_num_threads(number)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


@contextlib.contextmanager
def thread_variables(number: int | None) -> Iterator[None]:
    """Sets the environment variables from which libraries read their number of threads, inside the `with` block.

    Libraries read them when they are loaded, in this process or in a child process.

    Args:
        number: number of threads, at least 1; None to change nothing.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    if number is not None:
        os.environ.update(dict.fromkeys(_VARIABLES, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _allowed_by_environment() -> int | None:
    """Returns the number of threads that OMP_NUM_THREADS allows; None without a number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() and int(first) >= 1 else None
