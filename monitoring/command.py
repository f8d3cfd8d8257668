"""The commands `axon monitor` and `axon replay`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from models.errors import AxonError, DataError
from monitoring.command_table import COMMANDS
from training.commands.table import add_text, reading_of, text_format_of
from training.data.text_format import TextFormat
from training.data.text_reading import TextReading

_EXIT_REFUSED, _EXIT_INTERRUPTED = 2, 130
_BYS = ("hour", "day", "week", "month", "all")

_MONITOR = """\
Joins labels, which are known days later, with the predictions that a server has logged (AXON_PREDICTION_LOG), and
reports how good the answers were: quality and calibration over time, drift since training, by version.

FILE is CSV (packed or not) or Parquet. Its column request_id has the X-Request-ID of each request, and its column row
the number of the row in the request, from 0; without a column row, requests have one row each. The labels are in the
column with the name of the model's target, else in `label`, `truth` or `target`, else in the only other column; --label
names another one. Numbers are read with the marks of the training table unless --decimal or --thousands says otherwise.
"""
_MONITOR_EPILOG = """\
examples:
  axon monitor predictions --labels labels.csv --out report.html
  axon monitor predictions --labels orders.parquet --model churn@3 --on customer_id --label left --by week
  axon monitor predictions --model churn                 # drift alone, without labels

docs/prediction-log.md has the details.
"""
_REPLAY = """\
Answers the rows that a server has logged (AXON_PREDICTION_LOG) with another version, and compares with what was
answered: share of equal labels, differences, disagreement by class and over time, and the rows that differ most.
"""
_REPLAY_EPILOG = """\
examples:
  axon replay predictions --model churn@4 --out report.html
  axon replay predictions --model churn@candidate --of churn@3 --since 2026-11-01

docs/prediction-log.md has the details.
"""


def add_log_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands to a parser, for completion.

    Args:
        commands: argparse's collection of commands.
    """
    _monitor_options(commands.add_parser("monitor", help=COMMANDS["monitor"]), os.environ)
    _replay_options(commands.add_parser("replay", help=COMMANDS["replay"]), os.environ)


def run_log_command(given: Sequence[str], *, prog: str, environment: Mapping[str, str] = os.environ) -> int:
    """Runs one of the commands and returns its exit code.

    Args:
        given: command and options.
        prog: name of the program in its help.
        environment: variables of the process.
    """
    command, options = given[0], given[1:]
    is_monitor = command == "monitor"
    parser = argparse.ArgumentParser(
        prog=f"{prog} {command}",
        description=_MONITOR if is_monitor else _REPLAY,
        epilog=_MONITOR_EPILOG if is_monitor else _REPLAY_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    (_monitor_options if is_monitor else _replay_options)(parser, environment)
    arguments = parser.parse_args(options)
    run: Callable[[argparse.Namespace], int] = _monitor if is_monitor else _replay
    try:
        return run(arguments)
    except AxonError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_REFUSED
    except MemoryError:
        sys.stderr.write("error: the memory of this machine is not enough for these rows: name a shorter --since.\n")
        return _EXIT_REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written.\n")
        return _EXIT_INTERRUPTED


def _common_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    parser.add_argument("log", metavar="FOLDER", type=Path, help="the folder of AXON_PREDICTION_LOG")
    parser.add_argument("--out", metavar="PATH", type=Path, help="write the report as one HTML file")
    parser.add_argument("--by", choices=_BYS, default="day", help="length of the periods, in UTC (default: day)")
    parser.add_argument("--since", metavar="TIME", type=_moment, help="leave out earlier rows: 2026-11-01, in UTC")
    parser.add_argument("--until", metavar="TIME", type=_moment, help="leave out this moment and later ones")
    parser.add_argument(
        "--store",
        metavar="STORE",
        default=environment.get("AXON_STORE") or "checkpoints",
        help="the folder or bucket of models (default: AXON_STORE, else checkpoints)",
    )


def _monitor_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    _common_options(parser, environment)
    parser.add_argument("--model", metavar="MODEL", help="NAME or NAME@VERSION (default: the only model of the log)")
    parser.add_argument("--labels", metavar="FILE", type=Path, help="the labels; without them, drift alone is reported")
    parser.add_argument("--label", metavar="COLUMN", help="the column of the labels (default: the target's name)")
    parser.add_argument("--target", metavar="NAME", help="of several targets, the one whose labels these are")
    parser.add_argument("--on", metavar="COLUMN", help="join by this input column instead of the request id")
    add_text(parser.add_argument_group("how the file of labels is written"))


def _replay_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    _common_options(parser, environment)
    parser.add_argument("--model", metavar="MODEL", required=True, help="the version that answers: NAME@VERSION")
    parser.add_argument(
        "--of", metavar="MODEL", help="whose rows: NAME or NAME@VERSION (default: all versions of the same model)"
    )


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-11-01 or 2026-11-01T13:00") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _monitor(arguments: argparse.Namespace) -> int:
    # Imported here: the libraries take a second, which the help and a refused option have no need of.
    from monitoring.monitor import LabelSource, monitor
    from monitoring.monitor_sections import monitor_lines, monitor_page
    from monitoring.selection import Selection, parse_model

    text_format, reading = text_format_of(arguments), reading_of(arguments)
    about_labels = (arguments.label, arguments.on, arguments.target)
    is_described = text_format != TextFormat() or reading != TextReading()
    if arguments.labels is None and (is_described or any(option is not None for option in about_labels)):
        raise DataError(
            "--target, --label, --on and the options on how the file is written are about the file of labels: name the "
            "file with --labels."
        )
    name, version = parse_model(arguments.model)
    selection = Selection(
        folder=arguments.log, model=name, version=version, since=arguments.since, until=arguments.until
    )
    source = LabelSource(
        path=arguments.labels,
        column=arguments.label,
        on=arguments.on,
        target=arguments.target,
        text_format=text_format,
        reading=reading,
    )
    report = monitor(selection, source, store=arguments.store, by=arguments.by)
    sys.stdout.write("".join(f"{line}\n" for line in monitor_lines(report)))
    _write(arguments.out, lambda: monitor_page(report))
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from monitoring.replay import replay
    from monitoring.replay_sections import replay_lines, replay_page
    from monitoring.selection import Selection, parse_model

    name, version = parse_model(arguments.of or arguments.model.partition("@")[0])
    selection = Selection(
        folder=arguments.log, model=name, version=version, since=arguments.since, until=arguments.until
    )
    report = replay(selection, arguments.model, store=arguments.store, by=arguments.by)
    sys.stdout.write("".join(f"{line}\n" for line in replay_lines(report)))
    _write(arguments.out, lambda: replay_page(report))
    return 0


def _write(path: Path | None, page: Callable[[], str]) -> None:
    """Writes the report, if a path is given."""
    if path is None:
        return
    from training.reporting.files import write_text

    try:
        write_text(path, page())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from None
    sys.stderr.write(f"report: {path}\n")
