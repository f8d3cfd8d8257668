"""`study`: runs and checks the ideas that an MLP is built on, each with a table and a plot."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from models.errors import StoreError
from models.open_store import open_store
from models.study_record import StudyRecord, publish_study
from training.commands import options
from training.commands.options import CommandLine
from training.errors import PlotError
from training.plotting.plot_file import check_plot_path, write_plot
from training.progress import study_progress
from training.report import print_table
from training.studies.explanations import EXPLANATIONS
from training.studies.registry import STUDIES
from training.studies.steps import OnStep, following
from training.studies.study import Cell, Study, StudyResult, StudyTable
from training.terminal import plain_console, say
from training.threads import limited_threads

ALL = "all"
EXIT_CLAIM_FAILED = 1

_LINES = "\n".join(f"  {study.name:<16} {study.about}" for study in STUDIES.values())

_DESCRIPTION = f"""\
Runs a study: a claim about networks, checked here and now. Prints its tables and writes its plot.

studies:
{_LINES}
  {ALL:<16} each of them

`study NAME --help` says what a study claims, and has its options.
"""

_EPILOG = """\
examples:
  python -m training study
  python -m training study xor
  python -m training study depth --bits 16 --plot depth.png
  python -m training study all --quick --folder plots
  python -m training study all --publish

Exit codes: 0 the claim held, 1 it did not in this run, 2 refused.
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("study", "see the ideas behind an MLP run", _list, description=_DESCRIPTION, epilog=_EPILOG)
    names = parser.add_subparsers(dest="study", metavar="NAME")
    for study in STUDIES.values():
        own = names.add_parser(study.name, help=study.about, description=study.claim, allow_abbrev=False)
        own.add_argument("--plot", type=Path, metavar="FILE", help=f"an .svg or .png (default: {study.name}.svg)")
        _add_shared(line, own)
        for option in study.options:
            own.add_argument(
                f"--{option.name}",
                type=int if option.kind == "number" else options.widths,
                default=argparse.SUPPRESS,
                metavar="N" if option.kind == "number" else "N,N,…",
                help=option.about,
            )
        own.set_defaults(run=_run_one)
    every = names.add_parser(ALL, help="each of them", description="Runs each study.", allow_abbrev=False)
    every.add_argument(
        "--folder",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where NAME.svg of each goes; made if it is not there (default: here)",
    )
    _add_shared(line, every)
    every.set_defaults(run=_run_all)


def _add_shared(line: CommandLine, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of whatever is drawn (default: 0)")
    parser.add_argument("--quick", action="store_true", help="less of everything, in a second or two")
    parser.add_argument("--threads", type=options.threads, default=1, metavar="N", help="CPU threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of tables")
    parser.add_argument(
        "--publish", action="store_true", help="keep the result beside the models, where a server shows it"
    )
    line.add_store(parser)


def _list(arguments: argparse.Namespace) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("study", no_wrap=True)
    table.add_column("question")
    for study in STUDIES.values():
        table.add_row(study.name, study.about)
    print_table(table)


def _run_one(arguments: argparse.Namespace) -> None:
    study = STUDIES[arguments.study]
    path = arguments.plot or Path(f"{study.name}.svg")
    check_plot_path(path)
    if arguments.publish:
        _studies_store(arguments)  # refuses a bucket before the study runs
    own = {option.name: getattr(arguments, option.name) for option in study.options if hasattr(arguments, option.name)}
    result = _result(arguments, study, **own)
    write_plot(result.draw, path)
    published = _publish(arguments, study, result, path)
    if arguments.json:
        print(json.dumps(_record(study, result, path, published), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        _print(study, result, path, published)
    if not result.holds:
        raise SystemExit(EXIT_CLAIM_FAILED)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise PlotError(f"the folder {str(folder)!r} cannot be made: {error.strerror}.") from error


def _run_all(arguments: argparse.Namespace) -> None:
    _make_folder(arguments.folder)
    paths = {name: arguments.folder / f"{name}.svg" for name in STUDIES}
    for path in paths.values():
        check_plot_path(path)
    if arguments.publish:
        _studies_store(arguments)
    records, failed = [], False
    for name, study in STUDIES.items():
        result = _result(arguments, study)
        write_plot(result.draw, paths[name])
        published = _publish(arguments, study, result, paths[name])
        failed |= not result.holds
        if arguments.json:
            records.append(_record(study, result, paths[name], published))
        else:
            _print(study, result, paths[name], published)
    if arguments.json:
        print(json.dumps(records, indent=2, allow_nan=False, ensure_ascii=False))
    if failed:
        raise SystemExit(EXIT_CLAIM_FAILED)


def _result(arguments: argparse.Namespace, study: Study, **own: Any) -> StudyResult:
    """Prints the claim of a study, runs the study with a progress bar, and returns the result."""
    with ExitStack() as stack:
        shown: list[OnStep] = []

        def begin() -> OnStep:
            if not shown:
                if not arguments.json:
                    say(f"{study.name}: {study.claim}")
                shown.append(stack.enter_context(study_progress(plain_console(stderr=True), study.name)))
            return shown[0]

        if not study.options:  # no option can be refused, so the claim is shown at once
            begin()
        stack.enter_context(following(lambda done, of: begin()(done, of)))
        stack.enter_context(limited_threads(arguments.threads))
        result = study.run(seed=arguments.seed, quick=arguments.quick, **own)
        begin()  # shows the claim of a study that reported no step
        return result


def _publish(arguments: argparse.Namespace, study: Study, result: StudyResult, plot: Path) -> Path | None:
    """Publishes a result if the user asks for that; returns the path of the record, or None."""
    if not arguments.publish:
        return None
    document = result.to_dict()
    record = StudyRecord(
        name=study.name,
        about=study.about,
        explanation=EXPLANATIONS[study.name],
        claim=study.claim,
        holds=result.holds,
        verdict=result.verdict,
        seed=arguments.seed,
        quick=arguments.quick,
        ran=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        tables=document["tables"],
        diagrams=document["diagrams"],
        plot="png" if plot.suffix.lower() == ".png" else "svg",
    )
    return publish_study(_studies_store(arguments), record, plot.read_bytes())


def _studies_store(arguments: argparse.Namespace) -> Path:
    """Returns the folder of the store.

    Raises:
        StoreError: the store is a bucket.
    """
    folder = open_store(arguments.store).folder
    if folder is None:
        raise StoreError(
            f"results of studies are published to a folder of models, and {arguments.store} is a bucket: name a folder "
            "(--store FOLDER)."
        )
    return folder


def _record(study: Study, result: StudyResult, path: Path, published: Path | None) -> dict[str, Any]:
    record = {"study": study.name, **result.to_dict(), "plot": str(path)}
    return record if published is None else record | {"published": str(published)}


def _print(study: Study, result: StudyResult, path: Path, published: Path | None) -> None:
    for table in result.tables():
        print(f"\n{table.title}")
        print_table(_rich(table))
    for diagram in result.diagrams():
        print(f"{diagram.title}, as Mermaid\n\n{diagram.mermaid}\n")
    say(f"{'It held' if result.holds else 'It did not hold in this run'}. {result.verdict.rstrip('.')}.")
    print(f"plot: {path}")
    if published is not None:
        print(f"published: {published}")


def _rich(table: StudyTable) -> Table:
    shown = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(table.columns):
        is_text = all(isinstance(row[i], str) for row in table.rows)
        shown.add_column(column, justify="left" if is_text else "right")
    for row in table.rows:
        shown.add_row(*(_cell(cell) for cell in row))
    return shown


def _cell(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:.4g}"
    return cell


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 999,999,999 is expected, got {text!r}")
    return int(text)
