"""Study `initialisation`: the variance of a signal forward through 30 layers, and of a gradient backward.

A layer of n inputs with weights of variance σ² multiplies the variance of its input by about nσ², and with ReLU, which
sets half of the units to 0, by half of that. Hence the variance 2/(n_in + n_out) for tanh (Glorot & Bengio 2010,
Understanding the difficulty of training deep feedforward neural networks) and 2/n_in for ReLU (He et al. 2015, Delving
deep into rectifiers). With other variances, the signal vanishes or explodes exponentially in depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.network.functional import ACTIVATIONS, DERIVATIVES
from training.studies.steps import steps
from training.studies.study import Study, StudyOption, StudyResult, StudyTable, check_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Nonlinearity = Literal["tanh", "relu"]
Fate = Literal["dead", "vanishes", "keeps", "explodes"]

LAYERS, WIDTH, _ROWS = 30, 256, 128
SMALL, LARGE = 0.01, 0.2  # standard deviations
# Bounds of the variance ratio for a kept signal, which may drift: the variance of a tanh network falls as one over the
# depth, to about a 60th after 30 layers. A vanishing or exploding signal is beyond the bounds by orders of magnitude.
KEPT = (1e-3, 1e3)
_NONLINEARITIES: tuple[Nonlinearity, ...] = ("tanh", "relu")
_CLAIMED: tuple[tuple[str, Nonlinearity, tuple[Fate, Fate]], ...] = (  # fates of signal and gradient
    ("zero", "tanh", ("dead", "dead")),
    ("zero", "relu", ("dead", "dead")),
    ("small", "tanh", ("vanishes", "vanishes")),
    ("small", "relu", ("vanishes", "vanishes")),
    ("xavier", "tanh", ("keeps", "keeps")),
    ("he", "tanh", ("keeps", "keeps")),
    ("xavier", "relu", ("vanishes", "vanishes")),
    ("he", "relu", ("keeps", "keeps")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Propagation:
    """The variances for one scheme and one nonlinearity.

    Attributes:
        scheme: name of the initialisation.
        activation: activation between the layers.
        std: standard deviation of the weights.
        forward: variance of the pre-activations z_l of each layer, from the first, over rows and units.
        backward: variance of the gradient for the input of each layer, ∂/∂h_l, from the first; the gradient of the
            output has variance 1.
    """

    scheme: str
    activation: Nonlinearity
    std: float
    forward: tuple[float, ...]
    backward: tuple[float, ...]

    @property
    def forward_fate(self) -> Fate:
        """The fate of the signal from the first layer to the last."""
        return _fate(self.forward[0], self.forward[-1])

    @property
    def backward_fate(self) -> Fate:
        """The fate of the gradient from the last layer to the first."""
        return _fate(self.backward[-1], self.backward[0])

    @property
    def fates(self) -> tuple[Fate, Fate]:
        """The fates of signal and gradient."""
        return self.forward_fate, self.backward_fate


@dataclass(frozen=True, kw_only=True)
class InitialisationResult(StudyResult):
    """The variances for every scheme and both nonlinearities."""

    claim: ClassVar[str] = (
        "Through many layers weights of the right variance keep signal and gradient alive: Xavier's or He's for tanh, "
        "only He's for ReLU; zero and small ones let them vanish, large ones let gradients explode."
    )
    propagations: tuple[Propagation, ...]

    def of(self, scheme: str, activation: Nonlinearity) -> Propagation:
        """Returns the variances of a scheme and a nonlinearity."""
        return next(p for p in self.propagations if (p.scheme, p.activation) == (scheme, activation))

    @property
    def holds(self) -> bool:
        """True if all cases of the claim have the claimed fates."""
        return all(self.of(scheme, activation).fates == fates for scheme, activation, fates in _CLAIMED) and all(
            self.of("large", activation).backward_fate == "explodes" for activation in _NONLINEARITIES
        )

    @property
    def verdict(self) -> str:
        """The ratios of variance for the last six cases of the claim."""
        parts = []
        for scheme, activation, _ in _CLAIMED[-6:]:
            seen = self.of(scheme, activation)
            parts.append(f"{scheme} with {activation} × {seen.forward[-1] / seen.forward[0]:.1e}")
        return f"Variance of the signal from the first layer to layer {len(seen.forward)}: {', '.join(parts)}"

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the variances in the first and last layer, and the fates."""
        layers = len(self.propagations[0].forward)
        columns = (
            "activation",
            "weights",
            "σ",
            "signal at 1",
            f"signal at {layers}",
            "signal",
            f"gradient at {layers}",
            "gradient at 1",
            "gradient",
        )
        rows = tuple(
            (
                p.activation,
                p.scheme,
                p.std,
                p.forward[0],
                p.forward[-1],
                p.forward_fate,
                p.backward[-1],
                p.backward[0],
                p.backward_fate,
            )
            for p in self.propagations
        )
        return (StudyTable(title=f"Variances in a network of {layers} layers", columns=columns, rows=rows),)

    def draw(self, figure: Figure) -> None:
        """Draws the variances of signal and gradient by layer, for both nonlinearities."""
        axes = figure.subplots(1, 4, sharey=True)
        for i, (activation, shown) in enumerate((("tanh", "tanh"), ("relu", "ReLU"))):
            chosen = [p for p in self.propagations if p.activation == activation and p.std > 0]
            _draw_variances(axes[2 * i], chosen, backward=False, title=f"{shown}: signal")
            _draw_variances(axes[2 * i + 1], chosen, backward=True, title=f"{shown}: gradient")
        axes[0].set_ylabel("variance")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def run(*, seed: int = 0, quick: bool = False, layers: int | None = None) -> InitialisationResult:
    """Propagates normal rows forward and a normal gradient backward through networks of each scheme.

    Args:
        seed: seed of rows, weights and gradients.
        quick: True for a narrower network.
        layers: number of layers of each network, 20 to 100.

    Raises:
        ConfigError: the number of layers is impossible; the message names it.
    """
    count = check_number("layers", LAYERS if layers is None else layers, least=20, most=100)
    width = WIDTH // 2 if quick else WIDTH
    schemes = {"zero": 0.0, "small": SMALL, "large": LARGE, "xavier": width**-0.5, "he": (2 / width) ** 0.5}
    rng = np.random.default_rng(seed)
    return InitialisationResult(
        propagations=tuple(
            _propagate(scheme, activation, std, layers=count, width=width, rng=rng)
            for activation in steps(_NONLINEARITIES)
            for scheme, std in schemes.items()
        )
    )


def _propagate(
    scheme: str, activation: Nonlinearity, std: float, *, layers: int, width: int, rng: np.random.Generator
) -> Propagation:
    function, derivative = ACTIVATIONS[activation], DERIVATIVES[activation]
    weights = [std * rng.normal(size=(width, width)) for _ in range(layers)]  # each (n_out, n_in)
    h = rng.normal(size=(_ROWS, width))
    z: list[NDArray[np.float64]] = []  # each (rows, width)
    for weight in weights:
        z.append(np.asarray(h @ weight.T, dtype=np.float64))
        h = np.asarray(function(z[-1]), dtype=np.float64)
    gradient = rng.normal(size=(_ROWS, width))  # gradient of the last layer's output
    backward: list[float] = []
    for weight, own in zip(reversed(weights), reversed(z), strict=True):
        gradient = (gradient * derivative(own)) @ weight  # through the nonlinearity, then the weights: (rows, n_in)
        backward.append(float(gradient.var()))
    return Propagation(
        scheme=scheme,
        activation=activation,
        std=std,
        forward=tuple(float(own.var()) for own in z),
        backward=tuple(reversed(backward)),
    )


def _fate(first: float, last: float) -> Fate:
    if last == 0:
        return "dead"
    low, high = KEPT
    return "vanishes" if last < low * first else "explodes" if last > high * first else "keeps"


def _draw_variances(ax: Axes, propagations: list[Propagation], *, backward: bool, title: str) -> None:
    from training.plotting.style import BLUE, GREEN, INK, ORANGE, PINK, label

    looks = {"small": (ORANGE, ":"), "large": (PINK, "-."), "xavier": (BLUE, "--"), "he": (GREEN, "-")}
    layers = range(1, len(propagations[0].forward) + 1)
    ax.axhline(1, color=INK, linewidth=0.8)
    for p in propagations:
        colour, line = looks[p.scheme]
        text = f"{p.scheme} (σ = {p.std:g})" if p.scheme in {"small", "large"} else p.scheme.capitalize()
        ax.plot(layers, p.backward if backward else p.forward, line, color=colour, label=text)
    # Beyond these limits, a curve continues in the same way; with small weights it ends near 1e-50.
    ax.set(yscale="log", ylim=(1e-16, 1e16))
    label(ax, title=title, x="layer" + (" (← from the last)" if backward else ""), y="")


STUDY = Study(
    name="initialisation",
    about="which first weights let a signal through 30 layers?",
    claim=InitialisationResult.claim,
    run=run,
    options=(StudyOption(name="layers", kind="number", about="of each network, 20 to 100 (default: 30)"),),
)
