"""Study `width-depth`: accuracy, parameters and latency over a grid of widths and depths, on handwritten digits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from models.network.inference_network import InferenceNetwork
from training.studies.plain_fit import fit_plain
from training.studies.steps import steps
from training.studies.study import Study, StudyOption, StudyResult, StudyTable, check_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS, DEPTHS = (2, 8, 32, 128), (1, 2, 4, 8)
_QUICK_WIDTHS, _QUICK_DEPTHS = (2, 32), (1, 3)
_EPOCHS, _QUICK_EPOCHS = 20, 5
_BATCH_ROWS = 256
_REPEATS = 30

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One shape, trained and measured.

    Attributes:
        width, depth: number of hidden units per layer, and number of hidden layers.
        accuracy: accuracy on the test part.
        test_rows: number of rows of the test part.
        parameters: number of parameters by the closed form, `MLPConfig.parameter_count`.
        stored: number of values in the tensors of the checkpoint.
        row_microseconds: shortest of 30 times of one row through the NumPy reference of the fused network, in µs.
        batch_microseconds: shortest of 30 times of 256 rows at once, in µs.
    """

    width: int
    depth: int
    accuracy: float
    test_rows: int
    parameters: int
    stored: int
    row_microseconds: float
    batch_microseconds: float


@dataclass(frozen=True, kw_only=True)
class WidthDepthResult(StudyResult):
    """The shapes of the grid, by depth and then by width."""

    claim: ClassVar[str] = (
        "Width buys accuracy until there is enough of it, and depth does not make up for too little; parameters are "
        "(n_in + 1)·n_out summed over the layers."
    )
    shapes: tuple[Shape, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the grid."""
        return tuple(dict.fromkeys(shape.width for shape in self.shapes))

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths of the grid."""
        return tuple(dict.fromkeys(shape.depth for shape in self.shapes))

    def at(self, width: int, depth: int) -> Shape:
        """Returns the shape of a width and a depth."""
        return next(shape for shape in self.shapes if (shape.width, shape.depth) == (width, depth))

    @property
    def holds(self) -> bool:
        """True if the closed form counts the stored parameters, and the largest width beats the smallest everywhere.

        Times have no part in this: they depend on the machine and on its other work.
        """
        narrow, wide = self.widths[0], self.widths[-1]
        return all(shape.parameters == shape.stored for shape in self.shapes) and all(
            self.at(wide, depth).accuracy > self.at(narrow, depth).accuracy for depth in self.depths
        )

    @property
    def verdict(self) -> str:
        """The best shape, and the deepest network of the smallest width."""
        best = max(self.shapes, key=lambda shape: shape.accuracy)
        deep = self.at(self.widths[0], self.depths[-1])
        return (
            f"Best {best.accuracy:.1%} with {best.depth} hidden layer{'s' * (best.depth > 1)} of {best.width} "
            f"({best.parameters:,} parameters); {deep.depth} of {deep.width} reach {deep.accuracy:.1%}"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the figures of each shape."""
        columns = ("depth", "width", "test accuracy", "parameters", "stored", "1 row, µs", f"{_BATCH_ROWS} rows, µs")
        rows = tuple(
            (s.depth, s.width, s.accuracy, s.parameters, s.stored, s.row_microseconds, s.batch_microseconds)
            for s in self.shapes
        )
        title = f"Digits 64-(width × depth)-10, ReLU; accuracy on {self.shapes[0].test_rows} rows"
        return (StudyTable(title=title, columns=columns, rows=rows),)

    def draw(self, figure: Figure) -> None:
        """Draws accuracy, time of one row and time of many rows against the number of parameters."""
        from training.plotting.style import COLOURS, label

        axes = figure.subplots(1, 3)
        for depth, colour, marker in zip(self.depths, COLOURS, "os^Dv*", strict=False):
            own = [self.at(width, depth) for width in self.widths]
            parameters = [shape.parameters for shape in own]
            how = {"color": colour, "marker": marker, "label": f"{depth}"}
            axes[0].plot(parameters, [shape.accuracy for shape in own], **how)
            axes[1].plot(parameters, [shape.row_microseconds for shape in own], **how)
            axes[2].plot(parameters, [shape.batch_microseconds for shape in own], **how)
        for ax in axes:
            ax.set_xscale("log")
        axes[0].set_ylim(0, 1.02)
        axes[1].set_ylim(0)
        axes[2].set_yscale("log")
        axes[0].legend(title="hidden layers", loc="lower right")
        label(axes[0], title="Accuracy", x="parameters", y="test accuracy")
        label(axes[1], title="One row, fused", x="parameters", y="µs")
        label(axes[2], title=f"{_BATCH_ROWS} rows, fused", x="parameters", y="µs")


def run(
    *,
    seed: int = 0,
    quick: bool = False,
    widths: tuple[int, ...] | None = None,
    depths: tuple[int, ...] | None = None,
    clock: Clock = time.perf_counter,
) -> WidthDepthResult:
    """Trains each shape on the digits and times the fused network, as in serving.

    Args:
        seed: seed of the split, the weights and the order of rows.
        quick: True for fewer shapes and epochs.
        widths: numbers of hidden units per layer, 1 to 1024; two or more.
        depths: numbers of hidden layers, 1 to 16; two or more.
        clock: clock of the time measurements, in seconds.

    Raises:
        ConfigError: a width or depth is impossible; the message names it.
    """
    wide = check_numbers("widths", widths or (_QUICK_WIDTHS if quick else WIDTHS), least=1, most=1024)
    deep = check_numbers("depths", depths or (_QUICK_DEPTHS if quick else DEPTHS), least=1, most=16)
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    return WidthDepthResult(
        shapes=tuple(
            _run_shape(width, depth, seed=seed, epochs=epochs, clock=clock)
            for width, depth in steps([(width, depth) for depth in deep for width in wide])
        )
    )


def _run_shape(width: int, depth: int, *, seed: int, epochs: int, clock: Clock) -> Shape:
    model = fit_plain("digits", hidden_sizes=(width,) * depth, epochs=epochs, seed=seed)
    checkpoint, test = model.checkpoint, model.metrics["test"]
    network = checkpoint.inference_network()
    return Shape(
        width=width,
        depth=depth,
        accuracy=float(test["accuracy"]),
        test_rows=int(test["rows"]),
        parameters=checkpoint.config.parameter_count,
        stored=sum(tensor.size for tensor in checkpoint.tensors.values()),
        row_microseconds=_microseconds(network, 1, clock),
        batch_microseconds=_microseconds(network, _BATCH_ROWS, clock),
    )


def _microseconds(network: InferenceNetwork, rows: int, clock: Clock) -> float:
    """Returns the shortest time of several forward passes, since other work of the machine delays some passes."""
    x = np.ones((rows, network.in_features), dtype=np.float32)
    fastest = float("inf")
    for _ in range(_REPEATS):
        start = clock()
        network.forward(x)
        fastest = min(fastest, clock() - start)
    return 1e6 * fastest


STUDY = Study(
    name="width-depth",
    about="what do wider and deeper networks gain, and cost?",
    claim=WidthDepthResult.claim,
    run=run,
    options=(
        StudyOption(name="widths", kind="numbers", about="hidden units a layer (default: 2,8,32,128)"),
        StudyOption(name="depths", kind="numbers", about="hidden layers (default: 1,2,4,8)"),
    ),
)
