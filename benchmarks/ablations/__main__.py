"""Ablations: parts that the recipe could have, beside the recipe without the part, on the same splits.

    python -m benchmarks.ablations [--parts snapshots] [--seeds 0 1] [--jobs 2] [--write docs/ablations.md]

Prints for each part a table with the figure of the test part (log loss of classes, RMSE of values; of both less is
better) with and without the part, and the number of tables on which the part is better. Each run has one thread. The
tables come with packages of the environment of `make bench-accuracy`, which is made if the packages are not here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.ablations.parts import PARTS, Part
from benchmarks.ablations.runs import Run, figures_of
from benchmarks.ablations.tables import MOST_ROWS, set_up_packages
from benchmarks.accuracy.report import write_between_markers

_MARKERS = "ablations"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the ablations and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tables", nargs="+", help="names of some tables (default: all of a part)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: 2)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the report between the file's markers")
    arguments = parser.parse_args(argv)
    if arguments.write is not None:
        write_between_markers(arguments.write.read_text(), "", name=_MARKERS)  # fails now rather than after an hour
    set_up_packages()
    parts = {name: PARTS[name] for name in arguments.parts}
    tables = {name: [t for t in part.tables if t in (arguments.tables or part.tables)] for name, part in parts.items()}
    runs = {
        (method, table, seed)
        for name, part in parts.items()
        for table in tables[name]
        for method in (part.without, part.with_part)
        for seed in arguments.seeds
    }
    figures = figures_of(sorted(runs), jobs=arguments.jobs)
    text = "\n\n".join(_report(name, part, tables[name], arguments.seeds, figures) for name, part in parts.items())
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(write_between_markers(arguments.write.read_text(), text, name=_MARKERS))
    return 0


def _report(
    name: str, part: Part, tables: Sequence[str], seeds: Sequence[int], figures: dict[Run, tuple[str, float]]
) -> str:
    lines = [
        f"### {name}: {part.about}",
        "",
        "| table | figure | without | with | difference |",
        "|---|---|--:|--:|--:|",
    ]
    better = 0
    for table in tables:
        figure = figures[part.without, table, seeds[0]][0]
        values = [[figures[method, table, seed][1] for seed in seeds] for method in (part.without, part.with_part)]
        without, with_part = np.mean(values, axis=1)
        better += with_part < without
        change = 100 * (with_part / without - 1)
        lines.append(f"| {table} | {figure} | {without:.4g} | {with_part:.4g} | {change:+.1f} % |")
    splits = f"{len(seeds)} split{'s' if len(seeds) > 1 else ''}"
    lines += ["", f"Better on {better} of {len(tables)} tables ({splits}, at most {MOST_ROWS:,} rows a table)."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
