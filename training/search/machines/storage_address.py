"""The address of a storage that machines share: `journal:PATH` or `postgresql://USER@HOST/DATABASE`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.errors import ConfigError

_FORMS = "journal:PATH, a file in a folder that all machines share, or postgresql://USER@HOST:PORT/DATABASE"
_DRIVER = "postgresql+psycopg"
_SCHEMES = ("postgresql", "postgres", _DRIVER)


@dataclass(frozen=True, kw_only=True)
class StorageAddress:
    """The address of a storage.

    Attributes:
        kind: kind of the storage.
        shown: address without password and options, for messages and reports.
        path: path of the journal; None for PostgreSQL.
        url: complete address of the database, as SQLAlchemy reads it; empty for a journal.
    """

    kind: Literal["journal", "postgresql"]
    shown: str
    path: Path | None = None
    url: str = field(default="", repr=False)


def read_address(text: str) -> StorageAddress:
    """Parses the address of a storage. Error messages never quote the text, since it may have a password.

    Raises:
        ConfigError: the text is not the address of a journal or of a PostgreSQL database.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "journal" and rest:
        path = Path(rest).expanduser().absolute()
        return StorageAddress(kind="journal", shown=f"journal:{path}", path=path)
    if colon and scheme in _SCHEMES and rest.startswith("//"):
        return _database(text)
    raise ConfigError(f"the storage must be {_FORMS}.")


def _database(text: str) -> StorageAddress:
    # Imported here: SQLAlchemy takes a while, and a journal needs none.
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text).set(drivername=_DRIVER)
    except (ArgumentError, ValueError):  # a port that is no number, for example
        raise ConfigError(f"the address of the database cannot be read: the storage must be {_FORMS}.") from None
    if "@" in f"{url.host or ''}{url.database or ''}":  # perhaps the end of a password
        raise ConfigError(
            "the address of the database has a second @: in a user's name or a password it is written %40."
        )
    shown = URL.create("postgresql", username=url.username, host=url.host, port=url.port, database=url.database)
    return StorageAddress(kind="postgresql", shown=str(shown), url=url.render_as_string(hide_password=False))
