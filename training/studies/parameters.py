"""Study `parameters`: parameters are learned, hyperparameters are chosen, for runs on iris."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.fitted_model import FittedModel
from training.run_parts import LearnedTensor, hyperparameters_of, parameters_of
from training.studies.plain_fit import fit_plain
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, WIDER = 8, 16
_EPOCHS, _QUICK_EPOCHS = 60, 15
_SIZES = (4, 3)  # iris: columns and classes


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A training run on iris.

    Attributes:
        label: name of the run, by its difference to the first run.
        width: number of hidden units.
        seed: seed of the run.
        values: all parameters, (parameters,) float32.
        accuracy: accuracy on the test part.
    """

    label: str
    width: int
    seed: int
    values: NDArray[np.float32]
    accuracy: float

    @property
    def closed_form(self) -> int:
        """The number of parameters by (n_in + 1)·n_out, summed over the layers."""
        n_in, n_out = _SIZES
        return (n_in + 1) * self.width + (self.width + 1) * n_out

    def equal_to(self, other: Run) -> float | None:
        """Returns the share of parameters with the same value as in another run; None if the counts differ."""
        return float((self.values == other.values).mean()) if len(self.values) == len(other.values) else None


@dataclass(frozen=True, kw_only=True)
class ParametersResult(StudyResult):
    """Four runs, with the parameters and hyperparameters of the first.

    Attributes:
        runs: a first run, a repetition, a run with another seed, and a run with another width.
        parameters: tensors that the first run learned.
        hyperparameters: settings of the first run, by name.
    """

    claim: ClassVar[str] = (
        "Training changes the parameters alone; hyperparameters are chosen before it, and decide how many parameters "
        "there are and, the seed among them, to the last bit what they become."
    )
    runs: tuple[Run, ...]
    parameters: tuple[LearnedTensor, ...]
    hyperparameters: dict[str, object]

    @property
    def holds(self) -> bool:
        """True if equal hyperparameters give equal bytes, another seed other values, and the counts are right."""
        first, again, reseeded, wider = self.runs
        counted = all(len(run.values) == run.closed_form for run in self.runs)
        same = first.values.tobytes() == again.values.tobytes()
        share = reseeded.equal_to(first)
        listed = sum(tensor.parameters for tensor in self.parameters) == len(first.values)
        return counted and same and listed and share is not None and share < 0.1 and wider.equal_to(first) is None

    @property
    def verdict(self) -> str:
        """The counts, and the share of equal parameters."""
        first, _, reseeded, wider = self.runs
        share = reseeded.equal_to(first) or 0.0
        return (
            f"{len(self.hyperparameters)} hyperparameters and {len(first.values)} parameters; the same hyperparameters "
            f"again gave the same {len(first.values)} numbers to the bit, another seed {share:.0%} of them, and "
            f"{wider.width} hidden units in place of {first.width} gave {len(wider.values)} parameters"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the parameters, the hyperparameters and the runs."""
        learned = StudyTable(
            title="Learned: the parameters of the first run",
            columns=("tensor", "shape", "parameters", "mean", "least", "greatest"),
            rows=tuple(
                (t.name, " × ".join(map(str, t.shape)), t.parameters, t.mean, t.least, t.most) for t in self.parameters
            ),
        )
        chosen = StudyTable(
            title="Chosen: the hyperparameters of the first run",
            columns=("hyperparameter", "value"),
            rows=tuple((name, _shown(value)) for name, value in self.hyperparameters.items()),
        )
        first = self.runs[0]
        runs = StudyTable(
            title="Runs",
            columns=("run", "seed", "hidden units", "parameters", "as in first", "accuracy"),
            rows=tuple((r.label, r.seed, r.width, len(r.values), r.equal_to(first), r.accuracy) for r in self.runs),
        )
        return learned, chosen, runs

    def draw(self, figure: Figure) -> None:
        """Draws each parameter of the first run against its value in other runs, and the parameter count by width."""
        from training.plotting.style import BLUE, GREY, ORANGE, label

        left, right = figure.subplots(1, 2)
        first, again, reseeded, _ = self.runs
        ends = [first.values.min(), first.values.max()]
        left.plot(ends, ends, color=GREY, linewidth=0.8)
        left.plot(first.values, again.values, "o", color=BLUE, label="the same hyperparameters")
        left.plot(first.values, reseeded.values, "s", color=ORANGE, alpha=0.7, label="another seed")
        left.legend()
        label(left, title="Each parameter of two runs", x="first run", y="other run")
        widths = (2, 4, 8, 16, 32)
        counts = [(_SIZES[0] + 1) * width + (width + 1) * _SIZES[1] for width in widths]
        bars = right.bar([str(width) for width in widths], counts, color=BLUE, width=0.6)
        right.bar_label(bars)
        right.grid(visible=False, axis="x")
        label(right, title="A hyperparameter decides how many there are", x="hidden units", y="parameters")


def run(*, seed: int = 0, quick: bool = False) -> ParametersResult:
    """Trains on iris four times, with the same hyperparameters or one changed.

    Args:
        seed: seed of the first run; the other seed is this plus 1.
        quick: True for fewer epochs.
    """
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    first = fit_plain("iris", hidden_sizes=(WIDTH,), epochs=epochs, seed=seed)
    runs = [_run_of(first, label="first", width=WIDTH, seed=seed)]
    for label, width, own_seed in (
        ("the same again", WIDTH, seed),
        ("another seed", WIDTH, seed + 1),
        ("another width", WIDER, seed),
    ):
        model = fit_plain("iris", hidden_sizes=(width,), epochs=epochs, seed=own_seed)
        runs.append(_run_of(model, label=label, width=width, seed=own_seed))
    return ParametersResult(
        runs=tuple(runs),
        parameters=parameters_of(first.checkpoint),
        hyperparameters=hyperparameters_of(first.checkpoint),
    )


def _run_of(model: FittedModel, *, label: str, width: int, seed: int) -> Run:
    tensors = model.checkpoint.tensors
    values = np.concatenate([tensors[tensor.name].ravel() for tensor in parameters_of(model.checkpoint)])
    return Run(label=label, width=width, seed=seed, values=values, accuracy=model.metrics["test"]["accuracy"])


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


STUDY = Study(
    name="parameters",
    about="what is learned in a run, and what was chosen before it?",
    claim=ParametersResult.claim,
    run=run,
)
