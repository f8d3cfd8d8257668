"""Opening storages that machines share, and repeating calls while a storage does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from training.errors import SearchError
from training.search.machines.heartbeats import FileHeartbeats, Heartbeats, StudyHeartbeats
from training.search.machines.journal_file import JournalFile
from training.search.machines.storage_address import StorageAddress

Value = TypeVar("Value")

_START_SECONDS = 30.0  # time for the first connection; later a storage may be away for longer
_AWAY_SECONDS = 300.0
_CONNECT_SECONDS = 10
_CREATIONS = 5  # attempts to create the tables of an empty database


class Patience:
    """Repeats a call to a storage until the storage answers again, for a bounded time."""

    def __init__(
        self,
        shown: str,
        *,
        seconds: float = _AWAY_SECONDS,
        tell: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Stores the arguments.

        Args:
            shown: address of the storage without password.
            seconds: longest time in which a storage may be away.
            tell: callback for a line to the user when a storage is away, and when it is back.
            clock: monotonic clock in seconds.
            sleep: function that waits for some seconds.
        """
        self._shown, self._seconds, self._tell = shown, seconds, tell
        self._clock, self._sleep = clock, sleep

    def __call__(self, call: Callable[[], Value]) -> Value:
        """Returns the value of a call, which may be made several times.

        Raises:
            SearchError: the storage was away for too long, or its error is a lasting one.
        """
        begin, pause = self._clock(), 0.25
        is_told = False
        while True:
            try:
                value = call()
            except (OSError, SQLAlchemyError, StorageInternalError) as error:
                if not _may_pass(error):
                    raise SearchError(f"{self._shown} fails: {_reason(error)}.") from error
                away = self._clock() - begin
                if away >= self._seconds:
                    raise SearchError(
                        f"{self._shown} has not answered for {away:.0f} seconds: {_reason(error)}. The same command "
                        "goes on from the trials that are recorded."
                    ) from error
                if not is_told:
                    self._tell(f"{self._shown} does not answer, and is tried again for {self._seconds:.0f} seconds.")
                    is_told = True
                self._sleep(min(pause, max(self._seconds - away, 0.0)))
                pause = min(pause * 2, 10.0)
                continue
            if is_told:
                self._tell(f"{self._shown} answers again.")
            return value


def open_storage(address: StorageAddress, *, tell: Callable[[str], None] = lambda line: None) -> BaseStorage:
    """Opens a storage, and creates what is missing there: the journal, or the tables.

    Args:
        address: address of the storage.
        tell: callback for a line to the user while the storage does not answer.

    Raises:
        SearchError: the storage cannot be opened, or a package is missing.
    """
    patience = Patience(address.shown, seconds=_START_SECONDS, tell=tell)
    if address.path is not None:
        path = address.path
        if not path.parent.is_dir():
            raise SearchError(f"there is no folder {path.parent} for the journal: create it, or mount it.")
        if path.is_dir():
            raise SearchError(f"{path} is a folder: name a file in it for the journal.")
        return patience(lambda: JournalStorage(JournalFile(path)))
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise SearchError(
            "a search over PostgreSQL needs the package 'psycopg': pip install 'axon[postgresql]'."
        ) from error
    return patience(lambda: _database(address.url))


def heartbeats_of(address: StorageAddress, study: optuna.Study) -> Heartbeats:
    """Returns the place of the heartbeats of a study."""
    if address.path is None:
        return StudyHeartbeats(study)
    return FileHeartbeats(address.path.with_name(f"{address.path.name}.workers"))


def _database(url: str) -> BaseStorage:
    # A connection for each transaction: hundreds of workers would otherwise hold hundreds of idle connections, and a
    # server that was restarted would leave stale ones behind.
    engine = {"poolclass": NullPool, "connect_args": {"connect_timeout": _CONNECT_SECONDS}}
    attempts = 1
    while True:
        try:
            return optuna.storages.get_storage(RDBStorage(url, engine_kwargs=engine))
        except (IntegrityError, ProgrammingError):  # another worker creates the same tables at this moment
            if attempts == _CREATIONS:
                raise
            time.sleep(0.2 * attempts)
            attempts += 1


def _may_pass(error: BaseException) -> bool:
    """Returns True for errors of a storage that is away, and may come back."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError):
        return not isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError | FileNotFoundError)
    is_dropped = isinstance(error, DBAPIError) and error.connection_invalidated
    # Optuna asks again in the same transaction if a large query fails, and rolls back when that fails too. The second
    # error says only that the first one cut the connection.
    return is_dropped or isinstance(error, OperationalError | InterfaceError | PendingRollbackError)


def _reason(error: BaseException) -> str:
    """Returns the first line of the innermost message; such messages never quote the address."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, NoSuchModuleError):
        return "its driver is not installed"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().partition("\n")[0].removesuffix(".") or type(error).__name__
