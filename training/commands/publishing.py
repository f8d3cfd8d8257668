"""The publication of a trained model: as the next version in the store, or else kept on the disk."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from models.checkpoint import Checkpoint
from models.columns.schema import Schema
from models.errors import AxonError, InvalidName, ModelNotFound, StoreError
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.network.config import MLPConfig
from models.open_store import open_store
from training.interrupt import Interrupted, StopRequest
from training.kept_model import KeptModel, keep
from training.prepared_rows import PreparedRows
from training.program import program
from training.reporting.served import ServedComparison
from training.sources import model_name

EXIT_KEPT = 3

Policy = Literal["always", "if-better", "never"]

EPILOG = """\
publishing:
  A clean run is published as the next version, and NAME means it from then on, unless the alias `default` is set. A run
  that was interrupted, or whose --baselines say to use another model, is kept on the disk instead and asks first; where
  nobody can be asked, it stays there. --publish always publishes it all the same. --publish if-better publishes a clean
  run only if it is clearly better than what NAME means now: by more than two standard errors on the same test rows.
  --no-publish keeps it. `publish PATH` publishes what was kept; docs/publishing.md has the rest.
"""

EXIT_CODES = """\
Exit codes: 0 what was asked for is done: published, or kept as --no-publish or --publish if-better say; 2 refused (one
sentence says why); 3 trained and kept, not published: a baseline is to be used instead, nothing could be compared, or
the store failed; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by a closed terminal: kept if an epoch was over.
"""


def add_publishing(parser: argparse.ArgumentParser) -> None:
    """Adds `--publish` and `--no-publish`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--publish",
        choices=("always", "if-better"),
        help="always, even a run that was interrupted or lost to a baseline; if-better, only a model that is better "
        "than the one that is served under the name (default: a clean run is published, for any other you are asked)",
    )
    group.add_argument(
        "--no-publish", dest="publish", action="store_const", const="never", help="keep the model, to publish it later"
    )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trained model that may be published.

    Attributes:
        checkpoint: checkpoint of the model.
        interrupted: time of a possible interruption, in words: `after epoch 3`.
        doubts: function that returns reasons not to publish, as sentences; can be slow, since it may train baselines.
        takes_time: True if `doubts` is slow.
        show: function that shows the model's metrics before the user is asked.
        compare: function that compares the model with a served version.
        kept: place of a model that is already on the disk; None for a model in memory only.
    """

    checkpoint: Checkpoint
    interrupted: str
    compare: Callable[[ModelVersion], ServedComparison]
    doubts: Callable[[], list[str]] = list
    takes_time: bool = False
    show: Callable[[], None] = lambda: None
    kept: KeptModel | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a publication.

    Attributes:
        place: published version, or place of the kept model.
        why: sentences on the reasons for publishing or not publishing; may be empty.
        exit_code: exit code of the command.
    """

    place: ModelVersion | KeptModel
    why: str = ""
    exit_code: int = 0

    @property
    def published(self) -> ModelVersion | None:
        """The published version; None if the model was kept."""
        return self.place if isinstance(self.place, ModelVersion) else None

    @property
    def kept(self) -> KeptModel | None:
        """The place of the kept model; None if the model was published."""
        return self.place if isinstance(self.place, KeptModel) else None

    def to_dict(self) -> dict[str, str | None]:
        """Returns the path of a kept model and the reasons, as JSON types."""
        return {"kept": None if self.kept is None else str(self.kept.path), "why": self.why or None}

    def last_line(self) -> str:
        """Returns the last line for standard output: `published NAME@VERSION` or `kept PATH`."""
        return f"published {self.published}" if self.kept is None else f"kept {self.kept.path}"


class Publication:
    """The publication of one model, from the check before the training to the final outcome."""

    def __init__(self, *, name: str, store: str, policy: Policy | None, errors: Console) -> None:
        """Stores the arguments; touches no file.

        Args:
            name: name of the model.
            store: folder or URL of the store.
            policy: the user's choice on publishing; None to publish clean runs only.
            errors: console on standard error.
        """
        self._name = name
        self._store = open_store(store)
        self._policy = policy
        self._errors = errors

    @classmethod
    def of(cls, arguments: argparse.Namespace, errors: Console) -> Publication:
        """Makes the publication that the options of a command ask for."""
        return cls(
            name=arguments.name or model_name(arguments.source),
            store=arguments.store,
            policy=arguments.publish,
            errors=errors,
        )

    def try_out(self, size: int = 0) -> None:
        """Checks before the training that the store accepts a new version.

        Args:
            size: size of the checkpoint in bytes, as far as known.

        Raises:
            StoreError: the store does not accept a version.
        """
        if self._policy == "never":
            return
        try:
            self._store.try_publishing(self._name, size=size)
        except InvalidName:
            raise
        except StoreError as error:
            raise StoreError(
                f"{str(error).removesuffix('.')}, so nothing was trained: name another store (--store FOLDER), or keep "
                "the model elsewhere (--no-publish)."
            ) from error

    def try_room(self, rows: PreparedRows) -> None:
        """Checks before the training that the store has room for the model.

        Raises:
            StoreError: the store has too little room.
        """
        self.try_out(_least_size(rows.architecture, rows.schema))

    def conclude(self, candidate: Candidate, stop: StopRequest) -> Outcome:
        """Publishes or keeps a model. The model is written to the disk before any slow step.

        Raises:
            StoreError: the model cannot be written to any folder.
        """
        kept = candidate.kept
        try:
            # Within `try`: until here, a signal waits, and from here on, one that ends the work at once is caught.
            stop.end_training()
            if kept is None and (candidate.takes_time or stop() or self._policy in ("never", "if-better")):
                kept = self._keep(candidate, stop)
            stop.raise_held()
            return self._decided(candidate, stop, kept)
        except Interrupted as interrupted:
            kept = kept or self._keep(candidate, stop)
            return Outcome(place=kept, why="It was interrupted.", exit_code=interrupted.exit_code)

    def keep_for(self, checkpoint: Checkpoint, why: str) -> Outcome:
        """Keeps a model whose run failed.

        Raises:
            StoreError: the model cannot be written to any folder.
        """
        return Outcome(place=keep(self._name, checkpoint, self._store.folder), why=why, exit_code=EXIT_KEPT)

    def tell(self, outcome: Outcome) -> None:
        """Prints to standard error why a model was published or kept, and which command changes that."""
        if outcome.kept is not None:
            then = f"It is kept, and this publishes it: {outcome.kept.publish_command(self._store.address)}"
            if outcome.exit_code or not self._errors.quiet:
                why = f"{self._name} is not published. {outcome.why}".strip()
                print(f"{why} {then}", file=sys.stderr)
        elif outcome.published is not None and not self._errors.quiet:
            for sentence in filter(None, (outcome.why, still_means(self._store, outcome.published))):
                print(sentence, file=sys.stderr)

    def _decided(self, candidate: Candidate, stop: StopRequest, kept: KeptModel | None) -> Outcome:
        doubts = [f"It was interrupted {candidate.interrupted}."] if stop() else []
        doubts += candidate.doubts()
        compared = ""
        if self._policy == "never":
            return Outcome(place=kept or self._keep(candidate, stop), exit_code=stop.exit_code)
        if self._policy == "if-better":
            try:
                comparison = self._beside_served(candidate)
            except AxonError as error:
                doubts.append(f"It cannot be compared with what is served: {error}")
            else:
                compared = "" if comparison is None else comparison.sentence()
                if comparison is not None and not comparison.is_better and not doubts:
                    return Outcome(place=kept or self._keep(candidate, stop), why=compared)
        if doubts and self._policy != "always" and not self._is_wanted(doubts, candidate.show):
            kept = kept or self._keep(candidate, stop)
            return Outcome(place=kept, why=" ".join((*doubts, compared)).strip(), exit_code=stop.exit_code or EXIT_KEPT)
        return self._published(candidate, stop, kept, compared)

    def _published(self, candidate: Candidate, stop: StopRequest, kept: KeptModel | None, why: str) -> Outcome:
        try:
            with stop.held():
                published = self._store.publish(self._name, candidate.checkpoint)
        except AxonError as error:
            kept = kept or self._keep(candidate, stop)
            return Outcome(place=kept, why=f"The store failed: {error}", exit_code=EXIT_KEPT)
        if kept is not None and kept is not candidate.kept:
            kept.remove()
        return Outcome(place=published, why=why)

    def _beside_served(self, candidate: Candidate) -> ServedComparison | None:
        try:
            served = self._store.resolve(self._name)
        except ModelNotFound:
            return None
        return candidate.compare(served)

    def _is_wanted(self, doubts: list[str], show: Callable[[], None]) -> bool:
        """Asks on a terminal if the model should be published nevertheless; returns False without a terminal."""
        if not _is_terminal():
            return False
        show()
        return _answer(f"{' '.join(doubts)} Publish it under the name {self._name} all the same? [y/N] ") in (
            "y",
            "yes",
        )

    def _keep(self, candidate: Candidate, stop: StopRequest) -> KeptModel:
        """Writes the model to the first possible place; on a terminal, the user may make room and try again."""
        with stop.held():
            while True:
                try:
                    return keep(self._name, candidate.checkpoint, self._store.folder)
                except StoreError as error:
                    if not _is_terminal():
                        raise
                    if _answer(f"{error} Make room, then press Enter to try again; q gives it up. ") in ("q", None):
                        raise


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _answer(question: str) -> str | None:
    """Asks a question and returns the user's answer; None if the terminal is gone."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    return line.strip().casefold() if line else None


def _least_size(architecture: MLPConfig, schema: Schema) -> int:
    """Returns the least size of a checkpoint in bytes: the tensors and the columns."""
    values = sum(math.prod(shape) for shape in architecture.tensor_shapes().values())
    return 4 * values + len(json.dumps(schema.to_dict()))


def still_means(store: ModelStore, published: ModelVersion) -> str:
    """Returns a sentence if the name means another version than the one just published; else an empty text."""
    name = published.name
    try:
        now = store.resolve(name)
    except StoreError as error:
        return f"What {name} means cannot be told: {error}"
    if now.version == published.version:
        return ""
    return f"{name} still means {now}, since the alias default names it: {program()} promote {published} changes that."
