"""Study `neuron`: the biological and the artificial neuron, and the functions that one neuron can compute.

McCulloch & Pitts 1943, A logical calculus of the ideas immanent in nervous activity, modelled a neuron as a threshold
over a sum; in Rosenblatt 1958, The perceptron, the neuron learns its weights. The numbers of Boolean functions that one
threshold unit computes (14, 104, 1,882, …) are Muroga's 1971, Threshold logic and its applications.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from training.studies.parity import all_rows
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INPUTS, WEIGHTS, BIAS = (1.0, 0.5, 2.0), (0.8, -1.2, 0.4), -0.5
THRESHOLD_FUNCTIONS = {1: 4, 2: 14, 3: 104, 4: 1882}  # their number by n, out of 2^(2ⁿ) functions of n bits
_MOST_BITS, _QUICK_BITS = 4, 3
_GREATEST_WEIGHT = 3  # enough for all threshold functions of up to four bits: the counts confirm this
_RANDOM_NEURONS = 200
_NAMES = {
    "0000": "never",
    "0001": "AND",
    "0010": "x1 and not x2",
    "0011": "x1",
    "0100": "x2 and not x1",
    "0101": "x2",
    "0110": "XOR",
    "0111": "OR",
    "1000": "NOR",
    "1001": "XNOR",
    "1010": "NOT x2",
    "1011": "x1 or not x2",
    "1100": "NOT x1",
    "1101": "x2 or not x1",
    "1110": "NAND",
    "1111": "always",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Neuron:
    """An artificial neuron with weights and a bias.

    Attributes:
        weights: weight of each input.
        bias: number added to the weighted sum.
    """

    weights: tuple[float, ...]
    bias: float

    def products(self, inputs: tuple[float, ...]) -> tuple[float, ...]:
        """Multiplies each input with its weight."""
        return tuple(w * x for w, x in zip(self.weights, inputs, strict=True))

    def sum(self, inputs: tuple[float, ...]) -> float:
        """Computes z = w·x + b."""
        return sum(self.products(inputs)) + self.bias

    def fires(self, inputs: tuple[float, ...]) -> bool:
        """Returns True if z is at least 0, the answer of a threshold unit."""
        return self.sum(inputs) >= 0

    def outputs(self, inputs: tuple[float, ...]) -> dict[str, float]:
        """Returns the outputs f(z), by the name of the activation f."""
        z = self.sum(inputs)
        return {
            "step": float(z >= 0),
            "sigmoid": 1 / (1 + math.exp(-z)),
            "tanh": math.tanh(z),
            "relu": max(z, 0.0),
        }


@dataclass(frozen=True, kw_only=True)
class NeuronResult(StudyResult):
    """One neuron with numbers, and the functions that one neuron can compute.

    Attributes:
        neuron: neuron in the drawing.
        inputs: inputs of that neuron.
        off_layer: greatest difference between 200 random neurons and a layer of `NumpyMLP` with the same weights.
        functions: neuron that computes the function, or None, by truth table of two bits in the order of `_NAMES`.
        counts: number of Boolean functions that one threshold unit computes, by number of bits.
    """

    claim: ClassVar[str] = (
        "A neuron answers f(w·x + b), a weighted sum and an activation; with a threshold it computes 14 of the 16 "
        "functions of two bits, and neither XOR nor its negation."
    )
    neuron: Neuron
    inputs: tuple[float, ...]
    off_layer: float
    functions: dict[str, Neuron | None]
    counts: dict[int, int]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the functions of two bits that no neuron computes."""
        return tuple(_NAMES[table] for table, neuron in self.functions.items() if neuron is None)

    @property
    def holds(self) -> bool:
        """True if neurons equal the units of a layer, and the numbers of functions are those of the theory."""
        known = all(count == THRESHOLD_FUNCTIONS[bits] for bits, count in self.counts.items())
        return self.off_layer < 1e-12 and self.missing == ("XOR", "XNOR") and known

    @property
    def verdict(self) -> str:
        """The answer of the neuron, and the counts."""
        counts = ", ".join(f"{count:,} of {2**2**bits:,}" for bits, count in self.counts.items())
        return (
            f"The neuron sums {self.neuron.sum(self.inputs):g} and answers "
            f"{self.neuron.outputs(self.inputs)['sigmoid']:.4f} (sigmoid); a layer's units differ from such neurons by "
            f"at most {self.off_layer:.1g}; functions of {min(self.counts)} to {max(self.counts)} bits that one "
            f"threshold unit computes: {counts}; of two bits, not {' and '.join(self.missing)}"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the parts, the numbers, the functions of two bits and the counts."""
        z = self.neuron.sum(self.inputs)
        outputs = self.neuron.outputs(self.inputs)
        x, w = (", ".join(f"{number:g}" for number in numbers) for numbers in (self.inputs, self.neuron.weights))
        parts = StudyTable(
            title="The parts of a neuron",
            columns=("biological", "what it does", "artificial", "here"),
            rows=(
                ("dendrites", "take up signals", "inputs x", x),
                ("synapses", "strengthen or inhibit", "weights w", w),
                ("soma", "gathers what arrives", "sum w·x + b", f"{z:g}"),
                ("axon hillock", "fires above a threshold", "bias, activation", f"{self.neuron.bias:g}, sigmoid"),
                ("axon", "carries the spike on", "output f(z)", f"{outputs['sigmoid']:.4f}"),
                ("axon terminals", "reach the next neurons", "next layer's inputs", "…"),
            ),
        )
        products = self.neuron.products(self.inputs)
        steps = [
            (f"w{i} · x{i}", f"{w:g} · {x:g}", product)
            for i, (w, x, product) in enumerate(zip(self.neuron.weights, self.inputs, products, strict=True), 1)
        ]
        steps += [("w·x", "their sum", sum(products)), ("z = w·x + b", f"plus the bias {self.neuron.bias:g}", z)]
        steps += [(f"{name}(z)", "output, if that is the activation", value) for name, value in outputs.items()]
        numbers = StudyTable(title="One neuron, step by step", columns=("step", "is", "value"), rows=tuple(steps))
        functions = StudyTable(
            title="The 16 functions of two bits, as one threshold unit: 1 where w1·x1 + w2·x2 + b ≥ 0",
            columns=("function", "at 00 01 10 11", "w1", "w2", "b"),
            rows=tuple(
                (_NAMES[table], " ".join(table), *((*n.weights, n.bias) if n is not None else (None, None, None)))
                for table, n in self.functions.items()
            ),
        )
        counts = StudyTable(
            title="Functions of n bits that one threshold unit computes",
            columns=("bits", "functions", "of one neuron", "share"),
            rows=tuple((bits, 2**2**bits, count, count / 2**2**bits) for bits, count in self.counts.items()),
        )
        return parts, numbers, functions, counts

    def draw(self, figure: Figure) -> None:
        """Draws the biological neuron above the artificial one, with corresponding parts aligned."""
        figure.set_size_inches(10, 6)
        top, bottom = figure.subplots(2, 1)
        _draw_biological(top)
        _draw_artificial(bottom, self.neuron, self.inputs)
        for axes in (top, bottom):
            axes.set(xlim=(0, 10), ylim=(-2.1, 2.1), xticks=[], yticks=[], aspect="equal")
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        top.set_title("A biological neuron, simplified")
        bottom.set_title("An artificial neuron, with numbers")


def run(*, seed: int = 0, quick: bool = False) -> NeuronResult:
    """Computes one neuron, compares random neurons with a layer, and counts the functions of one neuron.

    Args:
        seed: seed of the random neurons.
        quick: True for up to 3 bits instead of 4.
    """
    found = {bits: threshold_functions(bits) for bits in range(1, (_QUICK_BITS if quick else _MOST_BITS) + 1)}
    return NeuronResult(
        neuron=Neuron(weights=WEIGHTS, bias=BIAS),
        inputs=INPUTS,
        off_layer=_off_layer(np.random.default_rng(seed)),
        functions={table: found[2].get(table) for table in _NAMES},
        counts={bits: len(neurons) for bits, neurons in found.items()},
    )


def threshold_functions(bits: int) -> dict[str, Neuron]:
    """Finds each function of n bits that a unit with small whole weights computes: truth table → neuron.

    A truth table lists the answers at 00…0, 00…1, …, 11…1. With biases of ½, 1½, …, no row lies on the threshold.
    """
    rows = all_rows(bits)  # (2ⁿ, n)
    found: dict[str, Neuron] = {}
    every = itertools.product(range(-_GREATEST_WEIGHT, _GREATEST_WEIGHT + 1), repeat=bits)
    for weights in sorted(every, key=lambda w: sum(map(abs, w))):  # smallest weights first
        sums = rows @ np.array(weights)  # (2ⁿ,)
        for threshold in range(sums.min(), sums.max() + 2):
            table = "".join("01"[fires] for fires in (sums >= threshold).astype(int))
            if table not in found:
                found[table] = Neuron(weights=tuple(map(float, weights)), bias=0.5 - threshold)
    return found


def _off_layer(rng: np.random.Generator) -> float:
    """Returns the greatest difference between neurons computed one by one and a layer with the same weights."""
    config = MLPConfig(layer_sizes=(3, _RANDOM_NEURONS), output="linear")
    weights, biases = rng.normal(size=(_RANDOM_NEURONS, 3)), rng.normal(size=_RANDOM_NEURONS)
    x = rng.normal(size=3)
    tensors = {"layers.0.weight": weights, "layers.0.bias": biases}
    layer = NumpyMLP.from_tensors(config, tensors, dtype=np.float64).forward(x[None, :])[0]  # (200,)
    inputs = tuple(x.tolist())
    single = [
        Neuron(weights=tuple(w.tolist()), bias=float(b)).sum(inputs) for w, b in zip(weights, biases, strict=True)
    ]
    return float(np.abs(layer - np.array(single)).max())


def _draw_biological(axes: Axes) -> None:
    from matplotlib.patches import Ellipse, FancyBboxPatch

    from training.plotting.style import BLUE, INK, ORANGE, PALE, TINTS

    for height in (1.3, 0.0, -1.3):  # dendrites, each with two twigs and a synapse at each end
        axes.plot([1.2, 2.2, 3.2], [height, 0.8 * height, 0.3 * height], color=BLUE, linewidth=3)
        for twig in (0.35, -0.35):
            axes.plot([0.7, 1.3], [height + twig, height], color=BLUE, linewidth=1.6)
            axes.plot(0.62, height + twig, "o", color=ORANGE, markersize=6)
    axes.add_patch(Ellipse((3.7, 0), 1.7, 1.5, facecolor=TINTS[0], edgecolor=BLUE, linewidth=1.6))
    axes.add_patch(Ellipse((3.6, 0), 0.5, 0.5, facecolor=BLUE, edgecolor="none", alpha=0.6))
    axes.plot([4.5, 8.1], [0, 0], color=BLUE, linewidth=3)
    for start in (5.1, 6.05, 7.0):
        sheath = FancyBboxPatch(
            (start, -0.14), 0.65, 0.28, boxstyle="round,pad=0.05", facecolor=PALE, edgecolor=INK, linewidth=0.6
        )
        axes.add_patch(sheath)
    for height in (0.9, 0.0, -0.9):
        axes.plot([8.1, 8.9], [0, height], color=BLUE, linewidth=1.8)
        axes.plot(9.0, height, "o", color=ORANGE, markersize=7)
    for x, y, text in (
        (0.1, 1.95, "synapses"),
        (1.9, 1.45, "dendrites"),
        (3.35, -1.05, "soma"),
        (4.35, 0.75, "axon hillock"),
        (6.0, 0.45, "axon"),
        (8.3, 1.35, "axon terminals"),
    ):
        axes.text(x, y, text, color=INK)


def _draw_artificial(axes: Axes, neuron: Neuron, inputs: tuple[float, ...]) -> None:
    from matplotlib.patches import Circle

    from training.plotting.style import BLUE, INK, ORANGE, TINTS

    arrow = {"arrowstyle": "->", "color": BLUE, "linewidth": 1.6}
    for i, (height, x, w) in enumerate(zip((1.3, 0.0, -1.3), inputs, neuron.weights, strict=True), 1):
        axes.text(0.62, height, f"x{i} = {x:g}", ha="center", va="center", color=INK)
        axes.annotate("", (2.95, 0.3 * height), (1.15, height), arrowprops=arrow)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(2.0, 0.67 * height, f"w{i} = {w:g}", ha="center", va="center", color=ORANGE, bbox=box)
    axes.add_patch(Circle((3.7, 0), 0.75, facecolor=TINTS[0], edgecolor=BLUE, linewidth=1.6))
    axes.text(3.7, 0, f"w·x + b\n= {neuron.sum(inputs):g}", ha="center", va="center", color=INK)
    axes.text(3.7, -1.15, f"bias b = {neuron.bias:g}", ha="center", color=ORANGE)
    axes.annotate("", (5.2, 0), (4.45, 0), arrowprops=arrow)
    axes.add_patch(Circle((5.75, 0), 0.55, facecolor="white", edgecolor=BLUE, linewidth=1.6))
    axes.text(5.75, 0, "f", ha="center", va="center", color=INK, fontsize=12)
    axes.text(5.75, 0.75, "activation", ha="center", color=INK)
    axes.annotate("", (8.1, 0), (6.3, 0), arrowprops=arrow)
    axes.text(7.2, 0.15, f"f(z) = {neuron.outputs(inputs)['sigmoid']:.4f}", ha="center", color=INK)
    for height in (0.9, 0.0, -0.9):
        axes.annotate("", (9.0, height), (8.1, 0), arrowprops=arrow)
    axes.text(8.3, 1.15, "next layer's inputs", color=INK, ha="center")


STUDY = Study(
    name="neuron",
    about="what does an artificial neuron take from a biological one, and what can one compute?",
    claim=NeuronResult.claim,
    run=run,
)
