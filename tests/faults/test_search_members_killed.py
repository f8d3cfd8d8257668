"""A search over machines under fire: workers and leader killed, frozen and interrupted, the database restarted."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import optuna
import pytest
from machine_searches import OPTIONS, check_sound, counted, frozen_in_a_trial, lost, members, running, trials_of, until
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from postgresql_server import PASSWORD, PostgresqlServer, programs
from serving import free_port
from sqlalchemy.pool import NullPool

pytestmark = pytest.mark.faults

MORE = 6  # trials that are left when the search has lived through everything
LONG = (*OPTIONS, "--epochs", 300, "--patience", "none", "--pruner", "none", "--heartbeat", 1, "--trials")


@cache
def reader(url: str) -> RDBStorage:
    """Returns a storage of plain Optuna that holds no connection, which a restart of the server would cut."""
    return RDBStorage(url, engine_kwargs={"poolclass": NullPool})


@dataclass
class Place:
    """A storage under test: address for the command, function to read with plain Optuna, journal, and server."""

    address: str
    open: Callable[[], optuna.storages.BaseStorage]
    journal: Path | None = None
    server: PostgresqlServer | None = None


@pytest.fixture(params=["journal", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "journal":
        path = tmp_path / "journal"
        yield Place(f"journal:{path}", lambda: JournalStorage(JournalFileBackend(str(path))), journal=path)
        return
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    pytest.importorskip("psycopg")
    server = PostgresqlServer(free_port())
    url = server.address.replace("postgresql:", "postgresql+psycopg:")
    try:
        server.start()
        yield Place(server.address, lambda: reader(url), server=server)
    finally:
        server.remove()


def test_a_search_survives_the_death_of_each_part(
    place: Place, tmp_path: Path, record: Callable[[object], None]
) -> None:
    def read() -> list[optuna.trial.FrozenTrial]:
        if place.journal is not None and not place.journal.exists():
            return []
        return trials_of(place.open())

    with members(tmp_path) as start:
        storage = ("--storage", place.address)
        names = ("killed", "frozen", "interrupted", "last")
        # All at once on an empty storage: one of them creates the tables.
        leader = start("leader", *LONG, 10_000, *storage)
        workers = {name: start(name, "--worker", *storage) for name in names}
        killed, frozen, interrupted, last = workers.values()

        gone = frozen_in_a_trial(read, killed, leader, place.journal)
        killed.kill()
        asleep = frozen_in_a_trial(read, frozen, leader, place.journal)
        until(lambda: {gone, asleep} <= {trial.number for trial in lost(read())}, leader, last)
        frozen.signal_all(signal.SIGCONT)

        until(lambda: running(read(), interrupted), leader, last)
        interrupted.process.send_signal(signal.SIGINT)
        assert interrupted.wait() == 130, interrupted.err()
        assert "Traceback" not in interrupted.err()

        if place.server is not None:
            place.server.stop()
            until(lambda: "does not answer" in last.err() + leader.err() + frozen.err(), leader, last, frozen)
            place.server.start()

        before = len(counted(read()))
        leader.kill()
        until(lambda: len(counted(read())) > before, last, frozen)  # the workers go on
        for member in (last, frozen):  # so that the number of trials is known
            member.signal_all(signal.SIGSTOP)
        number = len(counted(read())) + MORE
        again = start("again", *LONG, number, *storage)
        until(lambda: f"of {number} trials are there already" in again.err(), again)
        for member in (last, frozen):
            member.signal_all(signal.SIGCONT)
        assert again.wait() == 0, again.err()
        assert last.wait() == 0, last.err()
        assert frozen.wait() == 0, frozen.err()

    trials = read()
    check_sound(trials, number)
    told = json.loads((tmp_path / "searches/iris/search.json").read_text())
    values = {trial["number"]: trial["value"] for trial in told["trials"] if trial["state"] == "finished"}
    assert values == {trial.number: trial.value for trial in counted(trials)}
    assert told["winner"]["value"] == min(values.values())
    assert again.out().splitlines()[-1] == "published iris@1"
    for trial in lost(trials):  # a woken worker must not have changed what was given to others
        assert trial.value is None
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != place.journal]
    assert written
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]
    by_worker = {trial.user_attrs["axon_worker"].split("-")[-2] for trial in counted(trials)}
    record(f"{number} trials of {len(by_worker)} workers, {len(lost(trials))} lost, {len(trials)} begun")
