"""The roster: the methods that are compared, with their settings and environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.accuracy.datasets import Task
from benchmarks.accuracy.environments import PYTABKIT, is_set_up

AXON_DEFAULT, AXON_ENSEMBLE = "axon", "axon-8"
REALMLP, REALMLP_CE, REALMLP_8 = "realmlp", "realmlp-ce", "realmlp-8"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One competitor.

    Attributes:
        name: name on the command line.
        title: name in the tables.
        module: name of the module of `benchmarks.accuracy.methods` with the function `learn`.
        about: the choices made for this method, in a few words.
        packages: names of the packages whose versions a result depends on.
        settings: keyword arguments of `learn`.
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
                check_settings({name: value for name, value in self.settings.items() if name != "budget"})
            except ConfigError as error:
                return f"this Axon cannot be set so ({error})"
        return None


_FOR_LOG_LOSS = {"use_ls": False, "val_metric_name": "cross_entropy"}
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
            module="pytabkit",
            about="pytabkit's defaults: 256 epochs, best by validation error or RMSE, label smoothing 0.1",
            packages=("pytabkit", *_TORCH),
            settings={"estimator": "RealMLP_TD"},
            environment=PYTABKIT,
        ),
        Method(
            name=REALMLP_CE,
            title="RealMLP-TD, for log-loss",
            module="pytabkit",
            about="as its authors advise for log-loss: `use_ls=False`, `val_metric_name='cross_entropy'`",
            packages=("pytabkit", *_TORCH),
            settings={"estimator": "RealMLP_TD", **_FOR_LOG_LOSS},
            environment=PYTABKIT,
            tasks=("classification",),
        ),
        Method(
            name=REALMLP_8,
            title="RealMLP-TD, 8",
            module="pytabkit",
            about="the mean of 8 from different seeds (`n_cv=8` with a fixed validation part), classes for log-loss",
            packages=("pytabkit", *_TORCH),
            settings={"estimator": "RealMLP_TD", "n_cv": 8, "for_classes": _FOR_LOG_LOSS},
            environment=PYTABKIT,
        ),
        Method(
            name="tabm",
            title="TabM",
            module="pytabkit",
            about="pytabkit's `TabM_D`: 32 members that share weights, best epoch by the validation part",
            packages=("pytabkit", *_TORCH),
            settings={"estimator": "TabM_D"},
            environment=PYTABKIT,
        ),
        Method(
            name="catboost",
            title="CatBoost",
            module="pytabkit",
            about="pytabkit's `CatBoost_D`, stopped by the validation part",
            packages=("pytabkit", "catboost"),
            settings={"estimator": "CatBoost_D"},
            environment=PYTABKIT,
        ),
        Method(
            name="lightgbm",
            title="LightGBM",
            module="pytabkit",
            about="pytabkit's `LGBM_D`, stopped by the validation part",
            packages=("pytabkit", "lightgbm"),
            settings={"estimator": "LGBM_D"},
            environment=PYTABKIT,
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
        Method(
            name="axon-folds",
            title="Axon, 8 folds",
            module="axon",
            about="`--members 8 --folds`: training and validation part in eight folds",
            packages=_TORCH,
            settings={"recipe": "default", "members": 8, "folds": True},
            is_axon=True,
        ),
        Method(
            name="axon-portfolio",
            title="Axon, portfolio",
            module="axon",
            about="`--members 8 --folds --portfolio`",
            packages=_TORCH,
            settings={"recipe": "default", "members": 8, "folds": True, "portfolio": True},
            is_axon=True,
        ),
        Method(
            name="axon-30s",
            title="Axon, 30 s",
            module="axon",
            about="`--budget 30s`; of one process at a time (`--jobs 1`), since the budget is of wall-clock time",
            packages=_TORCH,
            settings={"recipe": "default", "budget": 30.0},
            is_axon=True,
        ),
    )
}
