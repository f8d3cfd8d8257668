"""Study `equivalence`: the MLP from scratch and the PyTorch MLP, trained from the same weights on the same batches.

Two programs without common arithmetic agree to the last digits of float64 only if both compute the same gradients. So
each verifies the other: backpropagation written by hand, and automatic differentiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import Activation, MLPConfig, Output
from models.network.numpy_mlp import NumpyMLP
from training.studies.steps import steps
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 1e-12  # relative to the loss
_LEARNING_RATE, _MOMENTUM, _WEIGHT_DECAY = 0.05, 0.9, 1e-3
_DRAWN = 80  # steps
_ROWS, _FEATURES, _BATCH = 240, 6, 24
CASES: tuple[tuple[Activation, Output, int], ...] = (
    ("tanh", "softmax", 3),
    ("relu", "softmax", 3),
    ("sigmoid", "linear", 2),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedRun:
    """Both networks on one problem.

    Attributes:
        config: architecture of both networks.
        numpy_losses, torch_losses: (steps,) loss of each batch, before the step.
        weight_difference: greatest difference between two corresponding weights at the end.
    """

    config: MLPConfig
    numpy_losses: NDArray[np.float64]
    torch_losses: NDArray[np.float64]
    weight_difference: float

    @property
    def differences(self) -> NDArray[np.float64]:
        """The relative difference of the losses, |numpy - torch| / torch, (steps,)."""
        return np.abs(self.numpy_losses - self.torch_losses) / self.torch_losses

    @property
    def name(self) -> str:
        """The name of the problem, in two words."""
        return f"{self.config.activation}, {self.config.output}"


@dataclass(frozen=True, kw_only=True)
class EquivalenceResult(StudyResult):
    """The runs of all problems."""

    claim: ClassVar[str] = (
        "From the same weights and batches, NumPy and PyTorch come to the same losses at every step, to the rounding "
        "of float64."
    )
    runs: tuple[PairedRun, ...]

    @property
    def holds(self) -> bool:
        """True if the losses of every step agree to a relative 1e-12, and training reduced the loss."""
        return all(
            run.differences.max() <= TOLERANCE and run.torch_losses[-1] < 0.9 * run.torch_losses[0] for run in self.runs
        )

    @property
    def verdict(self) -> str:
        """The greatest relative difference of the losses."""
        most = max(float(run.differences.max()) for run in self.runs)
        return f"The losses of {len(self.runs[0].torch_losses)} steps differ by at most {most:.1e} of themselves"

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the losses and differences of each problem."""
        columns = (
            "problem",
            "layers",
            "loss, first",
            "NumPy's last",
            "PyTorch's last",
            "greatest difference",
            "of weights",
        )
        rows = tuple(
            (
                run.name,
                "-".join(map(str, run.config.layer_sizes)),
                float(run.torch_losses[0]),
                float(run.numpy_losses[-1]),
                float(run.torch_losses[-1]),
                float(run.differences.max()),
                run.weight_difference,
            )
            for run in self.runs
        )
        steps = len(self.runs[0].torch_losses)
        title = f"{steps} steps of gradient descent with momentum and weight decay, float64; differences relative"
        return (StudyTable(title=title, columns=columns, rows=rows),)

    def draw(self, figure: Figure) -> None:
        """Draws both losses on the left, and the relative difference on the right."""
        from training.plotting.style import COLOURS, GREY, INK, label

        left, right = figure.subplots(1, 2)
        for run, colour in zip(self.runs, COLOURS, strict=False):
            steps = np.arange(len(run.torch_losses))
            left.plot(steps[:_DRAWN], run.torch_losses[:_DRAWN], color=colour, linewidth=5, alpha=0.3)
            left.plot(steps[:_DRAWN], run.numpy_losses[:_DRAWN], color=colour, linewidth=1, label=run.name)
            # A difference of 0 has no place on a logarithmic axis: it is drawn as a small number.
            shown = np.maximum(run.differences, np.finfo(np.float64).eps / 8)
            right.plot(steps, shown, ".", color=colour, markersize=3, alpha=0.7)
        left.set_yscale("log")
        left.legend(title="wide: PyTorch, thin: NumPy")
        right.axhline(TOLERANCE, color=INK, linestyle="--", linewidth=1.2, label="what is allowed")
        right.axhline(
            np.finfo(np.float64).eps, color=GREY, linestyle=":", linewidth=1.2, label="float64's spacing at 1"
        )
        right.text(0, 2e-17, "↑ equal to the last bit", va="top", fontsize=8.5, color=GREY)
        right.set(yscale="log", ylim=(8e-18, 1e-10))
        right.legend(loc="upper right", ncols=2)
        label(left, title=f"The loss of each batch, first {_DRAWN} steps", x="step", y="loss")
        label(right, title="How far apart, relative to the loss", x="step", y="relative difference")


def run(*, seed: int = 0, quick: bool = False) -> EquivalenceResult:
    """Trains both networks side by side on three problems.

    Args:
        seed: seed of data, weights and batches.
        quick: 100 steps instead of 500.
    """
    count = 100 if quick else 500
    rng = np.random.default_rng(seed)
    return EquivalenceResult(runs=tuple(_run_pair(*case, steps=count, rng=rng) for case in steps(CASES)))


def _run_pair(
    activation: Activation, output: Output, out_features: int, *, steps: int, rng: np.random.Generator
) -> PairedRun:
    import torch
    from torch.nn.functional import cross_entropy, mse_loss

    from models.network.mlp import MLP

    sizes = (_FEATURES, 16, 8, out_features)
    config = MLPConfig(layer_sizes=sizes, activation=activation, output=output, initialization="xavier")
    x = rng.normal(size=(_ROWS, _FEATURES))
    scores = np.tanh(x @ rng.normal(size=(_FEATURES, out_features)))  # (240, out_features)
    y = scores.argmax(axis=1) if output == "softmax" else scores  # (240,) classes, or values
    ours = NumpyMLP(config, rng=rng, dtype=np.float64)
    theirs = MLP.from_tensors(config, ours.parameters).double()
    theirs.load_tensors(ours.parameters)  # again, in float64
    optimizer = torch.optim.SGD(theirs.parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY)
    loss_of = cross_entropy if output == "softmax" else mse_loss
    ours_losses, theirs_losses = np.empty(steps), np.empty(steps)
    for step in range(steps):
        batch = rng.choice(_ROWS, size=_BATCH, replace=False)
        ours_losses[step], gradients = ours.loss_and_gradients(x[batch], y[batch])
        ours.update(gradients, _LEARNING_RATE, weight_decay=_WEIGHT_DECAY, momentum=_MOMENTUM)
        optimizer.zero_grad()
        loss = loss_of(theirs(torch.from_numpy(x[batch])), torch.from_numpy(y[batch]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        theirs_losses[step] = loss.item()
    state = theirs.state_dict()
    differences = (np.abs(state[name].numpy() - value).max() for name, value in ours.parameters.items())
    return PairedRun(
        config=config,
        numpy_losses=ours_losses,
        torch_losses=theirs_losses,
        weight_difference=float(max(differences)),
    )


STUDY = Study(
    name="equivalence",
    about="do backpropagation by hand and PyTorch's agree to the last digits?",
    claim=EquivalenceResult.claim,
    run=run,
)
