"""A model that was trained here: published with its report and card, or looked at first."""

from __future__ import annotations

import warnings
from pathlib import Path

from axon.card import Report
from axon.model import Model
from models.store import ModelVersion, Store
from training.fit import FittedModel
from training.threads import limited_threads


class TrainedModel(Model):
    """A model as `fit` returns it.

    Attributes:
        fitted: the run: its table, its split, its history.
    """

    def __init__(self, fitted: FittedModel) -> None:
        """Takes what a run came to.

        Args:
            fitted: the run.
        """
        super().__init__(fitted.checkpoint, reference=fitted.name)
        self.fitted = fitted
        self.notes = fitted.notes

    def report(self) -> Report:
        """Returns the report: learning curves, errors, calibration, which columns matter. It is made anew each time."""
        # Imported here: a report takes more to make than a model that nobody looks at needs.
        from training.reporting.evaluation import evaluation_of
        from training.reporting.html import html_report

        with limited_threads(self._threads()):
            return Report(self.reference, html_report(self.fitted, self.reference, evaluation_of(self.fitted)))

    def publish(
        self, store: Store | Path | str | None = None, name: str | None = None, *, report: bool = True
    ) -> ModelVersion:
        """Publishes the model as the next version of its name, its report and card beside the checkpoint.

        Args:
            store: the store or its folder; AXON_STORE, else `checkpoints`, if None.
            name: name to publish under; the model's own if None.
            report: whether to write the report and the card.

        Raises:
            StoreError: the name is not valid, or the disk refuses.
        """
        from axon.loading import store_of

        published = self.fitted.publish(store_of(store), name)
        self.reference, self.path = str(published), published.path
        if report:
            self._write_report(published)
        return published

    def _write_report(self, published: ModelVersion) -> None:
        from training.reporting.files import write_report

        try:
            with limited_threads(self._threads()):
                write_report(self.fitted, published)
        except Exception as error:
            # Whatever it is: the model is published, and a page about it is not worth failing for.
            reason = f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"{published} is published, but has no report: {reason}.", stacklevel=3)

    def _threads(self) -> int:
        return 1 if self.fitted.threads is None else self.fitted.threads.number

    def _next(self) -> list[str]:
        if self.path is None:
            return ["model.predict(frame)", "model.report()", "model.publish()"]
        return super()._next()
