"""`fit`: a table → a model, published as the next version of its name."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from models.cell_text import MISSING_TEXTS
from models.store import ModelVersion
from training.commands import options
from training.commands.options import CommandLine
from training.commands.settings import add_settings, settings_of
from training.commands.table import add_table, table_of
from training.data.understanding import MAX_NUMBERED_CLASSES
from training.datasets import DATASETS
from training.engines.engine import Epoch
from training.fit import FittedModel, fit
from training.interrupt import stopping_on_interrupt
from training.progress import progress
from training.report import metrics_table, print_table, result
from training.reporting.comparison import Comparison
from training.reporting.files import CARD_FILE, REPORT_FILE, write_report
from training.reporting.tensorboard import tensorboard_log
from training.resume import ResumeFile
from training.sources import model_name

_DATASET_LINES = "\n".join(f"  {entry.name:<14} {entry.about}" for entry in DATASETS.values())

_DESCRIPTION = f"""\
Trains a model on a table and publishes it to the store as the next version of its name.

Columns of numbers are numeric, of ISO 8601 dates dates; strings and true/false are categorical. `inspect` shows what a
table is understood as. Columns that tell nothing are left out, with a note. Missing are empty cells and
{", ".join(cell for cell in MISSING_TEXTS if cell)}; among numbers also ?, -, N/A and their like, with a note. The
target's kind decides the task: strings, true/false and up to {MAX_NUMBERED_CLASSES} different whole numbers, none of
them rare, are classes, other numbers a regression; --task says otherwise. All statistics are those of the training
part.
"""

_EPILOG = f"""\
built-in datasets:
{_DATASET_LINES}

examples:
  python -m training fit iris
  python -m training fit flowers.csv --target species
  python -m training fit houses.parquet --target price --drop id --categorical postcode --hidden 128,64
  python -m training fit xor --engine perceptron
  python -m training fit flowers.csv --target species --json --quiet
  python -m training fit flowers.csv --target species --baselines --tensorboard runs

The last line on standard output is `published NAME@VERSION`; progress goes to standard error. Ctrl-C ends the run
after the present epoch and publishes the best so far; pressed again, it ends at once and publishes nothing. The same
command with --resume goes on where a run was interrupted (a killed one: a minute before), to the very same weights.
A built-in dataset has settings of its own, which the options here override.
Exit codes: 0 published, 2 refused (one sentence says why), 130 interrupted.
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("fit", "train a model and publish it", _run, description=_DESCRIPTION, epilog=_EPILOG)
    line.add_store(parser)
    parser.add_argument("source", metavar="SOURCE", help="a built-in dataset, or a .csv, .tsv or .parquet file")
    parser.add_argument("--name", help="the model's name (default: the dataset's or the file's)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of table and last line")
    add_table(parser)
    add_settings(parser)
    run = parser.add_argument_group("the run")
    line.add_device(run)
    line.add_threads(run)
    run.add_argument("--resume", action="store_true", help="go on with the interrupted run of this name")
    _add_told(parser)


def _add_told(parser: argparse.ArgumentParser) -> None:
    told = parser.add_argument_group("what is told of it")
    told.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"write {REPORT_FILE} and {CARD_FILE}, a model card, beside the checkpoint (default: yes)",
    )
    told.add_argument(
        "--baselines",
        action="store_true",
        help="train a linear model and gradient-boosted trees on the same rows, and say which to use",
    )
    told.add_argument("--tensorboard", metavar="FOLDER", help="log each epoch for TensorBoard, in FOLDER/NAME-1, -2, …")


def _run(arguments: argparse.Namespace) -> None:
    options.use_threads(arguments)
    errors = Console(stderr=True, quiet=arguments.quiet)
    model = _fit_with_progress(
        errors,
        arguments.source,
        name=arguments.name,
        device=arguments.device,
        log=None if arguments.tensorboard is None else Path(arguments.tensorboard),
        keep=_resume_file(arguments),
        resume=arguments.resume,
        **table_of(arguments),
        **settings_of(arguments),
    )
    published = model.publish(arguments.store)
    comparison = _compare(errors, model) if arguments.baselines else None
    files = _report(errors, model, published, comparison) if arguments.report else {}
    if arguments.json:
        told = {
            "files": {what: str(path) for what, path in files.items()},
            "baselines": None if comparison is None else comparison.to_dict(),
        }
        print(json.dumps(result(model, published) | told, indent=2, allow_nan=False))
        return
    if not arguments.quiet:
        print_table(metrics_table(model))
        for note in model.notes:
            print(note)
        if comparison is not None:
            print_table(_comparison_table(comparison))
            print(comparison.advice)
        for path in files.values():
            print(path)
    print(f"published {published}")


def _resume_file(arguments: argparse.Namespace) -> ResumeFile:
    name = arguments.name or model_name(arguments.source)
    return ResumeFile(Path(arguments.store) / ".resume" / f"{name}.safetensors")


def _compare(errors: Console, model: FittedModel) -> Comparison:
    # Imported here: scikit-learn takes a second to import, and most runs do without.
    from training.reporting.baselines import compare

    errors.print("training the baselines …")
    return compare(model)


def _report(
    errors: Console, model: FittedModel, published: ModelVersion, comparison: Comparison | None
) -> dict[str, Path]:
    try:
        return write_report(model, published, comparison)
    except Exception as error:
        # Whatever it is: the model is published, and a page about it is not worth failing for.
        reason = f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        errors.print(f"warning: {published} has no report: {reason}.", markup=False, soft_wrap=True)
        return {}


def _comparison_table(comparison: Comparison) -> Table:
    head, rows = comparison.side_by_side()
    table = Table(box=box.SIMPLE_HEAD, title="beside baselines")
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _fit_with_progress(errors: Console, source: str, *, log: Path | None, **arguments: Any) -> FittedModel:
    def stopping() -> None:
        # Not through the console: the signal may have come in the midst of its own printing.
        if not errors.quiet:
            os.write(
                2, b"\nStopping after this epoch and keeping the best so far; press Ctrl-C again to end at once.\n"
            )

    with ExitStack() as stack:
        should_stop = stack.enter_context(stopping_on_interrupt(stopping))
        listeners = [stack.enter_context(progress(errors, source))]
        if log is not None:
            run = arguments["name"] or Path(source).stem
            listeners.append(stack.enter_context(tensorboard_log(log, run)))

        def on_epoch(epoch: Epoch) -> None:
            for listen in listeners:
                listen(epoch)

        return fit(source, on_epoch=on_epoch, should_stop=should_stop, **arguments)
