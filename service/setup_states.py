"""The setup states of the worker hosts, which LitServe writes in a host and reads in the main process."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path


class SetupStates(MutableMapping[str, str]):
    """The setup states by host, each in a file of its own.

    LitServe keeps them in a manager process, whose only other use are queues that Axon does not use. A host that is
    spawned gets this object by pickling, which passes the folder on.

    Args:
        folder: folder of the files; made if missing.
        may_fail: True to pass over a state that cannot be written, for hosts that are started again: nobody waits for
            their states, and a full disk would end these hosts.
    """

    def __init__(self, folder: Path, *, may_fail: bool = False) -> None:
        self._folder = folder
        self._may_fail = may_fail
        if not may_fail:
            folder.mkdir(exist_ok=True)

    def for_successors(self) -> SetupStates:
        """Returns the same states for hosts that take the place of others."""
        return SetupStates(self._folder, may_fail=True)

    def __getitem__(self, host: str) -> str:
        try:
            return (self._folder / host).read_text()
        except FileNotFoundError:
            raise KeyError(host) from None

    def __setitem__(self, host: str, state: str) -> None:
        # A reader finds the old state or the new one. Only the main process and the host itself write, one after the
        # other.
        new = self._folder / f"{host}.new"
        try:
            new.write_text(state)
            new.rename(self._folder / host)
        except OSError:
            if not self._may_fail:
                raise

    def __delitem__(self, host: str) -> None:
        try:
            (self._folder / host).unlink()
        except FileNotFoundError:
            raise KeyError(host) from None

    def __iter__(self) -> Iterator[str]:
        return (file.name for file in sorted(self._folder.iterdir()) if file.suffix != ".new")

    def __len__(self) -> int:
        return sum(1 for _ in self)
