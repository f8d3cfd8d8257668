"""Distillation: what one network, the student, learns from an ensemble, its teacher.

The student has the layers and the settings of one member. Its labels are the answers of the ensemble to the training
rows and to jittered copies of them (Bucilă, Caruana & Niculescu-Mizil 2006, Model compression; Hinton, Vinyals & Dean
2015, Distilling the knowledge in a neural network). The true labels of the validation part choose its temperature and
its decision between classes, as for any network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.errors import ConfigError
from training.calibration import with_shift
from training.config import TrainConfig
from training.data.jittered_rows import RowJitter
from training.data.preprocessing import scale_target, standardise
from training.engines.engine import Epoch, Matrices, OnEpoch
from training.fitted_answers import answers_of_part, served_checkpoint
from training.fitted_model import FittedModel
from training.metrics import FIGURES, HIGHER_IS_BETTER, MetricFigure, evaluate
from training.prepared_rows import PreparedRows

COPIES = 7  # jittered copies of each training row
ROWS_PER_EPOCH = 2  # rows of an epoch of the student, as a multiple of the training rows; other ones in each epoch
_POOL_CELLS = 32_000_000  # cells of all rows of the student: 128 MB
_STREAM = 5  # added to the seed, so that the jitter shares no random numbers with the split of the rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Distilled:
    """The figures of a distillation on the test part.

    Attributes:
        members: number of members of the ensemble.
        rows: number of rows that the student learned from, jittered ones included.
        figure: name of the figure: that of the metric of the run, else balanced accuracy for balanced classes, log loss
            or RMSE.
        student: figure of the student; None in all three if the test part does not have the figure.
        ensemble: figure of the ensemble.
        member: mean figure of single members, each calibrated on its own.
    """

    members: int
    rows: int
    figure: MetricFigure
    student: float | None
    ensemble: float | None
    member: float | None

    @property
    def share_of_gain(self) -> float | None:
        """The student's part of the ensemble's gain over one member; None if the ensemble gains nothing."""
        if self.student is None or self.ensemble is None or self.member is None:
            return None
        sign = 1 if self.figure in HIGHER_IS_BETTER else -1
        gain = sign * (self.ensemble - self.member)
        return sign * (self.student - self.member) / gain if gain > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types, for the section `training` of the checkpoint."""
        found = {"student": self.student, "ensemble": self.ensemble, "member": self.member}
        figures = {name: None if value is None else float(f"{value:.7g}") for name, value in found.items()}
        return {"members": self.members, "rows": self.rows, "figure": self.figure, "test": figures}

    def sentence(self) -> str:
        """Returns a note for the user."""
        begin = f"Distilled from {_counted(self.members)}"
        if self.student is None or self.ensemble is None or self.member is None:
            return f"{begin}: one network, which costs in serving what one member costs."
        said = (
            f"{begin}: {self.figure.replace('_', ' ')} {self.student:.4g} on the test part, where the ensemble has "
            f"{self.ensemble:.4g} and one of its members {self.member:.4g} (the mean of all), at one network's cost."
        )
        if (share := self.share_of_gain) is None:
            return f"{said} The ensemble is no better than its members there, so there was nothing to keep."
        if share <= 0:
            return f"{said} The network is no better than a member there: leave out --distill, or --members too."
        if share >= 1:
            return f"{said} The network is no worse than the ensemble there."
        return f"{said} That is {100 * share:.0f} % of what the ensemble gains."


def check_distillation(is_distilled: bool, *, resume: bool, has_budget: bool) -> None:
    """Refuses what a run of two trainings does not have.

    Raises:
        ConfigError: the run resumes another, or has a budget of time.
    """
    if is_distilled and resume:
        raise ConfigError(
            "a run with distillation cannot be resumed, since the student needs the ensemble, which is not kept: "
            "leave out --resume to begin anew."
        )
    if is_distilled and has_budget:
        raise ConfigError(
            "a budget of time plans one training, and a distillation has two: leave out --distill or the budget; "
            "--budget quick and --budget best go with it."
        )


def undistilled_note(members: int) -> str:
    """Returns a note for an ensemble whose run was ended before its student was trained."""
    return (
        f"The run was ended before the distillation was done: this is the ensemble of {_counted(members)}, which "
        "costs in serving what all of them cost."
    )


def failed_note(members: int, error: Exception) -> str:
    """Returns a note for an ensemble whose student could not be trained."""
    reason = str(error) or "there was not enough memory."
    return (
        f"The distillation failed, so this is the ensemble of {_counted(members)}, which costs in serving what all of "
        f"them cost. The reason: {reason}"
    )


def student_config(config: TrainConfig, rows: int) -> TrainConfig:
    """Returns the settings of the student: those of one member, whose labels are not smoothed once more.

    The student has no dropout, since its labels have no noise, and keeps its last epoch: docs/decisions/0070 has the
    measurements. The figures of few rows would choose an early epoch by chance, and late epochs of a student of soft
    labels are not too sure, as those of a member can be.

    Args:
        config: settings of the run.
        rows: number of rows of the training part.
    """
    return replace(
        config,
        members=1,
        distill=False,
        label_smoothing=0.0,
        dropout=0.0,
        select_by="last",
        patience=None,
        batch_size=config.batch_size_for(rows),  # not by the number of copies
        rows_per_epoch=config.rows_per_epoch or ROWS_PER_EPOCH * rows,
    )


def student_differences(config: TrainConfig, student: TrainConfig) -> dict[str, Any]:
    """Returns, as JSON types, the settings in which a student differs from its run.

    Args:
        config: settings of the run.
        student: settings of the student.
    """
    of_run = config.to_dict()
    # The record of the run has the number of rows per batch.
    return {name: v for name, v in student.to_dict().items() if name != "batch_size" and of_run.get(name) != v}


def taught_matrices(teacher: FittedModel, rows: PreparedRows, *, seed: int) -> Matrices:
    """Returns the matrices of the student: training rows and jittered copies, with the answers of the teacher.

    Args:
        teacher: the ensemble.
        rows: encoded rows of the run, of the same split as those of the ensemble.
        seed: seed of the jitter.
    """
    x = rows.x["train"]
    copies = int(min(COPIES, max(_POOL_CELLS // max(x.size, 1) - 1, 0)))
    rng = np.random.default_rng([seed, _STREAM])
    matrices = rows.matrices()
    jitter = RowJitter(rows.schema, x if matrices.weight is None else x[matrices.weight > 0])
    pool = np.concatenate([x, *(jitter.copies(x, rng) for _ in range(copies))])
    base = np.tile(np.arange(len(x)), copies + 1)  # (pool rows,) training row of each
    return replace(
        matrices,
        x=standardise(rows.schema, pool),
        y=matrices.y[base],
        weight=None if matrices.weight is None else matrices.weight[base],
        taught=teacher_answers(teacher.checkpoint, pool),
    )


def teacher_answers(checkpoint: Checkpoint, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the answers of an ensemble in the form of labels for a student.

    A decision between classes is taken out: it is for the answered class, and the student gets its own.

    Args:
        checkpoint: checkpoint of the ensemble.
        x: `(rows, in_features)` encoded rows.

    Returns:
        `(rows, classes)` probabilities, or `(rows, targets)` standardised values.
    """
    decision = checkpoint.training.get("decision")
    if decision is not None:
        checkpoint = with_shift(checkpoint, -np.array(decision["shift"]))
    answers = answers_of_part(checkpoint.inference_network(), x)
    if checkpoint.schema.values:
        return np.asarray(scale_target(checkpoint.schema, answers.astype(np.float64)), dtype=np.float32)
    return answers.astype(np.float32)


def distilled_figures(
    teacher: FittedModel, student: FittedModel, rows: PreparedRows, config: TrainConfig, *, learned: int
) -> Distilled:
    """Evaluates student, ensemble and single members on the test part.

    Args:
        teacher: the ensemble.
        student: the network that learned from the ensemble.
        rows: encoded rows of the run, with the architecture of one network.
        config: settings of the run.
        learned: number of rows that the student learned from.
    """
    figure: MetricFigure = "log_loss" if teacher.table.labels else "rmse"
    if config.metric is not None:
        figure = FIGURES[config.metric]
    elif config.class_weight == "balanced":
        figure = "balanced_accuracy"  # balanced classes shift the probabilities on purpose
    alone = [_figure_of_member(teacher, i, rows, config, figure) for i in range(teacher.trained.architecture.members)]
    found = [student.metrics["test"].get(figure), teacher.metrics["test"].get(figure), *alone]
    figures = [float(value) for value in found if value is not None]
    has_all = len(figures) == len(found)
    return Distilled(
        members=len(alone),
        rows=learned,
        figure=figure,
        student=figures[0] if has_all else None,
        ensemble=figures[1] if has_all else None,
        member=float(np.mean(figures[2:])) if has_all else None,
    )


def _figure_of_member(
    teacher: FittedModel, member: int, rows: PreparedRows, config: TrainConfig, figure: str
) -> float | int | None:
    tensors = teacher.trained.tensors
    if teacher.trained.architecture.members > 1:
        tensors = {name: tensor[member] for name, tensor in tensors.items()}
    alone = Checkpoint(config=rows.architecture, schema=rows.schema, tensors=tensors, training={}, data={})
    served = served_checkpoint(alone, rows, replace(config, members=1, distill=False))
    answers = answers_of_part(served.inference_network(), rows.x["test"])
    output = rows.architecture.output
    aim: Mapping[str, Any] = {"metric": config.metric, "quantile": config.quantile, "targets": rows.schema.values}
    aim = {**aim, "is_balanced": config.class_weight == "balanced"}
    found: float | int | None = evaluate(output, answers, rows.y["test"], **aim).get(figure)
    return found


def _counted(members: int) -> str:
    return "1 member" if members == 1 else f"{members} members"


def in_phase(on_epoch: OnEpoch, phase: str, *, done: int, later: int) -> OnEpoch:
    """Returns a callback that numbers the epochs of one training within a run of two.

    Args:
        on_epoch: callback of the whole run.
        phase: name of the training.
        done: number of epochs of the training before.
        later: number of epochs of the training after.
    """

    def report(epoch: Epoch) -> None:
        on_epoch(replace(epoch, number=done + epoch.number, of=done + epoch.of + later, phase=phase))

    return report
