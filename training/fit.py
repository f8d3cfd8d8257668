"""From a table to a model: reads and splits the table, fits the preprocessing, trains, and evaluates the served model.

In a notebook:

    from training.fit import fit
    model = fit("flowers.csv", target="species")      # or fit("iris"), or a DataFrame in the file's place
    model.publish("checkpoints")                      # flowers@1
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.errors import AxonError, ConfigError
from models.network.config import Task
from training.budget import TimeBudget, check_planned, level_settings, parse_budget, shown_seconds
from training.budgeted import budget_note, planned_run
from training.config import TrainConfig
from training.data.column_choices import ColumnChoices
from training.data.split import Split
from training.data.training_table import TrainingTable
from training.distillation import (
    check_distillation,
    distilled_figures,
    failed_note,
    in_phase,
    student_config,
    student_differences,
    taught_matrices,
    undistilled_note,
)
from training.engines.engine import OnEpoch, ShouldStop
from training.engines.train import train
from training.fitted_model import FittedModel, fitted_model
from training.prepared_rows import PreparedRows, prepare
from training.resume import ResumeFile
from training.sources import dataset_settings, read_table
from training.threads import ThreadChoice, choose_threads, limited_threads

BeforeTraining = Callable[[PreparedRows], None]


def fit(
    source: str | Path | pa.Table | Any,
    *,
    target: str | Sequence[str] | None = None,
    name: str | None = None,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    missing_values: Any = (),
    encoding: str | None = None,
    skip_lines: int = 0,
    comment: str | None = None,
    test: str | Path | pa.Table | Any | None = None,
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    keep: ResumeFile | None = None,
    resume: bool = False,
    before_training: BeforeTraining = lambda rows: None,
    threads: int | None = None,
    on_threads: Callable[[ThreadChoice], None] = lambda choice: None,
    budget: str | float | TimeBudget | None = None,
    **settings: Any,
) -> FittedModel:
    """Trains a model on a table. Reads the source, and writes no file but the state file of `keep`.

    Args:
        source: name of a built-in dataset, path to a CSV or Parquet file, folder or pattern of Parquet files, Arrow
            table or pandas DataFrame.
        target: column to predict, or several columns of numbers, as a list or with commas between the names; a built-in
            dataset has one.
        name: name of the model; None for the name of the dataset or the file.
        task: `classification` or `regression`; None to infer the task from the target.
        choices: decisions of the user about the columns.
        delimiter: delimiter of a CSV file's cells; None to detect it.
        decimal: decimal mark of numbers in texts, `.` or `,`; None to detect it.
        thousands: thousands separator of numbers in texts, `.`, `,`, `'`, `space` or `none`; None to detect it.
        missing_values: values that mean missing, texts or numbers: in every column, in one (`"age=99"`), or as a
            mapping of columns to values.
        encoding: character encoding of a CSV file; None for UTF-8, or the encoding that the first bytes show.
        skip_lines: number of lines before a CSV file's header.
        comment: beginning of the lines of a CSV file to ignore.
        test: second table with the same columns, for the test part.
        device: device of the torch engine: `auto`, `cpu`, `cuda`, ….
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run with the best epoch so far.
        keep: state file of an unfinished run; a run with distillation keeps no state.
        resume: True to resume from the state file.
        before_training: callback with the encoded rows and the architecture before the first epoch; it may raise.
        threads: number of CPU threads; None for the fastest number on the free CPUs (`training.threads`).
        on_threads: callback with the torch engine's number of threads, before the first epoch.
        budget: wall-clock time from the call to the return, such as `60s`, `5min` or a number of seconds, for which the
            run chooses members, epochs and batch; or `quick`, `default` or `best`. None for the settings alone.
        settings: fields of `TrainConfig`, which take precedence over those of a built-in dataset.

    Raises:
        DataError: the table cannot be used for training, or there is nothing to resume.
        ConfigError: a setting is unknown or impossible.
        InvalidName: the name of the model is not valid.
        TrainingError: the run diverged.
    """
    level = budget if isinstance(budget, TimeBudget | None) else parse_budget(budget)
    time_budget = level if isinstance(level, TimeBudget | None) else None
    if isinstance(level, float):
        time_budget = TimeBudget(seconds=level, begun=time.monotonic())
    elif isinstance(level, str):
        settings = {**settings, **level_settings(level, settings, of_dataset=dataset_settings(source, settings))}
    check_distillation(bool(settings.get("distill")), resume=resume, has_budget=time_budget is not None)
    if time_budget is not None:
        check_planned(settings, time_budget)
    table, config = read_table(
        source,
        target=target,
        name=name,
        task=task,
        choices=choices,
        delimiter=delimiter,
        decimal=decimal,
        thousands=thousands,
        missing_values=missing_values,
        encoding=encoding,
        skip_lines=skip_lines,
        comment=comment,
        test=test,
        settings=settings,
    )
    return fit_table(
        table,
        config,
        device=device,
        on_epoch=on_epoch,
        should_stop=should_stop,
        keep=keep,
        resume=resume,
        before_training=before_training,
        threads=threads,
        on_threads=on_threads,
        budget=time_budget,
        chosen=frozenset(settings),
    )


def fit_table(
    table: TrainingTable,
    config: TrainConfig,
    *,
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    keep: ResumeFile | None = None,
    resume: bool = False,
    split: Split | None = None,
    before_training: BeforeTraining = lambda rows: None,
    threads: int | None = None,
    on_threads: Callable[[ThreadChoice], None] = lambda choice: None,
    budget: TimeBudget | None = None,
    chosen: frozenset[str] = frozenset(),
) -> FittedModel:
    """Trains a model on a table that was read and checked, with a resolved configuration.

    The other arguments are those of `fit`; `split` replaces the parts that the config would draw, and `chosen` are the
    names of the settings that a budget does not decide.

    Raises:
        DataError, ConfigError, TrainingError: see `fit`.
    """
    check_distillation(config.distill, resume=resume, has_budget=budget is not None)
    if config.distill:
        return _distilled_model(
            table,
            config,
            device=device,
            on_epoch=on_epoch,
            should_stop=should_stop,
            split=split,
            before_training=before_training,
            threads=threads,
            on_threads=on_threads,
        )
    if resume and config.engine != "torch":
        raise ConfigError(f"a run of the {config.engine} engine cannot be resumed: it is of the torch engine only.")
    if resume and keep is None:
        raise ConfigError("a run is resumed from where its state is kept: say where (keep).")
    if config.engine == "torch":
        # Imported here: torch takes longer to import than the other engines take to train.
        from training.engines.device import choose_device

        device = choose_device(device)
    rows = prepare(table, config, split=split)
    if budget is None:
        before_training(rows)
    if keep is not None:
        kind = device.partition(":")[0]  # a GPU has other random numbers than a CPU
        timed = {} if budget is None else {"budget": budget.seconds}
        keep.begin(_identity(table, config) | {"kind of device": kind, **timed})
    state = keep.read() if keep is not None and resume else None
    matrices = rows.matrices()
    run = None
    if budget is not None:
        run = planned_run(config, rows, matrices, budget, chosen=chosen, device=device, threads=threads, keep=keep)
        before_training(run.rows)
        asked_config, config, rows = config, run.config, run.rows
    choice = thread_choice(rows, config, device=device, asked=threads, keep=keep)
    if config.engine == "torch":
        on_threads(choice)
    with limited_threads(choice.number):
        trained = train(
            config,
            rows.architecture,
            matrices,
            device=device,
            on_epoch=on_epoch,
            should_stop=should_stop,
            on_state=(lambda state: None) if keep is None else keep.offer,
            resume=state,
            pacing=None if run is None else run.pace,
        )
        if keep is not None and trained.stopped == "asked":
            keep.end(finished=False)
        if run is None or budget is None:
            model = fitted_model(table, config, rows, trained)
        else:
            config = run.final()
            facts = {"budget": shown_seconds(budget.seconds)}
            model = fitted_model(table, config, rows, trained, extra_fields=facts)
            epochs, count = asked_config.epochs, len(rows.split.train)
            note = budget_note(config, budget, trained, recipe_epochs=epochs, rows=count)
            model = replace(model, notes=(*model.notes, note))
        model = replace(model, threads=choice)
    if keep is not None and trained.stopped != "asked":
        keep.end(finished=True)  # only now: if evaluation is interrupted, the run can still be resumed
    return model


def _identity(table: TrainingTable, config: TrainConfig) -> dict[str, Any]:
    """Returns all that the weights of a run depend on beside the device, as JSON types.

    The fingerprint covers the choices about columns, rows and parts. `unknown` leaves the values as they are, and
    decides on category dropout. `examples` and `background` are of the checkpoint alone.
    """
    return {
        "settings": config.to_dict(),
        "data": table.fingerprint(),
        "targets": list(table.target_names),
        "treatment of unknown categories": table.choices.unknown,
    }


def thread_choice(
    rows: PreparedRows, config: TrainConfig, *, device: str, asked: int | None, keep: ResumeFile | None = None
) -> ThreadChoice:
    """Chooses the CPU threads of a run; a resumed run keeps its number, for the same bytes.

    Args:
        rows: encoded rows and architecture.
        config: settings of the run.
        device: device of the run.
        asked: number of threads that the user asks for; None to apply the rule.
        keep: state file of an unfinished run, already read for a resumed run.
    """
    if asked is None and keep is not None and keep.threads is not None:
        choice = ThreadChoice(number=keep.threads, reason=", as the run began")
    else:
        choice = choose_threads(
            rows.architecture,
            batch_rows=config.batch_size_for(len(rows.split.train)),
            asked=asked,
            can_share=config.engine == "torch" and not device.startswith("cuda"),
        )
    if keep is not None:
        keep.threads = choice.number
    return choice


def _distilled_model(
    table: TrainingTable,
    config: TrainConfig,
    *,
    device: str,
    on_epoch: OnEpoch,
    should_stop: ShouldStop,
    split: Split | None,
    before_training: BeforeTraining,
    threads: int | None,
    on_threads: Callable[[ThreadChoice], None],
) -> FittedModel:
    """Trains an ensemble and then one network on its answers; returns the ensemble if there is no such network.

    The run may be asked to end before the end, and the network may diverge or have no memory. The arguments are those
    of `fit_table`. A student needs the ensemble, so no state is kept from which to resume.
    """
    # Imported here: torch takes long to import, and only its engine trains ensembles.
    import torch

    from training.engines.device import choose_device

    device, epochs = choose_device(device), config.epochs
    teacher = fit_table(
        table,
        replace(config, distill=False),
        device=device,
        on_epoch=in_phase(on_epoch, f"ensemble of {config.members}", done=0, later=epochs),
        should_stop=should_stop,
        split=split,
        before_training=before_training,
        threads=threads,
        on_threads=on_threads,
    )
    undistilled = replace(teacher, notes=(*teacher.notes, undistilled_note(teacher.trained.architecture.members)))
    if teacher.trained.stopped == "asked" or should_stop():
        return undistilled
    try:
        student = _student(
            teacher,
            table,
            config,
            device=device,
            on_epoch=in_phase(on_epoch, "distillation", done=teacher.trained.epochs_run, later=0),
            should_stop=should_stop,
            threads=threads,
        )
    except (AxonError, MemoryError, torch.OutOfMemoryError) as error:  # the ensemble took hours, and is a model
        return replace(teacher, notes=(*teacher.notes, failed_note(teacher.trained.architecture.members, error)))
    return undistilled if student is None else student


def _student(
    teacher: FittedModel,
    table: TrainingTable,
    config: TrainConfig,
    *,
    device: str,
    on_epoch: OnEpoch,
    should_stop: ShouldStop,
    threads: int | None,
) -> FittedModel | None:
    """Trains one network on the answers of an ensemble; returns None if the run is to end before the end.

    Args:
        teacher: the ensemble.
        table: data of both.
        config: settings of the run.
        device: name of the torch device.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run.
        threads: number of CPU threads; None to apply the rule.

    Raises:
        DataError, TrainingError: see `fit`.
    """
    own = student_config(config, len(teacher.split.train))
    rows = prepare(table, own, split=teacher.split)
    choice = thread_choice(rows, own, device=device, asked=threads)
    with limited_threads(choice.number):
        data = taught_matrices(teacher, rows, seed=config.seed)
        if should_stop():
            return None
        trained = train(own, rows.architecture, data, device=device, on_epoch=on_epoch, should_stop=should_stop)
        if trained.stopped == "asked":
            return None
        # The note on members that diverged.
        student = fitted_model(table, own, rows, replace(trained, verdict=teacher.trained.verdict))
        found = distilled_figures(teacher, student, rows, config, learned=len(data.x))
    # The settings are those of the run, with which it can be repeated; the history is that of the student.
    differences = student_differences(config, own)
    settings = {name: value for name, value in config.to_dict().items() if name != "batch_size"}
    records = {name: value for name, value in student.checkpoint.training.items() if name != "rows_per_epoch"}
    training = {**records, **settings, "distilled": found.to_json(), "student_settings": differences}
    checkpoint = replace(student.checkpoint, training=training)
    return replace(student, checkpoint=checkpoint, notes=(*student.notes, found.sentence()), threads=choice)
