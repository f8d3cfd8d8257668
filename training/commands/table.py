"""The options on how to read a table: the target, the kinds of columns, the division of the rows."""

from __future__ import annotations

import argparse
from typing import Any

from training.commands import options
from training.data.column_choices import ColumnChoices
from training.data.text_format import TextFormat
from training.data.text_reading import DECIMALS, THOUSANDS, TextReading

SOURCE_HELP = (
    "a built-in dataset; a file of text (.csv .tsv .txt .tab .psv .dat .data), packed (.csv.gz) or not; a Parquet "
    "file; or a folder of Parquet files"
)


def add_table(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `table_of` reads."""
    table = parser.add_argument_group("the table")
    table.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column to predict, or several of numbers, such as rent,sold,cost; a built-in dataset has its own",
    )
    table.add_argument("--task", choices=("classification", "regression"), help="default: by the target")
    for option, text in (
        ("--categorical", "read these as categories"),
        ("--numeric", "read these as numbers"),
        ("--date", "read these as dates"),
        ("--drop", "leave these out: identifiers"),
    ):
        table.add_argument(option, metavar="COLUMN", nargs="+", action="extend", default=[], help=text)
    table.add_argument(
        "--date-format",
        metavar="COLUMN=FORM",
        nargs="+",
        action="extend",
        type=options.date_format,
        default=[],
        help="how the dates of these are written, where their cells do not tell: %%d/%%m/%%Y, %%m/%%d/%%y, %%Y%%m%%d, "
        "…, epoch-seconds, epoch-milliseconds, excel-days",
    )
    table.add_argument(
        "--keep-constant",
        action="store_true",
        help="keep features of one value, and those that equal another, such as black pixels",
    )
    table.add_argument("--drop-missing-target", action="store_true", help="leave out rows without a target")
    table.add_argument(
        "--drop-rare-classes", action="store_true", help="leave out rows of classes with too few rows to be split"
    )
    table.add_argument(
        "--equal-rows",
        choices=("auto", "together", "scatter"),
        default="auto",
        help="rows of equal features: together keeps them in one part of the split, and leaves out of training those "
        "that a --test file has too; scatter divides them by chance; auto keeps them together unless so few different "
        "values make them likely (default: %(default)s)",
    )
    table.add_argument("--weight", metavar="COLUMN", help="how much each row counts; no feature then")
    table.add_argument("--group", metavar="COLUMN", help="rows that are equal in it go to one part; no feature then")
    table.add_argument(
        "--time", metavar="COLUMN", help="split by it: the oldest rows train, the newest test; no feature then"
    )
    table.add_argument("--keep-time", action="store_true", help="keep the --time column as a feature too")
    table.add_argument("--test", metavar="FILE", help="a second file of these columns, whose rows are the test part")
    table.add_argument(
        "--unknown",
        choices=("refuse", "ignore"),
        default="ignore",
        help="what serving does with a category that training did not see: ignore reads it as unknown and counts it, "
        "refuse refuses the row (default: %(default)s)",
    )
    table.add_argument(
        "--examples",
        choices=("typical", "rows"),
        default="typical",
        help="example rows that the model and its report show to whoever may read them: typical ones, made up of "
        "medians and commonest names, or rows of the table (default: %(default)s)",
    )
    table.add_argument(
        "--background",
        choices=("typical", "rows"),
        default="typical",
        help="rows that explanations compare with, and that the model carries: the typical row, or up to 100 rows of "
        "the training part (default: %(default)s)",
    )
    add_text(table)


def add_text(table: argparse._ArgumentGroup) -> None:
    """Adds the options on the format of a text file, which `text_format_of` and `reading_of` read."""
    table.add_argument(
        "--delimiter",
        type=options.delimiter,
        metavar="CHARACTER",
        help="what divides a CSV file's cells; tab and blank (any run of blanks) too (default: found out)",
    )
    table.add_argument(
        "--encoding", metavar="NAME", help="of a CSV file, such as cp1252 (default: UTF-8, or what its first bytes say)"
    )
    table.add_argument(
        "--skip-lines", type=options.whole, default=0, metavar="N", help="lines before a CSV file's header"
    )
    table.add_argument("--comment", metavar="TEXT", help="pass over a CSV file's lines that begin so, such as '#'")
    table.add_argument(
        "--decimal", choices=DECIMALS, help="decimal mark of numbers that are texts (default: what the table shows)"
    )
    table.add_argument(
        "--thousands", choices=THOUSANDS, help="mark between their thousands (default: what the table shows)"
    )
    table.add_argument(
        "--missing-values",
        metavar="VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="read these texts or numbers as missing, such as ? -9999; only in one column: COLUMN=VALUE",
    )


def text_format_of(arguments: argparse.Namespace) -> TextFormat:
    """Returns the format of a text file that was given on the command line."""
    return TextFormat(
        delimiter=arguments.delimiter,
        encoding=arguments.encoding,
        skip_lines=arguments.skip_lines,
        comment=arguments.comment,
    )


def reading_of(arguments: argparse.Namespace) -> TextReading:
    """Returns the command line's rules for reading texts."""
    return TextReading(
        decimal=arguments.decimal, thousands=arguments.thousands, missing_values=tuple(arguments.missing_values)
    )


def table_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the command line's options on reading the table, as arguments of `fit`."""
    table = {
        "target": arguments.target,
        "task": arguments.task,
        "delimiter": arguments.delimiter,
        "decimal": arguments.decimal,
        "thousands": arguments.thousands,
        "missing_values": tuple(arguments.missing_values),
        "encoding": arguments.encoding,
        "skip_lines": arguments.skip_lines,
        "comment": arguments.comment,
        "choices": ColumnChoices(
            categorical=tuple(arguments.categorical),
            numeric=tuple(arguments.numeric),
            date=tuple(arguments.date),
            date_formats=dict(arguments.date_format),
            drop=tuple(arguments.drop),
            weight=arguments.weight,
            group=arguments.group,
            time=arguments.time,
            keep_time=arguments.keep_time,
            unknown=arguments.unknown,
            keep_constant=arguments.keep_constant,
            drop_missing_target=arguments.drop_missing_target,
            examples=arguments.examples,
            background=arguments.background,
            drop_rare_classes=arguments.drop_rare_classes,
            equal_rows=arguments.equal_rows,
        ),
    }
    return table if arguments.test is None else table | {"test": arguments.test}
