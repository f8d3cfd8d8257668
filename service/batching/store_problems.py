"""The problems of a store: reasons by id why a model or a version is not served. New problems are logged."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from service.logs import get_logger

_MOST_LOGGED = 50  # problems of one scan; a thousand lines would block the event loop for 30 ms, and help nobody

# A lost disk or a missing mount leaves an empty folder or none.
LOST = "the store is empty or gone; what was served stays served."

log = get_logger(__name__)


class StoreProblems:
    """The problems of the store, and of workers that cannot load a version.

    Attributes:
        all: reasons by id; the empty id is the store as a whole.
    """

    def __init__(self) -> None:
        self.all: dict[str, str] = {}
        self._of_store: dict[str, str] = {}
        self._load_failures: Mapping[str, str] = {}

    def set_store(self, problems: dict[str, str]) -> None:
        """Takes the problems of a scan in place of those before."""
        self._of_store = problems
        self._tell()

    def add_whole(self, reason: str) -> None:
        """Adds a problem of the store as a whole."""
        self.set_store({**self._of_store, "": reason})

    def set_load_failures(self, failures: Mapping[str, str]) -> None:
        """Takes the reasons, by id, why some worker cannot load a version."""
        if failures or self._load_failures:
            self._load_failures = failures
            self._tell()

    def _tell(self) -> None:
        """Joins all problems, and logs new ones."""
        problems = dict(self._of_store)
        for id_, reason in self._load_failures.items():
            problems[id_] = f"{problems[id_]} {reason}" if id_ in problems else reason
        new = {id_: reason for id_, reason in problems.items() if self.all.get(id_) != reason}
        for id_, reason in islice(new.items(), _MOST_LOGGED):
            log.error("store problem", id=id_, reason=reason)
        if len(new) > _MOST_LOGGED:
            log.error("more store problems; GET /models lists them", problems=len(new) - _MOST_LOGGED)
        self.all = problems
