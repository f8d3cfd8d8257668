"""Training from a program or a notebook: `fit`, with progress in a notebook or on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from axon.notebook import in_notebook, notebook_progress
from axon.trained import TrainedModel
from training.engines.engine import Epoch, OnEpoch, ShouldStop
from training.fit import fit as fit_quietly
from training.interrupt import stopping_on_interrupt
from training.sources import model_name


def fit(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    name: str | None = None,
    progress: bool | None = None,
    **options: Any,
) -> TrainedModel:
    """Trains a model on a table.

    While progress is shown, an interrupt (Ctrl-C, or a notebook's stop button) ends the run after the current epoch and
    keeps the best epoch so far. A second interrupt ends the run at once.

    Args:
        source: name of a built-in dataset, path to a file, data frame (pandas, polars) or Arrow table.
        target: column to predict, or several columns of numbers, as a list or with commas between the names; the
            dataset's own, for a built-in dataset, if None.
        name: name of the model; the dataset's or the file's if None.
        progress: True to show progress; None shows a bar in a notebook or on a terminal, and nothing elsewhere.
        options: other arguments of `training.fit.fit`: `task`, `choices` (an `axon.ColumnChoices`), `test`, `threads`,
            and every setting of `TrainConfig`, such as `epochs`, `hidden_sizes` and `members`.

    Raises:
        DataError: no model can be trained on the table.
        ConfigError: a setting is not valid.
        TrainingError: the run diverged.
    """
    also = options.pop("on_epoch", None)
    with _shown(progress, name or model_name(source)) as (show, should_stop):
        options.setdefault("should_stop", should_stop)

        def on_epoch(epoch: Epoch) -> None:
            show(epoch)
            if also is not None:
                also(epoch)

        return TrainedModel(fit_quietly(source, target=target, name=name, on_epoch=on_epoch, **options))


@contextlib.contextmanager
def _shown(progress: bool | None, title: str) -> Iterator[tuple[OnEpoch, ShouldStop]]:
    if progress is False or (progress is None and not in_notebook() and not sys.stderr.isatty()):
        yield lambda epoch: None, lambda: False
        return
    if in_notebook():
        with stopping_on_interrupt() as should_stop, notebook_progress(title) as on_epoch:
            yield on_epoch, should_stop
        return
    # Imported here: only a shown progress bar needs these modules.
    from rich.console import Console

    from training.progress import progress as terminal_progress

    with stopping_on_interrupt() as should_stop, terminal_progress(Console(stderr=True), title) as on_epoch:
        yield on_epoch, should_stop
