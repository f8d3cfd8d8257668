"""The roster: the methods that are compared, with their settings and environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.accuracy.datasets import Task
from benchmarks.accuracy.environments import PYTABKIT, is_set_up

AXON_DEFAULT, AXON_ENSEMBLE, REALMLP, REALMLP_CE = "axon", "axon-8", "realmlp", "realmlp-ce"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One competitor.

    Attributes:
        name: name on the command line.
        title: name in the tables.
        module: name of the module of `benchmarks.accuracy.methods` with the function `predict`.
        about: the choices made for this method, in a few words.
        packages: names of the packages whose versions a result depends on.
        settings: keyword arguments of `predict`.
        environment: name of the environment that runs the method; None for this process's own.
        tasks: tasks that the method can learn.
        is_axon: True if a result depends on Axon's own sources.
        revision: number that is raised when a change of the module changes its results, so that cached results expire.
    """

    name: str
    title: str
    module: str
    about: str
    packages: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    environment: str | None = None
    tasks: tuple[Task, ...] = ("classification", "regression")
    is_axon: bool = False
    revision: int = 1

    def obstacle(self) -> str | None:
        """Returns the reason for which the method cannot run here, or None."""
        if self.environment is not None and not is_set_up(self.environment):
            return f"the environment {self.environment!r} is not set up"
        if self.is_axon:
            # Imported here, because the roster is also read where Axon's own packages are missing.
            from models.errors import ConfigError
            from training.config import check_settings

            try:
                check_settings(self.settings)
            except ConfigError as error:
                return f"this Axon cannot be set so ({error})"
        return None


_SKLEARN = ("scikit-learn", "numpy")
_TORCH = ("torch", "numpy")
METHODS = {
    method.name: method
    for method in (
        Method(
            name="linear",
            title="linear",
            module="linear",
            about="logistic or ridge regression, penalty of six chosen by validation; medians for gaps with a flag, "
            "standardised, one-hot",
            packages=_SKLEARN,
        ),
        Method(
            name="sklearn-mlp",
            title="scikit-learn MLP",
            module="sklearn_mlp",
            about="defaults (100 ReLU units, Adam); best epoch by validation loss, patience 30, at most 300; prepared "
            "as for linear, target standardised",
            packages=_SKLEARN,
        ),
        Method(
            name="boosting",
            title="HistGradientBoosting",
            module="boosting",
            about="defaults, up to 1,000 trees; stopped 20 trees after the best validation loss and cut back to it; "
            "categories and gaps are its own",
            packages=_SKLEARN,
        ),
        Method(
            name=REALMLP,
            title="RealMLP-TD",
            module="realmlp",
            about="pytabkit's defaults: 256 epochs, best by validation error or RMSE, label smoothing 0.1",
            packages=("pytabkit", *_TORCH),
            environment=PYTABKIT,
        ),
        Method(
            name=REALMLP_CE,
            title="RealMLP-TD, for log-loss",
            module="realmlp",
            about="as its authors advise for log-loss: `use_ls=False`, `val_metric_name='cross_entropy'`",
            packages=("pytabkit", *_TORCH),
            settings={"use_ls": False, "val_metric_name": "cross_entropy"},
            environment=PYTABKIT,
            tasks=("classification",),
        ),
        Method(
            name="axon-classic",
            title="Axon, classic",
            module="axon",
            about="`--recipe classic`",
            packages=_TORCH,
            settings={"recipe": "classic"},
            is_axon=True,
        ),
        Method(
            name=AXON_DEFAULT,
            title="Axon, default",
            module="axon",
            about="`--recipe default`",
            packages=_TORCH,
            settings={"recipe": "default"},
            is_axon=True,
        ),
        Method(
            name=AXON_ENSEMBLE,
            title="Axon, 8 members",
            module="axon",
            about="`--recipe default --members 8`",
            packages=_TORCH,
            settings={"recipe": "default", "members": 8},
            is_axon=True,
        ),
    )
}
