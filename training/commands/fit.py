"""`fit`: trains a model on a table and publishes the model as the next version of its name."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from models.columns.cell_text import MISSING_TEXTS
from models.errors import ConfigError
from models.model_version import CARD_FILE, REPORT_FILE, ModelVersion
from models.open_store import open_store
from training.budget import TimeBudget
from training.commands import options, publishing
from training.commands.options import CommandLine
from training.commands.publishing import Candidate, Outcome, Publication
from training.commands.settings import add_metric, add_settings, settings_of
from training.commands.table import SOURCE_HELP, add_table, table_of
from training.data.class_balance import is_balanced
from training.data.class_codes import MAX_NUMBERED_CLASSES
from training.datasets import DATASETS
from training.engines.engine import Epoch
from training.fit import fit
from training.fitted_model import FittedModel
from training.interrupt import StopRequest, stopping_on_interrupt
from training.kept_model import UNPUBLISHED, KeptModel
from training.program import program
from training.progress import progress
from training.report import metrics_table, print_table, result
from training.reporting.comparison import LINEAR, OURS, TREES, Comparison
from training.reporting.files import write_report
from training.reporting.keeping import trees_code
from training.reporting.served import COMPARED_OTHERWISE, ServedComparison, compare_with_served
from training.reporting.tensorboard import tensorboard_log
from training.resume import ResumeFile
from training.sources import model_name
from training.task_change import with_task_change
from training.terminal import plain_console
from training.threads import ThreadChoice, limited_threads

_DATASET_LINES = "\n".join(f"  {entry.name:<14} {entry.about}" for entry in DATASETS.values())

_DESCRIPTION = f"""\
Trains a model on a table and publishes it to the store as the next version of its name.

A column of numbers is numeric. A column whose cells are all dates of one form is a date. Texts and truth values are
categories. `inspect` shows how a table is understood. Columns that tell nothing are left out, with a note. Missing are
empty cells and {", ".join(cell for cell in MISSING_TEXTS if cell)}; among numbers also ?, -, N/A and their like, with a
note. The target's kind decides the task: texts, truth values and up to {MAX_NUMBERED_CLASSES} different whole numbers,
none of them rare, are classes, other numbers a regression; --task says otherwise. Several targets, with commas between
their names, are numbers, and one network learns all of them. All statistics are those of the training part.
"""

_EPILOG = f"""\
built-in datasets:
{_DATASET_LINES}

examples:
  python -m training fit iris
  python -m training fit flowers.csv --target species
  python -m training fit houses.parquet --target price --drop id --categorical postcode --hidden 128,64
  python -m training fit houses.parquet --target rent,price,heating
  python -m training fit xor --engine perceptron
  python -m training fit flowers.csv --target species --linear
  python -m training fit flowers.csv --target species --json --quiet
  python -m training fit flowers.csv --target species --baselines --tensorboard runs

The last line on standard output is `published NAME@VERSION` or `kept PATH`; progress goes to standard error. Ctrl-C or
SIGTERM ends the run after the present epoch and keeps the best so far; before the first epoch is over, and by a second
Ctrl-C, it ends at once and nothing is kept. The same command with --resume goes on where a run was interrupted (a
killed one: a minute before), to the very same weights. A built-in dataset has settings of its own, which the options
here override.

{publishing.EPILOG}
{publishing.EXIT_CODES}"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("fit", "train a model and publish it", _run, description=_DESCRIPTION, epilog=_EPILOG)
    line.add_store(parser)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument("--name", help="the model's name (default: the dataset's or the file's)")
    publishing.add_publishing(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of table and last line")
    add_table(parser)
    add_metric(parser)
    add_settings(parser)
    run = parser.add_argument_group("the run")
    line.add_device(run)
    line.add_threads(run)
    run.add_argument(
        "--budget",
        type=options.budget,
        metavar="TIME",
        help="time from the command to the published model, such as 60s, 5min or 1h: the run chooses members, epochs "
        "and batch; or quick, default (the recipe's settings) or best",
    )
    run.add_argument("--resume", action="store_true", help="go on with the interrupted run of this name")
    _add_reporting(parser)


def _add_reporting(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reports about the model")
    group.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"write {REPORT_FILE} and {CARD_FILE}, a model card, beside the checkpoint (default: yes)",
    )
    group.add_argument(
        "--baselines",
        action="store_true",
        help="train a linear model and gradient-boosted trees (scikit-learn's, and LightGBM's and CatBoost's if "
        "installed) on the same rows, and say which to use",
    )
    group.add_argument(
        "--tensorboard", metavar="FOLDER", help="log each epoch for TensorBoard, in FOLDER/NAME-1, -2, …"
    )


def _run(arguments: argparse.Namespace) -> int:
    errors = plain_console(stderr=True, quiet=arguments.quiet)
    publication = Publication.of(arguments, errors)
    publication.try_out()
    budget = _budget(arguments)
    settings = settings_of(arguments)
    if arguments.baselines and settings.get("metric") in COMPARED_OTHERWISE:
        raise ConfigError(
            f"--baselines compares by accuracy, log loss and R², and this run is for {settings['metric']}."
        )
    with stopping_on_interrupt(partial(_tell_stopping, errors)) as stop:
        model = _fit_with_progress(
            errors,
            arguments.source,
            stop,
            name=arguments.name,
            device=arguments.device,
            log=None if arguments.tensorboard is None else Path(arguments.tensorboard),
            keep=_resume_file(arguments, errors),
            resume=arguments.resume,
            before_training=publication.try_room,
            threads=arguments.threads,
            budget=budget,
            **table_of(arguments),
            **settings,
        )
        with stop.held():  # reading the store may take long, and the model is in memory only
            model = with_task_change(model, open_store(arguments.store))
        findings = _Findings(arguments, errors, model)
        # Measured here: baselines and questions to the user take time of their own.
        seconds = budget.left if isinstance(budget, TimeBudget) else None
        outcome = publication.conclude(
            Candidate(
                checkpoint=model.checkpoint,
                interrupted=f"after epoch {model.trained.epochs_run:,}",
                compare=partial(_compare_with_served, model),
                doubts=findings.doubts,
                takes_time=arguments.baselines,
                show=findings.show,
            ),
            stop,
        )
        files = _report(errors, model, outcome.place, findings.comparison, seconds) if arguments.report else {}
    findings.show()
    if arguments.json:
        _print_json(model, outcome, findings.comparison, files)
    elif not arguments.quiet:
        for path in files.values():
            print(path)
    publication.tell(outcome)
    was_interrupted = model.trained.stopped == "asked" and model.trained.epochs_run
    if was_interrupted and model.checkpoint.training["engine"] == "torch" and not settings.get("distill"):
        errors.print("To go on with the run: the same command with --resume.", soft_wrap=True)
    if not arguments.json:
        print(outcome.last_line())
    return outcome.exit_code


def _print_json(
    model: FittedModel, outcome: Outcome, comparison: Comparison | None, files: dict[str, Path | str]
) -> None:
    extra_fields = {
        "files": {what: str(path) for what, path in files.items()},
        "baselines": None if comparison is None else comparison.to_dict(),
    }
    record = result(model, outcome.published) | outcome.to_dict() | extra_fields
    print(json.dumps(record, indent=2, allow_nan=False))


def _budget(arguments: argparse.Namespace) -> TimeBudget | str | None:
    """Returns the budget of the run; a time counts from the begin of the process."""
    if not isinstance(arguments.budget, float):
        level: str | None = arguments.budget
        return level
    return TimeBudget(seconds=arguments.budget, begun=arguments.begun, has_report=arguments.report)


def _resume_file(arguments: argparse.Namespace, errors: Console) -> ResumeFile:
    name = arguments.name or model_name(arguments.source)
    folder = open_store(arguments.store).folder or Path(UNPUBLISHED)
    path = folder / ".resume" / f"{name}.safetensors"
    return ResumeFile(path, on_failure=lambda reason: _warn(errors, f"{reason} The run goes on; --resume cannot."))


def _warn(errors: Console, sentence: str) -> None:
    errors.print(f"warning: {sentence}", markup=False, soft_wrap=True)


class _Findings:
    """The findings about a model: its metrics, and a comparison with baselines if asked for.

    Attributes:
        comparison: comparison of the model with the baselines; None until these are trained.
    """

    def __init__(self, arguments: argparse.Namespace, errors: Console, model: FittedModel) -> None:
        self.comparison: Comparison | None = None
        self._arguments = arguments
        self._errors = errors
        self._model = model
        self._wants_baselines = arguments.baselines
        self._is_to_show = not (arguments.json or arguments.quiet)

    def show(self) -> None:
        """Prints the figures, the notes and the comparison, once."""
        if not self._is_to_show:
            return
        self._is_to_show = False
        print_table(metrics_table(self._model))
        for note in self._model.notes:
            print(note)
        if self.comparison is not None:
            print_table(_comparison_table(self.comparison))
            print(self.comparison.advice)
            print(self.comparison.beside)
            _tell_how_to_keep(self._arguments, self._model, self.comparison)

    def doubts(self) -> list[str]:
        """Trains the baselines if asked for; returns a sentence if a baseline is better or if the training failed."""
        if not self._wants_baselines:
            return []
        # Imported here: importing scikit-learn takes a second, and most runs do not need it.
        from training.reporting.baselines import compare

        self._errors.print("training the baselines …")
        try:
            self.comparison = compare(self._model)
        except Exception as error:
            # Any error: the model is trained, so it is kept.
            return [f"The baselines could not be trained: {type(error).__name__}: {error}."]
        other = self.comparison.preferred
        is_linear_itself = other == LINEAR and len(self._model.checkpoint.config.layer_sizes) == 2
        return [] if other in (None, OURS) or is_linear_itself else [self.comparison.advice]


def _compare_with_served(model: FittedModel, served: ModelVersion) -> ServedComparison:
    return compare_with_served(model.checkpoint, model.table, model.split, served)


def _report(
    errors: Console,
    model: FittedModel,
    place: ModelVersion | KeptModel,
    comparison: Comparison | None,
    seconds: float | None,
) -> dict[str, Path | str]:
    threads = 1 if model.threads is None else model.threads.number
    try:
        with limited_threads(threads):
            return write_report(model, place, comparison, seconds=seconds)
    except (Exception, KeyboardInterrupt) as error:
        # Any error: the model is on the disk, so a missing page is no reason to fail.
        reason = f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        _warn(errors, f"{place} has no report: {reason}.")
        return {}


def _comparison_table(comparison: Comparison) -> Table:
    head, rows = comparison.side_by_side()
    table = Table(box=box.SIMPLE_HEAD, title="beside baselines")
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _tell_stopping(errors: Console) -> None:
    # Not through the console: the signal may have interrupted its printing.
    if not errors.quiet:
        os.write(2, b"\nStopping after this epoch and keeping the best so far; press Ctrl-C again to end at once.\n")


def _tell_how_to_keep(arguments: argparse.Namespace, model: FittedModel, comparison: Comparison) -> None:
    if comparison.preferred == LINEAR:
        print(f"To train, publish and serve the linear model:\n  {_linear_command(arguments.line)}")
    elif comparison.preferred == TREES:
        source = None if arguments.source in DATASETS else arguments.source
        print("To keep the trees, in Python (the server does not serve them):\n")
        by_classes = is_balanced(model.checkpoint.training)
        print(trees_code(model.table, source, library=comparison.trees, is_balanced=by_classes))
        print()


def _linear_command(line: Sequence[str]) -> str:
    """Returns the typed command with `--linear` instead of the network's options."""
    settings = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_metric(settings)
    add_settings(settings)
    for option in ("--publish", "--budget"):
        settings.add_argument(option)
    for flag in ("--baselines", "--resume", "--no-publish"):
        settings.add_argument(flag, action="store_true")
    given, rest = settings.parse_known_args(line)
    kept = list(rest)
    if hasattr(given, "seed"):
        kept += ["--seed", str(given.seed)]
    if hasattr(given, "split"):
        kept += ["--split", "none" if given.split is None else "/".join(f"{share:.9g}" for share in given.split)]
    if getattr(given, "class_weight", "none") != "none":
        kept += ["--class-weight", given.class_weight]
    return f"{program()} {shlex.join([*kept, '--linear'])}"


def _fit_with_progress(
    errors: Console, source: str, stop: StopRequest, *, log: Path | None, **arguments: Any
) -> FittedModel:
    budget = arguments["budget"] if isinstance(arguments["budget"], TimeBudget) else None
    with ExitStack() as stack:
        listeners = [stack.enter_context(progress(errors, source, budget=budget))]
        if log is not None:
            run = arguments["name"] or model_name(source)
            listeners.append(stack.enter_context(tensorboard_log(log, run, on_failure=partial(_warn, errors))))

        chosen: list[ThreadChoice] = []

        def on_epoch(epoch: Epoch) -> None:
            stop.has_result()
            for listen in listeners:
                listen(epoch)
            # After the first epoch: a run that is refused before has no threads to report.
            if chosen and arguments["threads"] is None:
                errors.print(str(chosen.pop()), markup=False, highlight=False, soft_wrap=True)

        return fit(source, on_epoch=on_epoch, should_stop=stop, on_threads=chosen.append, **arguments)
