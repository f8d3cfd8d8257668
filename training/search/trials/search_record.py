"""The record of a search: an Optuna study. Besides the strategies, the only module that uses Optuna.

Trials are trained elsewhere, possibly in other processes: `ask` gives a point, `end` records the outcome. So only one
process writes, a kill leaves a sound record, and a sampler sees all trials in the order in which they ended.
"""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from models.errors import ConfigError
from training.errors import SearchError
from training.metrics import HIGHER_IS_BETTER, MetricFigure
from training.search.ranking import described_aim, pruning_measure
from training.search.space import Choices, FloatRange, Parameter, SearchSpace, exact_label
from training.search.trials.strategies import Pruner, Sampler, make_pruner, make_sampler
from training.search.trials.trial import Trial

ENDED, IS_DEFAULT = "axon_trial", "axon_is_default"
_IDENTITY = "axon_identity"
_MAX_GRID = 100_000  # points; choosing a point goes through all of them
_MIN_FOR_IMPORTANCE = 8  # finished trials; with fewer, the importances of a forest are noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A point of the search space, to be trained next.

    Attributes:
        number: number of the trial.
        settings: values of the fields of `TrainConfig` that vary.
        is_default: True if the settings are the defaults.
    """

    number: int
    settings: Mapping[str, Any]
    is_default: bool


class SearchRecord:
    """The open record of a search; the caller has to `close` the record.

    Raises:
        ConfigError: the sampler or pruner is unknown, or the record belongs to another table, space or set of settings.
        SearchError: the file is not a search record.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        metric: MetricFigure,
        first_point: Mapping[str, Any],
        sampler: Sampler = "tpe",
        pruner: Pruner = "median",
        epochs: int = 200,
        grid_points: int = 5,
        seed: int = 0,
        file: Path | None = None,
        identity: Mapping[str, str] | None = None,
        storage: optuna.storages.BaseStorage | None = None,
        study: str = "search",
        place: str | None = None,
    ) -> None:
        """Opens a record or creates a new one.

        Args:
            space: search space.
            metric: metric that ranks the trials.
            first_point: point of the space that is trained first.
            sampler: name of the method that chooses the next point.
            pruner: name of the method that ends trials early.
            epochs: maximum number of epochs of a trial.
            grid_points: number of points of each range in a grid.
            seed: seed of the sampler.
            file: path of the SQLite file; None for a record in memory or in `storage`.
            identity: fingerprints, by name, of the search's data and settings; a resumed record must have the same.
            storage: open storage that other processes may use at the same time; None to open `file`.
            study: name of the study in the storage.
            place: place of the record, for error messages; the file if None.
        """
        for name, value, there_are in (("sampler", sampler, Sampler), ("pruner", pruner, Pruner)):
            if value not in get_args(there_are):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(there_are))}; got {value!r}.")
        self._space, self._metric, self._sampler, self._seed = space, metric, sampler, seed
        self._grid = _grid(space, grid_points) if sampler == "grid" else []
        # Shuffled so that the points tried so far are spread over the whole grid.
        np.random.default_rng(seed).shuffle(self._grid)
        self._distributions = {name: _distribution(parameter) for name, parameter in space.parameters.items()}
        self._measure = pruning_measure(metric, space.parameters)
        self._open: dict[int, optuna.Trial] = {}
        self._lowest: dict[int, float] = {}
        # Each report writes to the disk. About 32 a trial are enough for a pruner, for any number of epochs.
        self._report_every = max(epochs // 32, 1)
        self._storage = storage
        place = place or str(file)
        with optuna_silenced(), _storage_errors(place):
            if self._storage is None:
                self._storage = optuna.storages.InMemoryStorage() if file is None else _in_file(file)
            self._study = optuna.create_study(
                study_name=study,
                storage=self._storage,
                direction="maximize" if self.is_higher_better else "minimize",
                pruner=make_pruner(pruner, epochs, self._report_every),
                load_if_exists=True,
            )
        try:
            self._check_identity(place, dict(identity or {}))
            self._queue_open_points(first_point)
        except BaseException:
            self.close()
            raise

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self._space

    @property
    def is_higher_better(self) -> bool:
        """True if a higher value of the metric is better."""
        return self._metric in HIGHER_IS_BETTER

    def close(self) -> None:
        """Closes the file."""
        if isinstance(self._storage, optuna.storages.RDBStorage):
            self._storage.remove_session()
            self._storage.engine.dispose()

    def ask(self) -> Point | None:
        """Opens a trial and returns the point to train; None if the grid has no more points."""
        with optuna_silenced():
            counted = [trial for trial in self._study.get_trials(deepcopy=False) if not is_interrupted(trial)]
            if self._sampler == "grid" and not any(trial.state == TrialState.WAITING for trial in counted):
                tried = [trial.params for trial in counted]
                left = (point for point in map(self._to_optuna, self._grid) if point not in tried)
                if (point := next(left, None)) is None:
                    return None
                self._study.enqueue_trial(point)
            # Seeded by the number of earlier trials, so that a resumed search continues as if not interrupted.
            self._study.sampler = make_sampler(self._sampler, self._seed, len(counted))
            trial = self._study.ask(fixed_distributions=self._distributions)
        self._open[trial.number] = trial
        is_default = bool(trial.user_attrs.get(IS_DEFAULT, False))
        return Point(number=trial.number, settings=self._from_optuna(trial.params), is_default=is_default)

    def report(self, number: int, epoch: int, measures: Mapping[str, float]) -> bool:
        """Records an epoch of an open trial; returns True if the trial should end because others were better by then.

        The pruner compares the best validation loss up to the epoch, since a trial keeps its best epoch. If accuracy,
        balanced accuracy or ROC AUC ranks the trials, the pruner compares the error of that figure instead, if the
        engine measures it: the loss can already rise while the accuracy still improves.
        """
        loss = measures["validation_loss"]
        figure = measures.get(self._measure, loss)
        best = self._lowest[number] = min(self._lowest.get(number, figure), figure)
        trial = self._open[number]
        if epoch % self._report_every or trial.user_attrs.get(IS_DEFAULT, False):
            return False  # the defaults are never pruned: they are the reference for all others
        with optuna_silenced():
            trial.report(-best if self.is_higher_better else best, epoch)
            return trial.should_prune()

    def end(self, ended: Trial) -> None:
        """Records the outcome of an open trial and closes the trial."""
        trial = self._open.pop(ended.number)
        self._lowest.pop(ended.number, None)
        with optuna_silenced():
            self._write_outcome(trial, ended)

    def trials(self) -> list[Trial]:
        """Returns the trials that have ended, by number."""
        ended = (trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished())
        return [self._trial(trial) for trial in ended]

    def importances(self) -> dict[str, float] | None:
        """Returns the fraction of the metric's variance that each parameter explains, by name, the largest first.

        Functional ANOVA over a random forest of the finished trials (Hutter, Hoos & Leyton-Brown 2014). None if the
        finished trials are too few or all have the same value.
        """
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < _MIN_FOR_IMPORTANCE or len({trial.value for trial in finished}) < 2:
            return None
        with optuna_silenced():
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._seed % 2**32)
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in sorted(found.items(), key=lambda item: -item[1])}

    def note(self, name: str, value: Any) -> None:
        """Stores a JSON value beside the trials."""
        self._study.set_user_attr(f"axon_{name}", value)

    def noted(self, name: str) -> Any:
        """Returns a value that `note` stored; None if missing."""
        return self._study.user_attrs.get(f"axon_{name}")

    def _write_outcome(self, trial: optuna.Trial, ended: Trial) -> None:
        record = {name: value for name, value in asdict(ended).items() if name not in ("number", "settings")}
        trial.set_user_attr(ENDED, record)
        self._tell(trial.number, record)

    def _tell(self, number: int, record: Mapping[str, Any]) -> None:
        """Sets the state of an open trial to that of a recorded outcome; to interrupted if none was recorded."""
        match record.get("state"):
            case "finished" if not record.get("is_cut"):  # a training that was cut off has no figure for a sampler
                self._study.tell(number, record["value"])
            case "pruned":
                self._study.tell(number, state=TrialState.PRUNED)
            case _:
                self._study.tell(number, state=TrialState.FAIL)

    def _check_identity(self, place: str, identity: dict[str, str]) -> None:
        known = self._study.user_attrs.get(_IDENTITY)
        if known is None:
            self._study.set_user_attr(_IDENTITY, identity)
            return
        for name, value in identity.items():
            if known.get(name) != value:
                if name == "metric":
                    raise ConfigError(
                        f"the study in {place} was begun with another metric: it has {described_aim(known.get(name))}, "
                        f"and this search has {described_aim(value)}, so they cannot be compared: give the same "
                        "--metric, name another study (--study NAME), or delete that one's folder."
                    )
                raise ConfigError(
                    f"the study in {place} was begun with another {name}, so its trials cannot be compared with new "
                    "ones: give the same, name another study (--study NAME), or delete that one's folder."
                )

    def _queue_open_points(self, first_point: Mapping[str, Any]) -> None:
        """Queues the first point of a new record, or the points of an old record whose training was interrupted."""
        trials = self._study.get_trials(deepcopy=False)
        if not trials:
            self._study.enqueue_trial(self._to_optuna(first_point), user_attrs={IS_DEFAULT: True})
        for trial in trials:
            if trial.state == TrialState.RUNNING:  # in a process that has ended, perhaps after it recorded the outcome
                self._tell(trial.number, trial.user_attrs.get(ENDED, {}))
        trials = self._study.get_trials(deepcopy=False)
        taken = [point_of(trial) for trial in trials if not is_interrupted(trial)]
        for trial in trials:
            if is_interrupted(trial) and (point := point_of(trial)) and point not in taken:
                attributes = {IS_DEFAULT: True} if trial.user_attrs.get(IS_DEFAULT) else None
                self._study.enqueue_trial(point, user_attrs=attributes)
                taken.append(point)

    def _to_optuna(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns settings with the choices as labels, since Optuna does not store tuples."""
        return {
            name: exact_label(settings[name]) if isinstance(parameter, Choices) else settings[name]
            for name, parameter in self._space.parameters.items()
        }

    def _from_optuna(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: parameter.of_label(stored[name]) if isinstance(parameter, Choices) else stored[name]
            for name, parameter in self._space.parameters.items()
            if name in stored
        }

    def _trial(self, trial: FrozenTrial) -> Trial:
        record = trial.user_attrs.get(ENDED, {"state": "interrupted"})
        return replace(Trial(number=trial.number, settings=self._from_optuna(trial.params), state="failed"), **record)


class _Connection(sqlite3.Connection):
    """A SQLite connection that does not wait for the disk at each of a trial's dozen small writes.

    With a write-ahead log the file stays sound after a kill and a power cut; a power cut may lose the last trials.
    """

    def __init__(self, *arguments: Any, **how: Any) -> None:
        super().__init__(*arguments, **how)
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")


def _in_file(file: Path) -> optuna.storages.RDBStorage:
    engine = {"connect_args": {"factory": _Connection}}
    return optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}", engine_kwargs=engine)


def _grid(space: SearchSpace, points: int) -> list[dict[str, Any]]:
    if (size := space.grid_size(points)) > _MAX_GRID:
        raise ConfigError(f"the grid has {size:,} points, and more than {_MAX_GRID:,} are not kept: let less vary.")
    return list(space.grid(points))


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the parameters of a trial; after an interrupted sampling also those that were fixed beforehand."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def is_interrupted(trial: FrozenTrial) -> bool:
    """Returns True for a trial that was cut off and does not count."""
    if trial.state != TrialState.FAIL:
        return False
    record = trial.user_attrs.get(ENDED, {"state": "interrupted"})
    return bool(record["state"] == "interrupted" or record.get("is_cut"))


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choices):
        return CategoricalDistribution([exact_label(value) for value in parameter.values])
    if isinstance(parameter, FloatRange):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log)


@contextlib.contextmanager
def optuna_silenced() -> Iterator[None]:
    """Silences Optuna's logs, which repeat the search's own output, and its warnings about experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def _storage_errors(place: str) -> Iterator[None]:
    """Converts errors of a place that is not a search record to a `SearchError`."""
    try:
        yield
    except (SQLAlchemyError, RuntimeError, ValueError, optuna.exceptions.StorageInternalError) as error:
        raise SearchError(
            f"{place} is no record of a study, or cannot be written: delete it, or name another study (--study NAME)."
        ) from error
