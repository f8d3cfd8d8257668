"""Study `approximation`: the error of one hidden layer falls with the width, by construction and by training.

Cybenko 1989, Approximation by superpositions of a sigmoidal function, and Hornik 1991, Approximation capabilities of
multilayer feedforward networks: one hidden layer approximates a continuous function to any accuracy, if it is wide
enough. For ReLU in one dimension, the weights can be constructed: the network joins points of the function at equal
distances h by straight lines, so for a twice differentiable function its error is at most h²/8 · max|f″|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from training.studies.joined_points import joined
from training.studies.steps import steps
from training.studies.study import Study, StudyOption, StudyResult, StudyTable, check_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS, _QUICK_WIDTHS = (1, 2, 4, 8, 16, 32, 64), (1, 4, 16)
MAX_WIDTH = 1024
CURVATURE = 12.5 * np.pi**2  # max|f″| on [-1, 1], at both ends
_TRAINING_POINTS, _MEASURED_POINTS = 257, 4001
_LBFGS_STEPS = 250


def target(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the function to approximate, sin 2πx + ½x·cos 5πx, for any shape of x."""
    return np.sin(2 * np.pi * x) + 0.5 * x * np.cos(5 * np.pi * x)


@dataclass(frozen=True, kw_only=True, slots=True)
class WidthRun:
    """Networks of one width.

    Attributes:
        width: number of hidden units.
        constructed: greatest error of the ReLU network with constructed weights.
        bound: upper bound of that error, by the theorem.
        trained: root mean squared error of the best trained tanh network, by training error.
        trained_most: greatest error of that network.
        fit: (4001,) values of that network over [-1, 1].
    """

    width: int
    constructed: float
    bound: float
    trained: float
    trained_most: float
    fit: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ApproximationResult(StudyResult):
    """The errors by width, each trained error the best of `tries` runs."""

    claim: ClassVar[str] = (
        "One hidden layer approaches a smooth function as it widens: written down, within h²/8·max|f″| "
        "everywhere; trained, with an error that falls with the width."
    )
    runs: tuple[WidthRun, ...]
    tries: int

    @property
    def holds(self) -> bool:
        """True if constructed errors keep the bound, and both errors are smaller at the largest width.

        The trained error must fall by more than the square root of the ratio of the widths. It need not fall at each
        width, since training may find a worse network at a larger width.
        """
        narrow, wide = self.runs[0], self.runs[-1]
        return all(run.constructed <= run.bound for run in self.runs) and (
            wide.constructed < narrow.constructed and wide.trained < narrow.trained * (narrow.width / wide.width) ** 0.5
        )

    @property
    def verdict(self) -> str:
        """Both errors at the smallest and the largest width."""
        narrow, wide = self.runs[0], self.runs[-1]
        return (
            f"From {narrow.width} to {wide.width} hidden units the trained error (RMS) falls from {narrow.trained:.3g} "
            f"to {wide.trained:.3g}, the constructed one (greatest) from {narrow.constructed:.3g} to "
            f"{wide.constructed:.3g}"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the errors by width."""
        columns = ("hidden units", "constructed, greatest", "bound h²/8·max|f″|", "trained, RMS", "trained, greatest")
        rows = tuple((r.width, r.constructed, r.bound, r.trained, r.trained_most) for r in self.runs)
        title = f"Error on [-1, 1]: ReLU by construction, tanh by training (best of {self.tries})"
        return (StudyTable(title=title, columns=columns, rows=rows),)

    def draw(self, figure: Figure) -> None:
        """Draws the error against width on the left, and the function with three trained networks on the right."""
        from training.plotting.style import BLUE, COLOURS, GREY, INK, ORANGE, label, whole_ticks

        left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
        widths = tuple(run.width for run in self.runs)
        left.plot(widths, [r.bound for r in self.runs], "--", color=GREY, linewidth=1.2, label="bound h²/8·max|f″|")
        left.plot(widths, [r.constructed for r in self.runs], "s-", color=ORANGE, label="ReLU, constructed: greatest")
        left.plot(
            widths, [r.trained_most for r in self.runs], "o--", color=BLUE, alpha=0.6, label="tanh, trained: greatest"
        )
        left.plot(widths, [r.trained for r in self.runs], "o-", color=BLUE, label="tanh, trained: RMS")
        left.set(xscale="log", yscale="log")
        whole_ticks(left, widths)
        left.legend(loc="lower left")
        label(left, title="Error against width", x="hidden units", y="error")
        x = np.linspace(-1, 1, _MEASURED_POINTS)
        right.plot(x, target(x), color=INK, linewidth=3, alpha=0.25, label="the function")
        chosen = {self.runs[i].width: self.runs[i] for i in (0, len(self.runs) // 2, -1)}
        for run, colour, line in zip(chosen.values(), COLOURS[1:], ("--", "-.", "-"), strict=False):
            right.plot(x, run.fit, line, color=colour, linewidth=1.3, label=f"{run.width} unit{'s' * (run.width > 1)}")
        right.set_ylim(-1.9, 1.9)
        right.legend(loc="upper center", ncols=4, columnspacing=1.2, handlelength=1.8)
        label(right, title="The function, and trained networks", x="x", y="value")


def run(*, seed: int = 0, quick: bool = False, widths: tuple[int, ...] | None = None) -> ApproximationResult:
    """Builds and trains networks of each width.

    Args:
        seed: seed of the initial weights.
        quick: True for fewer widths, with one run each.
        widths: numbers of hidden units, 1 to 1024; two or more.

    Raises:
        ConfigError: a width is impossible; the message names it.
    """
    chosen = check_numbers("widths", widths or (_QUICK_WIDTHS if quick else WIDTHS), least=1, most=MAX_WIDTH)
    tries = 1 if quick else 3
    return ApproximationResult(runs=tuple(_run_width(w, seed=seed, tries=tries) for w in steps(chosen)), tries=tries)


def interpolator(width: int) -> tuple[MLPConfig, Mapping[str, NDArray[np.float64]]]:
    """Constructs the ReLU network that joins width + 1 points of the function at equal distances on [-1, 1].

    Unit i becomes active at the i-th point and adds the change of slope there; the last bias is f(-1).
    """
    knots = np.linspace(-1, 1, width + 1)  # (width + 1,)
    return joined(knots, target(knots))


def _run_width(width: int, *, seed: int, tries: int) -> WidthRun:
    x = np.linspace(-1, 1, _MEASURED_POINTS)[:, None]  # (4001, 1)
    config, tensors = interpolator(width)
    constructed = NumpyMLP.from_tensors(config, tensors, dtype=np.float64).forward(x)  # (4001, 1)
    _, trained = min((_train(width, seed=seed * 1000 + i) for i in range(tries)), key=lambda pair: pair[0])
    fit = trained.forward(x)  # (4001, 1)
    return WidthRun(
        width=width,
        constructed=float(np.abs(constructed - target(x)).max()),
        bound=(2 / width) ** 2 / 8 * CURVATURE,
        trained=float(np.sqrt(np.square(fit - target(x)).mean())),
        trained_most=float(np.abs(fit - target(x)).max()),
        fit=fit[:, 0].astype(np.float64),
    )


def _train(width: int, *, seed: int) -> tuple[float, NumpyMLP]:
    """Trains tanh units, spread over the interval, with L-BFGS; returns the final squared error and the network.

    L-BFGS (Liu & Nocedal 1989, On the limited memory BFGS method for large scale optimization) finds the minimum of
    such a small problem in far fewer steps than gradient descent.
    """
    import torch

    from models.network.mlp import MLP

    rng = np.random.default_rng(seed)
    config = MLPConfig(layer_sizes=(1, width, 1), activation="tanh", output="linear")
    slopes, centres = rng.uniform(-8, 8, width), rng.uniform(-1, 1, width)  # tanh(slope·(x - centre))
    start = {
        "layers.0.weight": slopes[:, None],
        "layers.0.bias": -slopes * centres,
        "layers.1.weight": rng.normal(0, width**-0.5, (1, width)),
        "layers.1.bias": np.zeros(1),
    }
    network = MLP.from_tensors(config, start).double()
    network.load_tensors(start)  # a second time, in float64
    points = np.linspace(-1, 1, _TRAINING_POINTS)[:, None]  # (257, 1)
    x, y = torch.from_numpy(points), torch.from_numpy(target(points))  # both (257, 1)
    optimizer = torch.optim.LBFGS(
        network.parameters(),
        max_iter=_LBFGS_STEPS,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
    )

    def loss_with_gradients() -> float:
        optimizer.zero_grad()
        loss = torch.square(network(x) - y).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(loss_with_gradients)  # type: ignore[no-untyped-call]
    learned = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    numpy_network = NumpyMLP.from_tensors(config, learned, dtype=np.float64)
    return numpy_network.loss(points, target(points)), numpy_network


STUDY = Study(
    name="approximation",
    about="how does the error of one hidden layer fall as it widens?",
    claim=ApproximationResult.claim,
    run=run,
    options=(StudyOption(name="widths", kind="numbers", about="hidden units to try (default: 1,2,4,8,16,32,64)"),),
)
