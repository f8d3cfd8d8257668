"""A search by population: trains networks side by side as one batched matrix product; the winner becomes a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.columns.schema import NumericTarget
from models.errors import ConfigError
from models.network.config import MLPConfig
from models.store_entry import check_model_name
from training.config import TrainConfig, resolve_for_table
from training.data.training_table import TrainingTable
from training.engines.device import choose_device
from training.engines.engine import Epoch, Matrices, OnEpoch, ShouldStop, Trained
from training.engines.member_rates import MemberRates
from training.engines.trainer import Trainer
from training.errors import TrainingError
from training.fit import thread_choice
from training.fitted_model import fitted_model
from training.metrics import HIGHER_IS_BETTER, MetricFigure
from training.prepared_rows import PreparedRows, prepare
from training.recipes import Selection
from training.search.population.members import Population, initial_population, next_generation, rank_members
from training.search.population.result import Ended, Exploit, PopulationResult, PopulationRun
from training.search.ranking import ranking_figure, settings_for
from training.threads import limited_threads

_SELECTIONS = 10  # default number of selections in a run
# Figures that an epoch has only with their own rule of the best epoch.
_OF_SELECTION: Mapping[MetricFigure, Selection] = {"roc_auc": "auc", "balanced_accuracy": "balanced-error"}
_STREAM = 1  # added to the seed, so that members do not share random numbers with the split of the rows


def search_population(
    table: TrainingTable,
    config: TrainConfig | None = None,
    *,
    members: int = 16,
    initial: Population | None = None,
    every: int | None = None,
    metric: str | None = None,
    timeout: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> PopulationResult:
    """Trains a population on a table; the winner is one network. Writes no file.

    The test part is used only to evaluate the winner after the search. On a CPU the same arguments give the same bytes.

    Args:
        table: table to train on, read and checked.
        config: recipe; the initial population varies its learning rate and dropout.
        members: number of members.
        initial: initial population; drawn at random if None.
        every: number of epochs from one selection to the next; a tenth of the run if None.
        metric: metric of `config`; None for the same, else log loss or RMSE.
        timeout: time limit in seconds, after which the best network so far is kept.
        device: name of the torch device to train on.
        threads: number of CPU threads; as `fit` chooses if None.
        on_epoch: callback for each epoch, with the best member's metric and the best metric so far.
        should_stop: callback after each epoch; True ends the run with the best network so far.
        clock: monotonic clock in seconds.

    Raises:
        ConfigError: an argument is not valid.
        DataError: the table cannot be learned from.
        TrainingError: every member diverged before there was a network to keep.
    """
    begin = clock()
    check_model_name(table.name)
    config = config or resolve_for_table(settings_for({}, metric), table)
    every = max(config.epochs // _SELECTIONS, 1) if every is None else every
    _check(config, every=every, timeout=timeout)
    chosen = ranking_figure(table, config, metric)
    if chosen == "r2":
        raise ConfigError("a population is not ranked by r2: rmse ranks its members alike.")
    if chosen == "f1_macro":
        raise ConfigError("a population is not ranked by f1, whose decision is chosen after training: log-loss is.")
    _check_selection(config, chosen)
    generator = np.random.default_rng([config.seed, _STREAM])
    initial = initial or initial_population(members, dropout=config.dropout, generator=generator)
    rows = prepare(table, config)
    side_by_side = replace(rows, architecture=replace(rows.architecture, members=len(initial)))
    choice = thread_choice(side_by_side, config, device=choose_device(device), asked=threads)
    with limited_threads(choice.number):
        run = train_population(
            config,
            rows.architecture,
            rows.matrices(),
            initial=initial,
            every=every,
            metric=chosen,
            spread=rows.schema.target.std if isinstance(rows.schema.target, NumericTarget) else 1.0,
            generator=generator,
            device=device,
            on_epoch=on_epoch,
            should_stop=should_stop,
            is_time_up=lambda: timeout is not None and clock() - begin >= timeout,
        )
    extra_fields = {
        "members": run.members,
        "every": every,
        "metric": chosen,
        "stages": [
            {"epoch": stage.epoch, "learning_rate": stage.learning_rate, "dropout": stage.dropout}
            for stage in run.stages()
        ],
    }
    # Report and calibration follow the rule that has chosen the epoch, which is not that of the recipe.
    chosen_by: Selection = "error" if chosen == "accuracy" else _OF_SELECTION.get(chosen, "loss")
    ruled = replace(config, select_by=chosen_by)
    model = fitted_model(table, ruled, rows, _trained(run, rows), extra_fields={"population": extra_fields})
    model = replace(model, threads=choice)
    return PopulationResult(metric=chosen, every=every, run=run, model=model, seconds=clock() - begin)


def train_population(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    initial: Population,
    every: int,
    metric: MetricFigure,
    spread: float = 1.0,
    generator: np.random.Generator,
    device: str = "cpu",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    is_time_up: Callable[[], bool] = lambda: False,
) -> PopulationRun:
    """Trains a population.

    Args:
        config: settings of the training; the schedule covers the whole run and ignores replacements.
        architecture: architecture of one member.
        data: encoded rows and targets.
        initial: initial hyperparameters.
        every: number of epochs from one selection to the next; no selection follows the last epoch.
        metric: metric that ranks the members.
        spread: standard deviation of a regression's target, which converts RMSE to the target's unit.
        generator: source of random numbers for the selections.
        device: name of the torch device, or `auto`.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run.
        is_time_up: callback after each epoch; True ends the run.

    Raises:
        TrainingError: every member diverged before there was a network to keep.
    """
    count, has_classes = len(initial), architecture.task == "classification"
    # The network needs dropout layers if any member uses dropout.
    several = replace(architecture, members=count, dropout=float(initial.dropouts.max()))
    rates = MemberRates(learning_rates=initial.rates, dropouts=initial.dropouts)
    trainer = Trainer(config, several, data, device=torch.device(choose_device(device)), rates=rates)
    log, best, population = _Log(), _Best(), initial
    ended: Ended = "epochs"
    for epoch in range(1, config.epochs + 1):
        train_loss = trainer.epoch()
        evaluation = trainer.evaluate()
        train, losses, errors = torch.stack([train_loss, evaluation.loss, evaluation.error]).double().cpu().numpy()
        figures = errors if metric == "accuracy" else losses  # (members,) less is better
        if metric in _OF_SELECTION and evaluation.figure is not None:
            figures = evaluation.figure.double().cpu().numpy()
        values = _values(metric, figures, spread)
        measures = {
            "train_loss": train,
            "validation_loss": losses,
            **({"validation_error": errors} if has_classes else {}),
        }
        log.add(values, measures, config.learning_rate * population.rates, population.dropouts)
        leader = int(rank_members(figures, losses)[0])
        is_best = best.update(epoch, leader, (float(figures[leader]), float(losses[leader])))
        if is_best:
            best.tensors = trainer.network.tensors(leader)
        if best.epoch == 0:
            raise TrainingError(
                "the loss of every member is no longer a finite number in epoch 1: nothing was kept; "
                "try a smaller learning rate (--learning-rate)."
            )
        shown = {metric: float(values[leader]), "best": float(log.values[best.epoch - 1][best.member])}
        on_epoch(Epoch(number=epoch, of=config.epochs, measures=shown, is_best=is_best))
        if not np.isfinite(losses).any():
            ended = "diverged"
        elif config.patience is not None and epoch - best.epoch >= config.patience:
            ended = "patience"
        elif should_stop():
            ended = "asked"
        elif is_time_up():
            ended = "time"
        elif epoch % every == 0 and epoch < config.epochs:
            next_one = next_generation(population, figures=figures, losses=losses, generator=generator)
            population = next_one.population
            trainer.evolve(next_one.parents, learning_rates=population.rates, dropouts=population.dropouts)
            log.add_exploits(epoch, next_one.parents, config.learning_rate * population.rates, population.dropouts)
            continue
        if ended != "epochs":
            break
    return log.run(best, ranking=rank_members(figures, losses), ended=ended)


@dataclass
class _Best:
    """The best network so far."""

    epoch: int = 0
    member: int = 0
    key: tuple[float, float] = (np.inf, np.inf)
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def update(self, epoch: int, member: int, key: tuple[float, float]) -> bool:
        """Records the leader of an epoch if `key`, its (figure, loss), is the best so far; returns True if recorded."""
        if not (np.isfinite(key).all() and key < self.key):
            return False
        self.epoch, self.member, self.key = epoch, member, key
        return True


@dataclass
class _Log:
    """The log of a run in progress; each list holds one (members,) array for each epoch."""

    values: list[NDArray[np.float64]] = field(default_factory=list)
    measures: list[dict[str, NDArray[np.float64]]] = field(default_factory=list)
    rates: list[NDArray[np.float64]] = field(default_factory=list)
    dropouts: list[NDArray[np.float64]] = field(default_factory=list)
    exploits: list[Exploit] = field(default_factory=list)

    def add(
        self,
        values: NDArray[np.float64],
        measures: dict[str, NDArray[np.float64]],
        rates: NDArray[np.float64],
        dropouts: NDArray[np.float64],
    ) -> None:
        """Adds the arrays of an epoch."""
        self.values.append(values)
        self.measures.append(measures)
        self.rates.append(rates)
        self.dropouts.append(dropouts)

    def add_exploits(
        self, epoch: int, parents: NDArray[np.int64], rates: NDArray[np.float64], dropouts: NDArray[np.float64]
    ) -> None:
        """Adds the replacements of a selection after an epoch."""
        self.exploits += [
            Exploit(
                epoch=epoch,
                member=member,
                parent=int(parent),
                learning_rate=float(rates[member]),
                dropout=float(dropouts[member]),
            )
            for member, parent in enumerate(parents)
            if parent != member
        ]

    def run(self, best: _Best, *, ranking: NDArray[np.int64], ended: Ended) -> PopulationRun:
        """Converts the log to the record of a run that has ended."""
        return PopulationRun(
            values=np.stack(self.values),
            measures={name: np.stack([epoch[name] for epoch in self.measures]) for name in self.measures[0]},
            learning_rates=np.stack(self.rates),
            dropouts=np.stack(self.dropouts),
            ranking=tuple(int(member) for member in ranking),
            exploits=tuple(self.exploits),
            best_epoch=best.epoch,
            best_member=best.member,
            tensors=best.tensors,
            ended=ended,
        )


def _check(config: TrainConfig, *, every: int, timeout: float | None) -> None:
    if config.engine != "torch":
        raise ConfigError(f"a population is trained by the torch engine, not by {config.engine}.")
    if config.members != 1:
        raise ConfigError(f"a population ends in one network: it cannot have {config.members} members a model.")
    if config.epoch_plan:
        raise ConfigError("a population has the same epochs from the begin on: leave out epoch_plan (--epoch-plan).")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ConfigError(f"every must be a whole number of at least 1, got {every!r}.")
    if every >= config.epochs:
        raise ConfigError(f"a selection every {every} epochs never comes in a run of {config.epochs}.")
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be more than 0 seconds, got {timeout!r}.")


def _check_selection(config: TrainConfig, chosen: MetricFigure) -> None:
    """Refuses a rule of the best epoch that the ranking replaces; `loss` and `error` may be the recipe's own."""
    rule = _OF_SELECTION.get(chosen)
    if config.select_by not in (("loss", "error") if rule is None else (rule,)):
        raise ConfigError(
            f"a population is ranked by {chosen}, and so is its best epoch: leave out select_by={config.select_by}."
        )


def _values(metric: MetricFigure, figures: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Converts (members,) figures, of which less is better, to values of the metric."""
    if metric in HIGHER_IS_BETTER:
        return 1 - figures
    if metric in ("mae", "pinball_loss", "poisson_deviance"):  # the losses themselves
        return figures * spread
    return np.sqrt(figures) * spread if metric == "rmse" else figures


def _trained(run: PopulationRun, rows: PreparedRows) -> Trained:
    """Returns the winner in the form that an engine returns."""
    verdict = None
    if run.ended == "diverged":
        verdict = f"In epoch {run.epochs} no member had a finite loss any more: epoch {run.best_epoch} is kept."
    return Trained(
        architecture=replace(rows.architecture, dropout=run.stages()[-1].dropout),
        tensors=run.tensors,
        epochs_run=run.epochs,
        best_epoch=run.best_epoch,
        stopped=run.ended,
        history=run.history(),
        verdict=verdict,
    )
