"""Study `linear`: a deep network without nonlinearity is one matrix, and is served as one.

W_k(… W₂(W₁x + b₁) + b₂ …) + b_k is affine in x for all k, so a deep network can do no more than one Linear layer.
`models/network/fuse.py` multiplies such layers into one if that is cheaper.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import Activation, MLPConfig
from models.network.functional import FloatArray
from models.network.fuse import fuse
from models.network.inference_network import Affine, InferenceNetwork
from models.network.numpy_mlp import NumpyMLP
from training.fitted_model import FittedModel
from training.studies.plain_fit import fit_plain
from training.studies.steps import steps
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = (1, 2, 4, 8, 16)
_IN, _WIDTH, _OUT, _ROWS = 8, 32, 4, 500
HIDDEN = (32, 32, 32)  # widths of the model for iris
# Tolerances for the rounding errors of half a unit in the last place, over sums of 32 products in 17 layers.
TOLERANCE_64, TOLERANCE_32 = 1e-12, 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthRun:
    """A network with random weights, with and without nonlinearity.

    Attributes:
        depth: number of Linear layers.
        product_error: greatest difference between the layers and the product of the matrices, in float64 and in
            standard deviations of the output.
        fused_error: greatest difference between the layers and the fused network, in float32 and in standard
            deviations of the output.
        stages: number of matrix products of the fused network.
        layered_multiply_adds, fused_multiply_adds: number of multiply-adds for one row, before and after fusing.
        relu_stages: number of matrix products of the fused network with ReLU between the layers.
        relu_unexplained: share of the ReLU network's output variance that the best single Linear does not explain.
    """

    depth: int
    product_error: float
    fused_error: float
    stages: int
    layered_multiply_adds: int
    fused_multiply_adds: int
    relu_stages: int
    relu_unexplained: float


@dataclass(frozen=True, kw_only=True)
class LinearResult(StudyResult):
    """Networks with random weights by depth, and a trained network.

    Attributes:
        runs: runs by depth.
        trained_layers: widths of the model that was trained on iris without nonlinearity.
        trained_stages: shape (out, in) of each matrix of the fused model.
        trained_accuracy: accuracy of the model on the test part.
    """

    claim: ClassVar[str] = (
        "However deep, a network without nonlinearity is one Linear, to rounding, and its checkpoint is served as one "
        "where that is cheaper."
    )
    runs: tuple[DepthRun, ...]
    trained_layers: tuple[int, ...]
    trained_stages: tuple[tuple[int, int], ...]
    trained_accuracy: float

    @property
    def holds(self) -> bool:
        """True if each network fuses to one stage, equal up to rounding, and does not with ReLU between the layers."""
        return self.trained_stages == ((self.trained_layers[-1], self.trained_layers[0]),) and all(
            run.stages == 1
            and run.product_error < TOLERANCE_64
            and run.fused_error < TOLERANCE_32
            and run.relu_stages == run.depth
            and (run.depth == 1 or run.relu_unexplained > 0.01)
            for run in self.runs
        )

    @property
    def verdict(self) -> str:
        """The greatest difference, and the fused shape of the trained model."""
        worst = max(run.product_error for run in self.runs)
        served = " and ".join(f"{n_in}→{n_out}" for n_out, n_in in self.trained_stages)
        return (
            f"Up to {self.runs[-1].depth} layers and their product differ by {worst:.1g} standard deviations of the "
            f"output (float64); {'-'.join(map(str, self.trained_layers))} trained on iris is served as one product "
            f"{served}, test accuracy {self.trained_accuracy:.1%}"
            if len(self.trained_stages) == 1
            else f"the network trained on iris is served as {len(self.trained_stages)} products: {served}"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the figures by depth."""
        columns = (
            "layers",
            "product − layers, float64",
            "fused − layers, float32",
            "products served",
            "multiply-adds a row",
            "fused",
            "with ReLU: products",
            "with ReLU: not linear",
        )
        rows = tuple(
            (
                run.depth,
                run.product_error,
                run.fused_error,
                run.stages,
                run.layered_multiply_adds,
                run.fused_multiply_adds,
                run.relu_stages,
                run.relu_unexplained,
            )
            for run in self.runs
        )
        return (StudyTable(title="Random networks 8-32-…-32-4 without nonlinearity", columns=columns, rows=rows),)

    def draw(self, figure: Figure) -> None:
        """Draws the differences on the left, and the multiply-adds on the right, by depth."""
        from training.plotting.style import BLUE, GREY, ORANGE, label, whole_ticks

        left, right = figure.subplots(1, 2)
        depths = tuple(run.depth for run in self.runs)
        # A difference of 0 has no place on a logarithmic axis: it is drawn as a small number.
        least_64, least_32 = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)
        left.plot(
            depths, [max(r.fused_error, least_32 / 4) for r in self.runs], "s-", color=ORANGE, label="float32, fused"
        )
        left.plot(
            depths, [max(r.product_error, least_64 / 4) for r in self.runs], "o-", color=BLUE, label="float64, product"
        )
        for least, name in ((least_32, "float32's spacing at 1"), (least_64, "float64's spacing at 1")):
            left.axhline(least, color=GREY, linestyle=":", linewidth=1.2)
            left.text(depths[-1], least / 2.5, name, ha="right", va="top", color=GREY, fontsize=8.5)
        left.set(xscale="log", yscale="log", ylim=(1e-18, 1e-3))
        left.legend(loc="center right")
        label(
            left,
            title="One Linear and the layers: how far apart",
            x="layers",
            y="greatest difference / output's spread",
        )
        layered, fused = [r.layered_multiply_adds for r in self.runs], [r.fused_multiply_adds for r in self.runs]
        right.plot(depths, layered, "s-", color=ORANGE, label="layer by layer")
        right.plot(depths, fused, "o-", color=BLUE, label="as it is served")
        right.set(xscale="log", yscale="log", ylim=(10, 1e5))
        right.legend(loc="upper left")
        label(right, title="Work for one row", x="layers", y="multiply-adds")
        for ax in (left, right):
            whole_ticks(ax, depths)


def run(*, seed: int = 0, quick: bool = False) -> LinearResult:
    """Multiplies the layers of random networks, and trains a model without nonlinearity on iris.

    Args:
        seed: seed of the random weights, and of the model's run.
        quick: True for fewer depths and epochs.
    """
    rng = np.random.default_rng(seed)
    runs = tuple(_run_depth(depth, rng) for depth in steps(DEPTHS[:3] if quick else DEPTHS))
    model = linear_model(seed=seed, epochs=5 if quick else 60)
    network = model.checkpoint.inference_network()
    return LinearResult(
        runs=runs,
        trained_layers=model.checkpoint.config.layer_sizes,
        trained_stages=tuple((len(stage.weight), stage.weight.shape[1]) for stage in _products(network)),
        trained_accuracy=float(model.metrics["test"]["accuracy"]),
    )


def linear_model(*, seed: int, epochs: int) -> FittedModel:
    """Trains a model on iris with three hidden layers and no nonlinearity, ready to publish."""
    return fit_plain("iris", hidden_sizes=HIDDEN, activation="identity", seed=seed, epochs=epochs)


def product(network: NumpyMLP) -> tuple[FloatArray, FloatArray]:
    """Returns weight (out, in) and bias (out,) of the affine map that the layers compute without nonlinearity."""
    weight, bias = np.eye(network.config.in_features), np.zeros(network.config.in_features)
    for i in range(len(network.config.layer_sizes) - 1):
        own = network.parameters[f"layers.{i}.weight"]
        weight, bias = own @ weight, own @ bias + network.parameters[f"layers.{i}.bias"]
    return weight, bias


def _run_depth(depth: int, rng: np.random.Generator) -> DepthRun:
    sizes = (_IN, *(_WIDTH,) * (depth - 1), _OUT)
    tensors: dict[str, NDArray[np.float64]] = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        tensors[f"layers.{i}.weight"] = rng.normal(0, n_in**-0.5, (n_out, n_in))
        tensors[f"layers.{i}.bias"] = rng.normal(0, 0.1, n_out)
    x = rng.normal(size=(_ROWS, _IN))
    config = _config(sizes, "identity")
    layered = NumpyMLP.from_tensors(config, tensors, dtype=np.float64)
    out = layered.forward(x)  # (500, 4)
    weight, bias = product(layered)
    fused = fuse(config, tensors)
    layered_32 = NumpyMLP.from_tensors(config, tensors, dtype=np.float32).forward(x.astype(np.float32))
    with_relu = NumpyMLP.from_tensors(_config(sizes, "relu"), tensors, dtype=np.float64).forward(x)
    spread = float(out.std())
    return DepthRun(
        depth=depth,
        product_error=float(np.abs(x @ weight.T + bias - out).max()) / spread,
        fused_error=float(np.abs(fused.forward(x.astype(np.float32)) - layered_32).max()) / spread,
        stages=len(_products(fused)),
        layered_multiply_adds=sum(layer.multiply_adds for layer in config.layers()),
        fused_multiply_adds=fused.multiply_adds,
        relu_stages=len(_products(fuse(_config(sizes, "relu"), tensors))),
        relu_unexplained=_unexplained(x, with_relu.astype(np.float64)),
    )


def _config(sizes: tuple[int, ...], activation: Activation) -> MLPConfig:
    return MLPConfig(layer_sizes=sizes, activation=activation, output="linear")


def _products(network: InferenceNetwork) -> list[Affine]:
    return [stage for stage in network.stages if isinstance(stage, Affine)]


def _unexplained(x: NDArray[np.float64], out: NDArray[np.float64]) -> float:
    """Returns 1 - R² of the best affine map from x (rows, n_in) to out (rows, n_out)."""
    extended = np.column_stack([x, np.ones(len(x))])
    best = extended @ np.linalg.lstsq(extended, out, rcond=None)[0]
    share = np.square(out - best).sum() / np.square(out - out.mean(axis=0)).sum()
    return round(float(share), 9)  # without the rounding, 0 would be shown as 1e-30


STUDY = Study(
    name="linear",
    about="what does depth buy without a nonlinearity?",
    claim=LinearResult.claim,
    run=run,
)
