"""`make bench-training`: Axon's engine beside a DataLoader loop, scikit-learn and the matrix products' own limit.

One thread; the contestants take turns in several rounds, and a ratio is the median of the rounds' ratios. The default
recipe runs beside pytabkit's RealMLP-TD, in the environment that `make bench-accuracy` makes, where it is there.
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
from benchmarks.training.networks import RECIPE_BATCH, RECIPE_FEATURES, RECIPE_HIDDEN, WORKLOADS
from benchmarks.training.report import (
    AXON,
    LIMIT,
    LOOP,
    NARROW,
    PYTABKIT,
    RECIPE,
    SKLEARN,
    goals_table,
    recipe_table,
    workload_table,
)

_CONTESTANTS = {
    AXON: contestants.axon,
    NARROW: contestants.narrow_axon,
    LOOP: contestants.loop,
    SKLEARN: contestants.scikit_learn,
    LIMIT: contestants.matrix_products,
}
_RECIPES = {AXON: recipe.axon, PYTABKIT: recipe.pytabkit}


def main(argv: list[str] | None = None) -> int:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*WORKLOADS, RECIPE]
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="[%(default)s]")
    parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar="NAME", help="[all]")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        rates = _measure(arguments.workloads, arguments.rounds)
    lines = [
        f"{arguments.rounds} round(s), one thread; medians of rates a CPU second, and of the rounds' ratios. "
        f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}, torch {version('torch')}, "
        f"scikit-learn {version('scikit-learn')}.",
        "",
    ]
    for name in arguments.workloads:
        lines += workload_table(rates, WORKLOADS[name]) if name != RECIPE else recipe_table(rates, _recipe_settings())
    print("\n".join([*lines, *goals_table(rates)]))
    return 0


def _measure(workloads: list[str], rounds: int) -> dict[tuple[str, str], list[float]]:
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(1, rounds + 1):
        for name in workloads:
            print(f"round {number}: {name}", file=sys.stderr, flush=True)
            if name == RECIPE:
                found = {contestant: measure() for contestant, measure in _RECIPES.items()}
            else:
                found = {contestant: measure(WORKLOADS[name]) for contestant, measure in _CONTESTANTS.items()}
            for contestant, rate in found.items():
                if rate is not None:
                    rates.setdefault((name, contestant), []).append(rate)
    return rates


def _recipe_settings() -> str:
    widths = "-".join(map(str, (RECIPE_FEATURES, *RECIPE_HIDDEN, 2)))
    return f"{widths}, batch {RECIPE_BATCH}, validation at each epoch's end included"


if __name__ == "__main__":
    sys.exit(main())
