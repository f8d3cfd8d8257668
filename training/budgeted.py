"""A run within a budget: the time that is left for training, the plan of the run, and the sentences for the user."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from models.errors import ConfigError
from models.network.config import MLPConfig
from training.budget import TimeBudget, shown_seconds
from training.calibration import SHIFTED_CELLS
from training.config import TrainConfig
from training.engines.engine import Matrices, Trained
from training.pace import Pace
from training.prepared_rows import PreparedRows
from training.resume import ResumeFile
from training.run_plan import Costs, Limits, RunPlan, choose_plan
from training.run_trial import measure_costs
from training.threads import choose_threads, limited_threads

_MARGIN = 0.03  # share of the budget that stays free
_REPORT_SECONDS = 0.6  # report and card on an idle machine, without evaluation and importances
_PUBLISH_SECONDS = 0.4  # publishing, and the end of the process
_IMPORTANCE_SHARE, _IMPORTANCE_SECONDS = 0.08, 4.0  # of the budget at most, for the importances of the columns
_EVALUATED = 2.0  # time of the served network on a row, as a multiple of the trainer's
_REPORTED_ROWS = 50_000  # rows that the report evaluates once more
_CALIBRATION = 3e-6  # seconds for each probability of the validation part: some hundred passes
_OF_TEMPERATURE = 0.3  # share of the temperature, which all rows fit; at most `SHIFTED_CELLS` fit the shifts
_LARGER_BATCHES = (512, 1024)
_LEAST_EPOCHS = 0.25  # share of the recipe's epochs below which a note says that time was short


@dataclass(frozen=True, kw_only=True)
class BudgetedRun:
    """A planned run within a budget.

    Attributes:
        config: settings of the run, with those of the plan.
        plan: members, epochs and batch that the budget decided.
        rows: encoded rows, with the architecture for the members.
        pace: pace of the run.
    """

    config: TrainConfig
    plan: RunPlan
    rows: PreparedRows
    pace: Pace

    def final(self) -> TrainConfig:
        """Returns the settings of the run with the epochs of its plan; the same settings repeat the run."""
        if not self.pace.plan:
            return self.config
        plan = self.pace.plan if len(self.pace.plan) > 1 else ()
        return replace(self.config, epochs=self.pace.plan[-1][1], epoch_plan=plan)


def planned_run(
    config: TrainConfig,
    rows: PreparedRows,
    matrices: Matrices,
    budget: TimeBudget,
    *,
    chosen: frozenset[str],
    device: str,
    threads: int | None,
    keep: ResumeFile | None,
) -> BudgetedRun:
    """Plans a run within a budget, with the CPU threads of the run; a resumed run keeps its plan.

    Args:
        config: settings of the run, before the plan.
        rows: encoded rows.
        matrices: matrices of the rows.
        budget: budget of the run.
        chosen: names of the settings that the user chose.
        device: name of the torch device.
        threads: number of CPU threads that the user asks for; None to apply the rule.
        keep: state file of the run, already read for a resumed run; gets the plan.

    Raises:
        ConfigError: the budget is over before training can begin.
    """
    earlier = None if keep is None or keep.plan is None else RunPlan(**keep.plan)
    trial_threads = choose_threads(
        rows.architecture,
        batch_rows=config.batch_size_for(len(rows.split.train)),
        asked=threads,
        can_share=not device.startswith("cuda"),
    )
    with limited_threads(trial_threads.number):
        run = plan_run(config, rows, matrices, budget, chosen=chosen, device=device, earlier=earlier)
    if keep is not None:
        keep.plan = run.plan.to_dict()
    return run


def plan_run(
    config: TrainConfig,
    rows: PreparedRows,
    data: Matrices,
    budget: TimeBudget,
    *,
    chosen: frozenset[str],
    device: str,
    earlier: RunPlan | None = None,
) -> BudgetedRun:
    """Measures the speed of the machine and plans a run.

    Args:
        config: settings of the run, before the plan.
        rows: encoded rows.
        data: matrices of the rows.
        budget: budget of the run.
        chosen: names of the settings that the user chose; the plan keeps them, and takes `epochs` as the most.
        device: name of the torch device.
        earlier: plan of an earlier run to resume; None to make one.

    Raises:
        ConfigError: the budget is over before training can begin.
    """
    validated = len(data.validation_y) // (config.members if config.folds else 1)
    limits = _limits(config, len(data.y), validated, chosen)
    _import_what_comes_later(config)
    plan = earlier
    seconds = budget.left
    if plan is None:
        costs = measure_costs(
            config,
            rows.architecture,
            data,
            device=device,
            batch_sizes=limits.batch_sizes,
            members=limits.members,
            seconds=budget.seconds,
        )
        seconds, plan = _planned(costs, limits, rows, budget)
    planned = replace(config, **plan.to_dict())
    passes = 1.0 if plan.rows_per_epoch is None else limits.rows / plan.rows_per_epoch
    most = max(math.floor(limits.epochs * passes), plan.epochs)
    architecture: MLPConfig = replace(rows.architecture, members=plan.members)
    return BudgetedRun(
        config=planned,
        plan=plan,
        rows=replace(rows, architecture=architecture),
        pace=Pace(seconds=seconds, most_epochs=most, clock=budget.clock),
    )


def _limits(config: TrainConfig, rows: int, validation_rows: int, chosen: frozenset[str]) -> Limits:
    size = config.batch_size_for(rows)
    larger = () if "batch_size" in chosen else tuple(more for more in _LARGER_BATCHES if size < more <= rows // 8)
    return Limits(
        epochs=config.epochs,
        members=config.members if "members" in chosen or config.folds else None,
        batch_sizes=(size, *larger),
        rows=rows,
        validation_rows=validation_rows,
        drop_last=config.drop_last,
    )


def _import_what_comes_later(config: TrainConfig) -> None:
    """Imports modules of later steps before the plan, so that the plan need not guess the time of the imports."""
    if config.calibrate:
        import scipy.optimize  # noqa: F401


def _planned(costs: Costs, limits: Limits, rows: PreparedRows, budget: TimeBudget) -> tuple[float, RunPlan]:
    """Returns the seconds of training and the plan.

    The time after the training depends on the number of members, and their number on the time: the plan for one member
    is made first, and made again with the time that its members leave, until there are no more of them.
    """
    members = limits.members or 1
    while True:
        after = _seconds_after(costs, rows, members, budget)
        seconds = budget.left - _MARGIN * budget.seconds - after
        plan = choose_plan(costs, limits, seconds)
        if plan is None:
            needed = budget.seconds - seconds + 50 * costs.step(members, limits.batch_sizes[0])
            needed += members * limits.validation_rows * costs.row
            raise ConfigError(
                f"a budget of {shown_seconds(budget.seconds)} is too short to train anything: reading and preparing "
                f"took {budget.spent:.1f} s, and what comes after the training takes about {after:.1f} s: give it at "
                f"least {math.ceil(1.2 * needed)} s (--budget {math.ceil(1.2 * needed)}s)."
            )
        if plan.members <= members:
            return seconds, plan
        members = plan.members


def _seconds_after(costs: Costs, rows: PreparedRows, members: int, budget: TimeBudget) -> float:
    """Estimates the time of everything after the training: calibration, evaluation, report and publishing."""
    sizes = rows.split.sizes()
    evaluated: float = sum(sizes.values()) + (min(sizes["test"], _REPORTED_ROWS) if budget.has_report else 0)
    cells = members * sizes["validation"] * rows.architecture.out_features
    if rows.split.folds is not None:  # one member answers each row
        evaluated -= sizes["validation"] * (1 - 1 / members)
        cells = sizes["validation"] * rows.architecture.out_features
    evaluated += sizes["validation"]
    seconds = _PUBLISH_SECONDS * costs.contention + _EVALUATED * evaluated * members * costs.row
    seconds += _CALIBRATION * (_OF_TEMPERATURE * cells + (1 - _OF_TEMPERATURE) * min(cells, SHIFTED_CELLS))
    if budget.has_report:
        seconds += _REPORT_SECONDS * costs.contention + min(_IMPORTANCE_SHARE * budget.seconds, _IMPORTANCE_SECONDS)
    return seconds


def budget_note(config: TrainConfig, budget: TimeBudget, trained: Trained, *, recipe_epochs: int, rows: int) -> str:
    """Returns the sentences on a run within a budget.

    Args:
        config: settings with which the run took place.
        budget: budget of the run.
        trained: result of the engine.
        recipe_epochs: number of epochs that the run would have had without a budget.
        rows: number of rows of the training part.
    """
    passes = trained.epochs_run * (min(config.rows_per_epoch or rows, rows) / rows)
    members = "1 network" if config.members == 1 else f"{config.members} networks"
    note = (
        f"Within the budget of {shown_seconds(budget.seconds)}: {members}, {passes:.3g} of {recipe_epochs} passes over "
        f"the training part, batches of {config.batch_size}."
    )
    if trained.stopped == "asked":  # no settings end another run at the same epoch with the same schedules
        return note
    note += (
        " What a budget gives depends on the speed of the machine; the same run without a clock: "
        f"{repeating_options(config)}."
    )
    if passes < _LEAST_EPOCHS * recipe_epochs and trained.stopped == "epochs":
        note += " The time was short for this table: a longer budget gives a better model."
    return note


def repeating_options(config: TrainConfig) -> str:
    """Returns the options of `fit` that repeat a run within a budget without a clock."""
    options = [f"--members {config.members}", f"--epochs {config.epochs}", f"--batch-size {config.batch_size}"]
    if config.rows_per_epoch is not None:
        options.append(f"--rows-per-epoch {config.rows_per_epoch}")
    if config.epoch_plan:
        options.append(f"--epoch-plan {','.join(f'{done}:{planned}' for done, planned in config.epoch_plan)}")
    return " ".join(options)
