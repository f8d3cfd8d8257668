"""A model that this process trained: predictions, the report, and publishing."""

from __future__ import annotations

import warnings
from pathlib import Path

from axon.card import Report
from axon.model import Model
from models.model_store import ModelStore
from models.model_version import ModelVersion
from training.fitted_model import FittedModel
from training.threads import limited_threads


class TrainedModel(Model):
    """The model that `fit` returns.

    Attributes:
        fitted: training run, with table, split and history.
    """

    def __init__(self, fitted: FittedModel) -> None:
        """Takes the result of a training run.

        Args:
            fitted: training run.
        """
        super().__init__(fitted.checkpoint, reference=fitted.name)
        self.fitted = fitted
        self.notes = fitted.notes

    def report(self) -> Report:
        """Makes a report: learning curves, errors, calibration, and the importance of columns."""
        # Imported here: only a report needs these modules.
        from training.reporting.evaluation import evaluation_of
        from training.reporting.html import html_report

        with limited_threads(self._threads()):
            return Report(self.reference, html_report(self.fitted, self.reference, evaluation_of(self.fitted)))

    def publish(
        self, store: ModelStore | Path | str | None = None, name: str | None = None, *, report: bool = True
    ) -> ModelVersion:
        """Publishes the model as the next version of its name, with report and card beside the checkpoint.

        Args:
            store: store, path of its folder, or URL such as `s3://BUCKET/PREFIX`; AXON_STORE, else `checkpoints`, if
                None.
            name: name to publish under; the model's own if None.
            report: True to write the report and the card.

        Raises:
            StoreError: the name is not valid, or the store cannot be written.
        """
        from axon.loading import store_of

        published = self.fitted.publish(store_of(store), name)
        self.reference, self.published = str(published), published
        if report:
            self._write_report(published)
        return published

    def _write_report(self, published: ModelVersion) -> None:
        from training.reporting.files import write_report

        try:
            with limited_threads(self._threads()):
                write_report(self.fitted, published)
        except Exception as error:
            # Any error: the model is published already, and a missing report is no reason to fail.
            reason = f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"{published} is published, but has no report: {reason}.", stacklevel=3)

    def _threads(self) -> int:
        return 1 if self.fitted.threads is None else self.fitted.threads.number

    def _next(self) -> list[str]:
        if self.published is None:
            return ["model.predict(frame)", "model.report()", "model.publish()"]
        return super()._next()
