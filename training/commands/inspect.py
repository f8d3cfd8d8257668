"""`inspect`: shows how `fit` would read a table, before any training."""

from __future__ import annotations

import argparse
import json
import sys

from rich import box
from rich.table import Table

from models.columns.cell_text import MISSING_TEXTS
from training.commands.options import CommandLine
from training.commands.table import SOURCE_HELP, add_table, reading_of, table_of, text_format_of
from training.data.column_facts import ColumnFacts
from training.data.inspection import Inspection, inspect_table
from training.data.listed_names import listed_names
from training.data.source import read_source
from training.data.text_reading import read_as
from training.fitted_table import print_fitted
from training.reporting.figures import apart
from training.sources import read_raw
from training.terminal import plain_console

# A longer table is shortened to the first columns and those with a problem or a remark.
_READABLE, _FIRST = 60, 20
_UNLIMITED = 200  # characters a line, if the output is a file or a pipe
_CLASSES = 20
_ROLES = {"feature": "features"}  # the plural of the only role with many columns

_DESCRIPTION = f"""\
Reads a table as `fit` would and shows what it makes of it: the kind of each column, what is missing (empty cells and
{", ".join(cell for cell in MISSING_TEXTS if cell)}), how many values differ, what the default recipe turns it into, and
what to look at: columns that tell nothing, look like identifiers or give the target away, rows that are equal, classes
that are rare.
Without --target, features alone. What `fit` would refuse is listed, and the exit code is 0 all the same.
"""

_EPILOG = """\
examples:
  python -m training inspect flowers.csv --target species
  python -m training inspect houses.parquet --target price --json
  python -m training inspect iris
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("inspect", "show what a table is understood as", _run, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("--all", action="store_true", help=f"show every column where there are more than {_READABLE}")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_table(parser)


def _run(arguments: argparse.Namespace) -> None:
    inspection = _inspect(arguments)
    if arguments.json:
        print(json.dumps(inspection.to_dict(), indent=2, allow_nan=False))
        return
    console = plain_console(width=None if sys.stdout.isatty() else _UNLIMITED)
    shown = _shown_columns(inspection, every=arguments.all)
    print_fitted(console, _table(inspection, shown))
    for sentence in (*_hidden(inspection, shown), *_target(inspection), *_remarks(inspection)):
        console.print(sentence, soft_wrap=True)


def _inspect(arguments: argparse.Namespace) -> Inspection:
    given, text, reading = table_of(arguments), text_format_of(arguments), reading_of(arguments)
    raw, target, choices = read_raw(
        arguments.source, target=given["target"], choices=given["choices"], text_format=text, reading=reading
    )
    test = None
    if arguments.test is not None:
        test = read_as(read_source(arguments.test, text_format=text), reading, raw.as_precedent())
    return inspect_table(raw, target=target, task=given["task"], choices=choices, test=test)


def _shown_columns(inspection: Inspection, *, every: bool) -> list[ColumnFacts]:
    columns = list(inspection.columns)
    if every or len(columns) <= _READABLE:
        return columns
    notable = [column for column in columns if column.problem or column.remarks or column.role not in ("feature",)]
    keep = {column.name for column in (*columns[:_FIRST], *notable[: _READABLE - _FIRST])}
    return [column for column in columns if column.name in keep or column.role == "target"]


def _table(inspection: Inspection, columns: list[ColumnFacts]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"{inspection.source}: {inspection.rows:,} rows", title_justify="left")
    table.add_column("column", overflow="fold", max_width=40)
    table.add_column("role")
    table.add_column("kind")
    for name in ("missing", "distinct"):
        table.add_column(name, justify="right")
    table.add_column("values", overflow="ellipsis", max_width=50, no_wrap=True)
    table.add_column("becomes", overflow="fold")
    for column in columns:
        table.add_row(
            column.name,
            column.role,
            column.kind or "",
            _share(column.missing, inspection.rows),
            "" if column.distinct is None else f"{column.distinct:,}",
            _values(column, inspection.rows),
            column.becomes,
            style="dim" if column.role == "left out" else "red" if column.problem else None,
        )
    return table


def _hidden(inspection: Inspection, shown: list[ColumnFacts]) -> list[str]:
    """Returns a sentence about the columns that the table leaves out, if any."""
    names = {column.name for column in shown}
    hidden = [column for column in inspection.columns if column.name not in names]
    if not hidden:
        return []
    kinds: dict[str, int] = {}
    for column in hidden:
        what = f"{column.kind or ''} {_ROLES.get(column.role, column.role)}".strip()
        kinds[what] = kinds.get(what, 0) + 1
    listed = ", ".join(f"{count:,} {what}" for what, count in kinds.items())
    return [f"… and {len(hidden):,} more columns ({listed}): --all shows them.", ""]


def _target(inspection: Inspection) -> list[str]:
    if inspection.target is None:
        return ["Which column is to be predicted is not said (--target)."]
    if inspection.task is None:
        return []
    if not inspection.classes:
        names = (inspection.target,) if isinstance(inspection.target, str) else inspection.target
        return [f"A regression of {listed_names(names)}."]
    classes = [f"{label} {_share(rows, inspection.rows)}" for label, rows in inspection.classes[:_CLASSES]]
    more = ", …" if len(inspection.classes) > _CLASSES else ""
    return [
        f"A classification of {inspection.target!r} into {len(inspection.classes)} classes: {', '.join(classes)}{more}."
    ]


def _remarks(inspection: Inspection) -> list[str]:
    """Returns the refusals and then the other remarks, at most `_READABLE` lines."""
    remarks = [*inspection.notes, *(remark for column in inspection.columns for remark in column.remarks)]
    lines = [f"refused: {problem}" for problem in inspection.problems] + [f"note: {remark}" for remark in remarks]
    more = len(lines) - _READABLE
    return lines if more <= 0 else [*lines[:_READABLE], f"… and {more:,} more: --json lists them."]


def _values(column: ColumnFacts, rows: int) -> str:
    if column.top:
        names = ", ".join(f"{name[:20]} {_share(count, rows)}" for name, count in column.top)
        return names + (", …" if (column.distinct or 0) > len(column.top) else "")
    if column.minimum is None or column.maximum is None:
        return ""
    low, high = column.minimum, column.maximum
    if isinstance(low, str) or isinstance(high, str):
        return f"{low} … {high}"
    return f"{apart(low, high - low)} … {apart(high, high - low)}"


def _share(count: int, rows: int) -> str:
    """Formats a share in percent: empty for zero; a share above 0 is never 0 %, and a share below 1 never 100 %."""
    if count == 0:
        return ""
    percent = 100 * count / rows
    return "<0.1 %" if percent < 0.1 else f"{percent:.1f} %" if percent < 99.95 or count == rows else ">99.9 %"
