"""A search over machines, from the table to the winner: the leader's part, and that of each further worker.

The leader is the process that began the search. It trains like any worker; besides, it stores the plan, ends the search
at its time limit or on Ctrl-C, and makes the result. If it is killed, the workers go on, and the same command leads
again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage

from models.errors import ConfigError
from training.data.training_table import TrainingTable
from training.engines.engine import ShouldStop
from training.errors import SearchError
from training.search.machines.heartbeats import Heartbeats, Pulse
from training.search.machines.plan import Plan, check_identity
from training.search.machines.shared_record import SharedRecord
from training.search.machines.shared_session import SharedSession, worker_name
from training.search.machines.storage_address import StorageAddress
from training.search.machines.storages import Patience, heartbeats_of, open_storage
from training.search.trials.folder import MemoryCheckpoints, StudyFolder
from training.search.trials.result import SearchResult
from training.search.trials.run import identity_of, moved_defaults_notes, search_result, share_of
from training.search.trials.search_record import optuna_silenced
from training.search.trials.session import Listener
from training.search.trials.worker import TrialSetup
from training.search.trials.worker_pool import WorkerPool

_PLAN, _LEADER, _ID = "axon_plan", "axon_leader", "axon_id"
_JOIN_SECONDS = 60.0  # time that a worker waits for a study that has not begun yet
_POLL_SECONDS = 0.5

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Holds the settings of a search that each machine chooses on its own.

    Attributes:
        device: name of the torch device to train on.
        jobs: number of trials at the same time on this machine.
        threads: number of CPU threads of each trial; None for what `fit` would choose, at most a job's share.
        timeout: time limit in seconds; None for no limit.
        listener: callbacks for the progress.
        should_stop: callback that returns True if this process should end.
        tell: callback for a line to the user.
    """

    device: str = "auto"
    jobs: int = 1
    threads: int | None = None
    timeout: float | None = None
    listener: Listener = field(default_factory=Listener)
    should_stop: ShouldStop = lambda: False
    tell: Tell = lambda line: None


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The result of one worker.

    Attributes:
        trained: number of trials that this worker ended and that count.
        done: number of trials of all machines that count.
        of: number of trials asked for.
        ended: reason for the end, as in `SearchResult`.
    """

    trained: int
    done: int
    of: int
    ended: str


def lead(
    table: TrainingTable,
    plan: Plan,
    *,
    address: StorageAddress,
    study: str,
    trials: int,
    folder: StudyFolder,
    machine: Machine,
) -> SearchResult:
    """Leads a search over machines, trains trials too, and returns the result of all machines.

    Args:
        table: table to train on.
        plan: settings that all workers share.
        address: address of the storage.
        study: name of the study in the storage.
        trials: number of trials over all machines.
        folder: folder for the best checkpoints that this machine trains.
        machine: part of this machine.

    Raises:
        ConfigError: the study in the storage is about another table or space.
        SearchError: another process leads, the storage fails, or every trial failed.
    """
    storage = open_storage(address, tell=machine.tell)
    with _record(storage, plan, address=address, study=study, trials=trials, tell=machine.tell) as record:
        heartbeats = record.patiently(lambda: heartbeats_of(address, record.study))
        _refuse_second_leader(record, heartbeats, interval=_stored_heartbeat(record, plan), tell=machine.tell)
        record.patiently(lambda: record.study.set_user_attr(_LEADER, record.worker))
        record.patiently(lambda: record.study.set_user_attr(_PLAN, plan.to_json()))
        record.begin(trials)
        # Trials of another study in the same folder have the same numbers.
        folder.use_files_of(_study_id(record))
        session, setup = _session(table, plan, record, heartbeats, folder, machine, leads=True)
        with Pulse(heartbeats, record.worker, interval=plan.heartbeat), WorkerPool(setup, jobs=machine.jobs) as pool:
            pool.run(session)
        if session.ended in ("asked", "time"):
            record.stop(session.ended)
        first = plan.space.nearest(plan.config)
        notes = moved_defaults_notes(plan.space, plan.config, first)
        return search_result(session, record, folder, setup, notes=notes)


def work(
    table_of: Callable[[Plan], TrainingTable],
    *,
    address: StorageAddress,
    study: str | None,
    machine: Machine,
    joined: Callable[[str, Plan], contextlib.AbstractContextManager[Listener]],
) -> Shift:
    """Trains trials of a search that another process leads, until no more trials will begin.

    Args:
        table_of: function that reads the table of a plan.
        address: address of the storage.
        study: name of the study; None for the only one in the storage.
        machine: part of this machine; its listener is not used.
        joined: context of the work, which gets the study's name and the plan and yields the listener.

    Raises:
        ConfigError: the table of this machine is another one.
        SearchError: there is no such study, another release of Axon began it, or the storage fails.
    """
    storage = open_storage(address, tell=machine.tell)
    name, stored = _find(storage, address, study, machine)
    plan = Plan.from_json(stored)
    table = table_of(plan)
    check_identity(plan, identity_of(table, plan.config, plan.space, plan.metric), table.name)
    with _record(storage, plan, address=address, study=name, trials=1, tell=machine.tell) as record:
        heartbeats = record.patiently(lambda: heartbeats_of(address, record.study))
        with joined(name, plan) as listener:
            session, setup = _session(
                table, plan, record, heartbeats, MemoryCheckpoints(), machine, leads=False, listener=listener
            )
            with Pulse(heartbeats, record.worker, interval=plan.heartbeat):
                if not session.is_over():
                    with WorkerPool(setup, jobs=machine.jobs) as pool:
                        pool.run(session)
        census = session.census
        return Shift(trained=session.trained, done=census.done, of=census.most, ended=session.ended)


@contextlib.contextmanager
def _record(
    storage: BaseStorage, plan: Plan, *, address: StorageAddress, study: str, trials: int, tell: Tell
) -> Iterator[SharedRecord]:
    record = SharedRecord(
        storage=storage,
        study=study,
        place=address.shown,
        worker=worker_name(),
        most=trials,
        patience=Patience(address.shown, tell=tell),
        space=plan.space,
        metric=plan.metric,
        first_point=plan.space.nearest(plan.config),
        sampler=plan.sampler,
        pruner=plan.pruner,
        epochs=plan.config.epochs,
        grid_points=plan.grid_points,
        seed=plan.config.seed,
        identity=plan.identity,
    )
    try:
        yield record
    finally:
        record.close()


def _session(
    table: TrainingTable,
    plan: Plan,
    record: SharedRecord,
    heartbeats: Heartbeats,
    checkpoints: StudyFolder | MemoryCheckpoints,
    machine: Machine,
    *,
    leads: bool,
    listener: Listener | None = None,
) -> tuple[SharedSession, TrialSetup]:
    session = SharedSession(
        record=record,
        checkpoints=checkpoints,
        metric=plan.metric,
        trials=record.most,
        jobs=machine.jobs,
        timeout=machine.timeout,
        should_stop=machine.should_stop,
        listener=listener or machine.listener,
        heartbeats=heartbeats,
        interval=plan.heartbeat,
        leads=leads,
        tell=machine.tell,
    )
    setup = TrialSetup(
        table=table,
        config=plan.config,
        metric=plan.metric,
        device=machine.device,
        threads=machine.threads,
        most_threads=share_of(machine.jobs) if machine.threads is None else None,
    )
    return session, setup


def _find(
    storage: BaseStorage, address: StorageAddress, study: str | None, machine: Machine
) -> tuple[str, Mapping[str, Any]]:
    """Returns name and plan of the study to work on, and waits a while for one that has not begun."""
    patience = Patience(address.shown, tell=machine.tell)
    begin, is_told = time.monotonic(), False
    while True:
        plans = patience(lambda: _plans(storage))
        if study is None and len(plans) > 1:
            raise SearchError(f"{address.shown} has the studies {', '.join(sorted(plans))}: name one (--study NAME).")
        name = study if study is not None else next(iter(plans), None)
        if name in plans:
            return name, plans[name]
        if time.monotonic() - begin >= _JOIN_SECONDS or machine.should_stop():
            wanted = "no search" if study is None else f"no search {study!r}"
            raise SearchError(
                f"{address.shown} has {wanted}: begin it on one machine, by the same command without --worker."
            )
        if not is_told:
            machine.tell(f"waiting for a search to begin in {address.shown}")
            is_told = True
        time.sleep(_POLL_SECONDS)


def _plans(storage: BaseStorage) -> dict[str, Mapping[str, Any]]:
    """Returns the plans in a storage by study; other studies of Optuna have none."""
    with optuna_silenced():
        summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    return {found.study_name: found.user_attrs[_PLAN] for found in summaries if _PLAN in found.user_attrs}


def _stored_heartbeat(record: SharedRecord, plan: Plan) -> float:
    """Returns the interval of the heartbeats of the workers that are already there."""
    stored = record.patiently(lambda: record.study.user_attrs.get(_PLAN))
    return float(stored["heartbeat"]) if stored else plan.heartbeat


def _refuse_second_leader(
    record: SharedRecord, heartbeats: Heartbeats, *, interval: float, tell: Tell = lambda line: None
) -> None:
    """Refuses to lead a search whose leader is alive; a leader that was killed gives no more heartbeats.

    Raises:
        SearchError: another process leads.
    """
    leader = record.patiently(lambda: record.study.user_attrs.get(_LEADER))
    first = record.patiently(heartbeats.read).get(leader or "")
    begin, watched = time.monotonic(), 2.5 * interval
    if first is not None:
        tell(f"waiting {watched:.0f} seconds for a sign of life of {leader}, which led this search before")
    while first is not None and time.monotonic() - begin < watched:
        now = record.patiently(heartbeats.read).get(leader)
        if now is None:
            return
        if now != first:
            raise SearchError(f"{leader} leads this search: add this machine to it with --worker, or end that process.")
        time.sleep(min(interval / 4, _POLL_SECONDS))


def _study_id(record: SharedRecord) -> str:
    """Returns the id of the study, which tells its files from those of other studies with the same name."""
    known = record.patiently(lambda: record.study.user_attrs.get(_ID))
    if known is None:
        known = record.worker.rpartition("-")[2]
        record.patiently(lambda: record.study.set_user_attr(_ID, known))
    return str(known)


def check_heartbeat(seconds: float) -> float:
    """Returns the interval of heartbeats.

    Raises:
        ConfigError: the interval is not a number above 0.
    """
    if not 0 < seconds <= 3600:
        raise ConfigError(f"heartbeats come every few seconds, at most every 3600; got {seconds!r}.")
    return seconds
