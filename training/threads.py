"""Threads: how many CPU threads a run takes, and the limit that holds while it goes on.

Threads that share a small matrix product wait for each other longer than they compute, and wait at full speed: with
other work on the machine, two threads take four to five times what one takes. So a network whose steps are small gets
one thread, whatever the machine has. For others a short trial decides, among numbers that the free CPUs allow.
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

# Multiply-adds of one step, forward and backward. Below, the number is 1 whatever the machine does, so that the same
# seed gives the same bytes: products that are shared out in another way are rounded in another way.
SHARED_FROM = 300_000_000

_PRODUCTS = 3  # of each Linear in a step: the output, the gradient of the weights, the gradient of the input
_WORTH = 0.85  # of the time with fewer threads: twice the CPUs for less than that gain is waste
_TRIAL_SECONDS = 0.15  # for one number of threads
_TRIAL_NUMBERS = 20_000_000  # that a trial multiplies at most: 80 MB
_MOST = 64
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadChoice:
    """How many threads a run takes, and why.

    Attributes:
        number: threads of torch and of BLAS.
        reason: the end of a sentence that begins with the number.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        """A sentence for the user."""
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
        architecture: network that is trained.
        batch_rows: rows of one step.
        asked: number that the user asks for; None leaves it to the rule and the trial.
        can_share: False for a device or an engine whose steps the CPU's threads do not share.
        free: counts the free CPUs; called only where the answer matters.
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
    """Returns the multiply-adds of one training step, those of its matrix products."""
    return _PRODUCTS * batch_rows * sum(layer.multiply_adds for layer in architecture.layers())


def candidates(most: int) -> list[int]:
    """Returns the numbers of threads to try: powers of two, and the most."""
    numbers = [1]
    while numbers[-1] * 2 < most:
        numbers.append(numbers[-1] * 2)
    return [*numbers, most] if most > 1 else numbers


def fastest(architecture: MLPConfig, batch_rows: int, numbers: list[int]) -> int:
    """Returns the number of threads with which a step's matrix products take the least time.

    Args:
        architecture: network whose products are timed.
        batch_rows: rows of one step.
        numbers: numbers of threads, ascending; a larger one has to be worth its CPUs.
    """
    import torch  # heavy, and most choices do without

    pairs = [(layer.in_features, layer.out_features) for layer in architecture.layers() if layer.type == "Linear"]
    members = architecture.members
    # Of a vast batch a part will do: all are shared out alike.
    rows = min(batch_rows, max(_TRIAL_NUMBERS // (members * sum(map(sum, pairs))), 32))
    # Ones: what they are makes no difference to the time, and no generator of random numbers is moved on.
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
    """The median time of a step with a number of threads. A least time would hide that others need the CPUs."""
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
    """Within it, torch and the BLAS and OpenMP libraries use so many threads.

    Libraries that are loaded within it read the number from the environment, and keep it.

    Args:
        number: threads, at least 1.
    """
    # Imported here: it looks through all libraries of the process, which commands that train nothing do without.
    from threadpoolctl import threadpool_limits

    # An engine without torch does not wait for its import.
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
    """Within it, the variables that libraries read when they are loaded, here or in a child process, say a number.

    Args:
        number: threads, at least 1; None changes nothing.
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
    """The number that OMP_NUM_THREADS allows; None where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() and int(first) >= 1 else None
