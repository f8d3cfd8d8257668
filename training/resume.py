"""A file from which an interrupted run resumes, bit for bit, in the safetensors format.

The run writes it every minute and when it is interrupted, and deletes it at its regular end. If the disk refuses the
file, the run continues but cannot be resumed.
"""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from models.errors import DataError, StoreError
from models.unfinished_folder import remove_abandoned, unfinished_folder
from training.engines.engine import State

_KEY = "axon-resume"
_EVERY_SECONDS = 60.0


class ResumeFile:
    """The state file of a run, with the identity of the run.

    Attributes:
        path: path of the file.
        threads: number of CPU threads of the run, which affects the rounding of sums; None before it is known.
        plan: settings that a budget of time chose for the run, as JSON types; None for a run without a budget.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_failure: Callable[[str], None] = lambda reason: warnings.warn(reason, stacklevel=2),
    ) -> None:
        """Reads and writes no file yet.

        Args:
            path: path of the file, which need not exist.
            clock: clock in seconds, for the time between two writes.
            on_failure: callback with the reason for a failed write, once for each reason; a Python warning by default.
        """
        self.path = path
        self._unfinished = f".{path.name}."  # begins the names of folders with an unfinished file
        self.threads: int | None = None
        self.plan: dict[str, Any] | None = None
        self._clock = clock
        self._on_failure = on_failure
        self._failures: set[str] = set()
        self._written = clock()
        self._identity: dict[str, Any] = {}
        self._latest: Callable[[], State] | None = None
        self._is_ours = False  # False: the file may be of another run with this name, and is not deleted

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Sets the identity of the run, its settings and data, as JSON types; removes what a killed run half wrote."""
        self._identity = json.loads(json.dumps(identity))
        remove_abandoned(self.path.parent, self._unfinished)

    def offer(self, state: Callable[[], State]) -> None:
        """Takes a function that makes the state after an epoch; writes the file if the last write is a minute ago."""
        self._latest = state
        if self._clock() - self._written >= _EVERY_SECONDS:
            self._try_to_write()

    def write(self) -> None:
        """Writes the latest state.

        Raises:
            StoreError: the file cannot be written.
        """
        if self._latest is None:
            return
        arrays = {name: np.array(array, order="C") for name, array in self._latest().items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self._identity | {"threads": self.threads, "plan": self.plan}, sort_keys=True)
            # In a folder of its own, because safetensors writes to another name beside the file first.
            with unfinished_folder(self.path.parent, self._unfinished) as folder:
                safetensors.numpy.save_file(arrays, folder / self.path.name, metadata={_KEY: text})
                (folder / self.path.name).replace(self.path)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{self.path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
        self._written = self._clock()
        self._is_ours = True

    def read(self) -> State:
        """Returns the state to resume from.

        Raises:
            DataError: there is no file, the file is damaged, or the run has other settings or data.
        """
        try:
            with safe_open(self.path, framework="numpy") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
        except FileNotFoundError:
            raise DataError(f"there is nothing to resume: no run was interrupted that left {self.path}.") from None
        except (OSError, SafetensorError) as error:
            raise DataError(f"{self.path} is damaged, and nothing can be resumed from it: {error}.") from error
        try:
            identity = json.loads(metadata[_KEY])
            threads, plan = identity.pop("threads", None), identity.pop("plan", None)
        except (AttributeError, KeyError, ValueError):
            raise DataError(f"{self.path} is not the state of a training run.") from None
        if changed := _differences(identity, self._identity):
            raise DataError(
                f"{self.path} is of a run with other {' and '.join(changed)}: resume with what it was begun with, "
                "or leave out --resume to begin anew."
            )
        self._is_ours = True
        self.threads, self.plan = threads, plan
        return state

    def end(self, *, finished: bool) -> None:
        """Deletes the file after a finished run; writes the last state of an unfinished run."""
        if not finished:
            self._try_to_write()
            return
        if self._is_ours:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _try_to_write(self) -> None:
        """Writes the latest state; calls `on_failure` if that is impossible."""
        try:
            self.write()
        except StoreError as error:
            self._written = self._clock()  # the next try is a minute later, not after the next epoch
            if (reason := str(error)) not in self._failures:
                self._failures.add(reason)
                self._on_failure(reason)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists what differs between two identities, in order, with the earlier value where that is short."""
    changed = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    if "targets" in changed:
        changed.discard("data")  # other targets are other data anyhow
    return [_difference(name, before.get(name), now.get(name)) for name in sorted(changed)]


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "settings" and isinstance(before, dict) and isinstance(now, dict):
        before = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if isinstance(before, list):
        before = ",".join(str(part) for part in before)
    return name if before is None or name == "data" else f"{name} ({before})"
