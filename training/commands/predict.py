"""`predict`: answers the rows of a table in a file, and writes the table with the answers as new columns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from models.columns.unknown_cells import unknown_in_words
from models.conformal import check_level
from models.errors import ConfigError, DataError
from models.open_store import open_store
from models.signing import trusted
from models.whole_file import output_file
from training.commands.options import CommandLine
from training.commands.table import add_text, reading_of, text_format_of
from training.data.arrow_types import is_plain
from training.data.notation import Precedent
from training.data.source import read_source
from training.data.table import Table
from training.data.text_reading import read_as
from training.predictions import Predictions, predict_table, training_notation

_DESCRIPTION = """\
Answers each row of a table with a model of the store, in this process: no server is needed. The table has the model's
columns, in any order and under the same names; other columns are kept, so the target may be among them. Numbers are
read with the marks of the training table unless --decimal or --thousands says otherwise.

The answers stand beside the rows: `prediction` and, for classes, `probability LABEL` for each. `--intervals` adds `low`
and `high`, which contain the true value in that share of rows, or `set`, the labels that a row may have. A model of
several targets adds `prediction_TARGET` for each, and `prediction_TARGET_low` and `prediction_TARGET_high`. A server
gives the same, up to the last digit of a probability or a value. A cell that the model does not take ends the command,
and nothing is written.
"""

_EPILOG = """\
examples:
  python -m training predict flowers.csv --model flowers > answered.csv
  python -m training predict flowers.csv --model flowers@production --out answered.parquet
  python -m training predict houses.csv --model houses --intervals 0.9 > answered.csv
"""

Writer = Callable[[pa.Table, BinaryIO], None]


def _write_csv(delimiter: str) -> Writer:
    options = pyarrow.csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
    return lambda table, file: pyarrow.csv.write_csv(table, file, options)


_WRITERS: dict[str, Writer] = {
    ".csv": _write_csv(","),
    ".tsv": _write_csv("\t"),
    ".parquet": pyarrow.parquet.write_table,
}


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("predict", "answer the rows of a table in a file", _run, description=_DESCRIPTION, epilog=_EPILOG)
    line.add_store(parser)
    parser.add_argument(
        "source", metavar="FILE", help="a .csv, .tsv or .parquet file, packed (.csv.gz) or not, or a folder of Parquet"
    )
    # Not `required`: `axon predict --url` may leave the choice to the server.
    parser.add_argument("--model", metavar="MODEL", help="NAME, NAME@VERSION or NAME@ALIAS")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"{', '.join(_WRITERS)} (default: CSV on standard output)"
    )
    parser.add_argument(
        "--intervals",
        type=_level,
        metavar="LEVEL",
        help="add intervals or sets of labels that contain the truth in this share of rows, such as 0.9",
    )
    parser.add_argument("--prefix", default="", metavar="TEXT", help="beginning of the new columns' names")
    add_text(parser.add_argument_group("how the file is written"))


def _run(arguments: argparse.Namespace) -> None:
    if arguments.model is None:
        arguments.parser.error("the following arguments are required: --model")
    write = writer_of(arguments.out)
    checkpoint = trusted(open_store(arguments.store).resolve(arguments.model)).load().checkpoint
    table = table_of(arguments, training_notation(checkpoint.data))
    write_answers(arguments, table, predict_table(checkpoint, table, level=arguments.intervals), write)


def _level(text: str) -> float:
    try:
        return check_level(float(text))
    except ValueError:  # `ConfigError` is one
        raise argparse.ArgumentTypeError(f"a level between 0 and 1 is expected, got {text!r}") from None


def writer_of(out: Path | None) -> Writer:
    """Returns the function that writes an Arrow table to a file.

    Args:
        out: path of the file, whose suffix says the format; None for CSV on standard output.

    Raises:
        ConfigError: the format is not one that is written.
    """
    suffix = ".csv" if out is None else out.suffix.lower()
    if suffix not in _WRITERS:
        raise ConfigError(f"{out} is of a type that is not written: {', '.join(_WRITERS)} are.")
    return _WRITERS[suffix]


def _check_written(answered: pa.Table, write: Writer, source: str) -> None:
    """Refuses a column that the file's format cannot hold, before the file is opened.

    Args:
        answered: table to write.
        write: function that writes the table.
        source: name of the table that was answered, for the message.

    Raises:
        DataError: the format cannot hold a column.
    """
    for field in answered.schema:
        if is_plain(field.type):
            continue
        try:
            write(answered.select([field.name]), pa.MockOutputStream())
        except pa.ArrowException as error:
            raise DataError(
                f"column {field.name!r} of {source} is of the type {field.type}, which a file of this format does not "
                "hold: write Parquet (--out FILE.parquet), or leave the column out of the table."
            ) from error


def table_of(arguments: argparse.Namespace, precedent: Precedent | None) -> Table:
    """Returns the table of the command line.

    Args:
        arguments: parsed options of the command.
        precedent: notation of the training table; None if it is not known.

    Raises:
        DataError: the table cannot be read.
    """
    table = read_source(arguments.source, text_format=text_format_of(arguments))
    return read_as(table, reading_of(arguments), precedent)


def write_answers(arguments: argparse.Namespace, table: Table, predictions: Predictions, write: Writer) -> None:
    """Writes a table with the answers beside the rows, and prints what the user should know of both.

    Args:
        arguments: parsed options of the command.
        table: table of the rows.
        predictions: answers to the rows.
        write: function from `writer_of`.

    Raises:
        DataError: the file cannot be written, or the table has a column of the same name.
    """
    out: Path | None = arguments.out
    answered = predictions.beside(table, prefix=arguments.prefix)
    _check_written(answered, write, table.source)
    for note in (*table.notes, *predictions.notes):
        print(note, file=sys.stderr)
    for column, cells in predictions.unknown.items():
        print(unknown_in_words(column, cells), file=sys.stderr)
    if out is None:
        sys.stdout.flush()
        write(answered, sys.stdout.buffer)
        return
    try:
        with output_file(out) as file:
            write(answered, file)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}.") from error
    print(f"{len(answered):,} rows answered: {out}", file=sys.stderr)
