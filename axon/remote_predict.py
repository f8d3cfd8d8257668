"""The option `--url` of `axon predict`: a server answers the rows of a table in a file."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from models.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from axon.client import Answer, Client, RowsRefused
    from axon.client.prediction import Progress
    from training.data.table import Table
    from training.data.values import Values

KEY_VARIABLE = "AXON_CLIENT_KEY"


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for a server to the command `predict`, and runs the command there if `--url` is given.

    Args:
        parser: parser of training's command.
    """
    group = parser.add_argument_group("a server in place of the store")
    group.add_argument(
        "--url",
        metavar="URL",
        help="ask a server, such as http://localhost:8000; --model may be left out if it has a default model",
    )
    group.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the server's API key (default: the variable {KEY_VARIABLE}, else no key)",
    )
    group.add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="S", help="longest wait (default: %(default)g s)"
    )
    group.add_argument(
        "--members", type=_count, metavar="N", help="let the first N members of an ensemble answer (default: all)"
    )
    locally = parser.get_default("run")

    def run(arguments: argparse.Namespace) -> None:
        if arguments.url is not None:
            _run(arguments)
        elif arguments.api_key_file is not None:
            parser.error("--api-key-file is for --url")
        elif arguments.members is not None:
            parser.error("--members is for --url")
        else:
            locally(arguments)

    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is expected, got {text!r}")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not int(text[:9]) > 0:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on is expected, got {text!r}")
    return int(text[:9])


def _run(arguments: argparse.Namespace) -> None:
    from training.commands.predict import table_of, write_answers, writer_of
    from training.predictions import Predictions, read_columns, training_notation

    write = writer_of(arguments.out)
    with _client(arguments) as client:
        schema, data, reference = _model(client, arguments.model)
        table = table_of(arguments, training_notation(data))
        notes: list[str] = []
        rows = _arrow(read_columns(schema.columns, table, notes))
        with _progress(table.source) as progress:
            answer = _ask(client, rows, reference, table, progress, arguments)
    predictions = Predictions(
        answers=answer.predictions,
        classes=answer.classes,
        probabilities=answer.probabilities,
        unknown=answer.unknown,
        intervals=answer.intervals,
        sets=answer.sets,
        targets=answer.targets,
        notes=tuple(notes),
    )
    write_answers(arguments, table, predictions, write)


def _client(arguments: argparse.Namespace) -> Client:
    try:
        from axon.client import Client
    except ModuleNotFoundError as missing:
        from models.installation import missing_part

        if (sentence := missing_part("client", missing)) is None:
            raise
        raise ConfigError(sentence) from None
    return Client(arguments.url, _key(arguments.api_key_file), timeout=arguments.timeout)


def _key(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns the API key of a file, else that of the environment, else None."""
    if file is None:
        return environment.get(KEY_VARIABLE) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not a text'}.") from None


def _model(client: Client, reference: str | None) -> tuple[Any, Mapping[str, Any], str]:
    """Returns the schema of a model, its section on the data, and the reference of the version.

    Raises:
        ConfigError: no model is named, and the server has no default model.
    """
    from models.columns.schema import Schema

    if reference is None:
        listed = client.models()
        reference = listed.get("default")
        if reference is None:
            names = [model["name"] for model in listed["models"]]
            raise ConfigError(f"the server has {len(names)} models: name one with --model ({', '.join(names)}).")
    detail = client.model(reference)
    schema = Schema.from_dict(cast(dict[str, Any], detail))
    return schema, detail["data"], f"{detail['name']}@{detail['version']}"


def _arrow(values: Mapping[str, Values]) -> pa.Table:
    """Returns columns for the client: numbers, moments or texts, null or NaN for missing."""
    import pyarrow as pa

    from models.columns.dictionary_column import DictionaryColumn

    columns: dict[str, Any] = {}
    for name, cells in values.items():
        if isinstance(cells, DictionaryColumn):
            codes = pa.array(cells.codes, mask=cells.missing())
            columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(cells.names, pa.string()))
        else:
            columns[name] = pa.array(cells)
    return pa.table(columns)


def _ask(
    client: Client, rows: pa.Table, reference: str, table: Table, progress: Progress, arguments: argparse.Namespace
) -> Answer:
    """Asks the server.

    Raises:
        DataError: the server refuses a row; the message has the row's place in the file.
        ClientError: there is no answer for another reason.
    """
    from axon.client import RowsRefused

    try:
        options = {"members": arguments.members, "intervals": arguments.intervals}
        return client.predict(rows, reference, progress=progress, **options)
    except RowsRefused as error:
        raise DataError(_in_the_file(error, table)) from None


def _in_the_file(error: RowsRefused, table: Table) -> str:
    """Returns the message of an error with the place of the row in the file."""
    fault = error.faults[0]
    column = "" if fault.column is None else f", column {fault.column!r}"
    more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
    request = "" if error.request_id is None else f" (request {error.request_id})"
    place = table.locate(fault.row)
    row = "" if place.startswith("row ") else f", row {fault.row}"
    return f"{table.source}, {place}{row}{column}: {fault.message}{more}{request}"


@contextmanager
def _progress(title: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Yields a function that shows rows, rows per second and the time left: a bar, or a line every few seconds.

    Args:
        title: name of the table.
        clock: clock in seconds.
    """
    from training.live import Lines, TimeLeft, bar, draws_bars
    from training.terminal import plain_console

    console = plain_console(stderr=True)
    left, begin = TimeLeft(clock), clock()

    def texts(done: int, of: int) -> dict[str, str]:
        speed = done / max(clock() - begin, 1e-9)
        return {"count": f"{done:,}/{of:,} rows", "figure": f"{speed:,.0f} rows/s", "left": left.after(done, of)}

    if not draws_bars(console):
        lines = Lines(at_once=False, clock=clock)  # most tables are answered before a line is due

        def show_line(done: int, of: int) -> None:
            shown = texts(done, of)
            if lines.is_due():
                text = f"{title}: {', '.join(filter(None, shown.values()))}"
                console.print(text, soft_wrap=True, markup=False, highlight=False)

        yield show_line
        return
    with bar(console) as drawn:
        task = drawn.add_task(title, total=None, count="", figure="", left="")

        def move(done: int, of: int) -> None:
            shown = texts(done, of)
            drawn.update(
                task, total=of, completed=done, count=shown["count"], figure=shown["figure"], left=shown["left"]
            )

        yield move
