"""`make bench-training`: Axon's engine beside a DataLoader loop, scikit-learn and the limit set by the matrix products.

One thread. The contestants take turns in several rounds, and a ratio is the median of the rounds' ratios. The default
recipe runs beside pytabkit's RealMLP-TD if the environment of `make bench-accuracy` exists.

`--device cuda` measures on a GPU: Axon's steps as CUDA graphs over rows that stay on the device, the DataLoader loop,
which copies each batch, and the products. It leaves out the goals and what runs only on CPUs: scikit-learn and
pytabkit's recipe.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version

import torch
from threadpoolctl import threadpool_limits

from benchmarks.training import contestants, recipe
from benchmarks.training.clock import Clock
from benchmarks.training.networks import RECIPE_BATCH, RECIPE_FEATURES, RECIPE_HIDDEN, WORKLOADS
from benchmarks.training.report import (
    AXON,
    BF16,
    LIMIT,
    LOOP,
    PYTABKIT,
    RECIPE,
    SKLEARN,
    goals_table,
    recipe_table,
    workload_table,
)

_CONTESTANTS = {
    AXON: contestants.axon,
    BF16: contestants.bf16_axon,
    LOOP: contestants.loop,
    SKLEARN: contestants.scikit_learn,
    LIMIT: contestants.matrix_products,
}
_RECIPES = {AXON: recipe.axon, PYTABKIT: recipe.pytabkit}


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*WORKLOADS, RECIPE]
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="[%(default)s]")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar="NAME", help="[all]")
    parser.add_argument("--device", default="cpu", help="where, as torch names it [%(default)s]")
    arguments = parser.parse_args(argv)
    clock = Clock(arguments.device)
    on_cpu = clock.device == "cpu"
    if not on_cpu and not torch.cuda.is_available():
        print("There is no CUDA device, or this torch has no CUDA.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    workloads = [name for name in arguments.workloads if on_cpu or name != RECIPE]
    with threadpool_limits(limits=1):
        rates = _measure(workloads, arguments.rounds, clock)
    where = "one thread" if on_cpu else torch.cuda.get_device_name(clock.device)
    lines = [
        f"{arguments.rounds} round(s), {where}; medians of rates a {clock.unit}, and of the rounds' ratios. "
        f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, torch {version('torch')}, "
        f"scikit-learn {version('scikit-learn')}.",
        "",
    ]
    for name in workloads:
        lines += workload_table(rates, WORKLOADS[name]) if name != RECIPE else recipe_table(rates, _recipe_settings())
    print("\n".join([*lines, *(goals_table(rates) if on_cpu else [])]))
    return 0


def _measure(workloads: list[str], rounds: int, clock: Clock) -> dict[tuple[str, str], list[float]]:
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(1, rounds + 1):
        for name in workloads:
            print(f"round {number}: {name}", file=sys.stderr, flush=True)
            if name == RECIPE:
                found = {contestant: measure() for contestant, measure in _RECIPES.items()}
            else:
                found = {
                    contestant: measure(WORKLOADS[name], clock)
                    for contestant, measure in _CONTESTANTS.items()
                    if clock.device == "cpu" or contestant != SKLEARN
                }
            for contestant, rate in found.items():
                if rate is not None:
                    rates.setdefault((name, contestant), []).append(rate)
    return rates


def _recipe_settings() -> str:
    widths = "-".join(map(str, (RECIPE_FEATURES, *RECIPE_HIDDEN, 2)))
    return f"{widths}, batch {RECIPE_BATCH}, validation at each epoch's end included"


if __name__ == "__main__":
    sys.exit(main())
