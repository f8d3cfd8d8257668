"""`data`: writes a built-in dataset as CSV, as an example of a table."""

from __future__ import annotations

import argparse
import csv
import sys

from training.commands.options import CommandLine
from training.datasets import DATASETS, dataset

_EPILOG = """\
examples:
  python -m training data iris > flowers.csv
  python -m training fit flowers.csv --target species
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    about = "Writes a built-in dataset to standard output as CSV, its target the last column."
    parser = line.add("data", "write a built-in dataset as CSV", _run, description=about, epilog=_EPILOG)
    parser.add_argument("dataset", metavar="DATASET", help=", ".join(DATASETS))


def _run(arguments: argparse.Namespace) -> None:
    table = dataset(arguments.dataset).load()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(cells.to_pylist() for cells in table.columns.values()), strict=True))
