"""Axon in a program or a notebook: train on a table, ask the model, publish the model, and load a published one.

    import axon

    model = axon.fit("flowers.csv", target="species")
    model.predict(frame)                            # a label for each row of a data frame
    model.publish()                                 # flowers@1, with its report, in the folder checkpoints
    axon.load("flowers@1").predict_proba(frame)
    axon.publish(pipeline, name="iris")             # a model of scikit-learn or torch, with the same answers
    axon.Scorer("flowers@1")(table)                 # a callable for Ray, Dask and Spark
    axon.Client("http://localhost:8000").predict(frame, model="flowers")    # asks a server

The first use of a name imports its module: `import axon` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axon.client import AsyncClient, Client
    from axon.loading import load
    from axon.model import Model
    from axon.publishing import publish
    from axon.trained import TrainedModel
    from axon.training_run import fit
    from scoring.scorer import Scorer
    from training.data.column_choices import ColumnChoices

__all__ = ["AsyncClient", "Client", "ColumnChoices", "Model", "Scorer", "TrainedModel", "fit", "load", "publish"]

_MODULES = {
    "AsyncClient": "axon.client",
    "Client": "axon.client",
    "ColumnChoices": "training.data.column_choices",
    "fit": "axon.training_run",
    "load": "axon.loading",
    "Model": "axon.model",
    "publish": "axon.publishing",
    "Scorer": "scoring.scorer",
    "TrainedModel": "axon.trained",
}
_TRAINING = ("ColumnChoices", "fit", "TrainedModel")
_CONVERSION = ("publish",)
_CLIENT = ("AsyncClient", "Client")
_SCORING = ("Scorer",)


def __getattr__(name: str) -> Any:
    """Imports the module of a public name, at the name's first use.

    Raises:
        AttributeError: no such name.
        HiddenPackage: a user's file or folder has the name of a package of Axon, and Python finds it first.
        ModuleNotFoundError: a part of Axon is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'axon' has no attribute {name!r}; it has {', '.join(__all__)}")
    from axon.own_packages import check_own_packages

    check_own_packages(
        "models",
        *(["training"] if name in _TRAINING else []),
        *(["conversion"] if name in _CONVERSION else []),
        *(["inference", "scoring", "training"] if name in _SCORING else []),
    )
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as missing:
        from models.installation import missing_part

        if (sentence := missing_part("client" if name in _CLIENT else "training", missing)) is None:
            raise
        raise ModuleNotFoundError(f"axon.{name}: {sentence}", name=missing.name) from missing


def __dir__() -> list[str]:
    """Returns the public names, for completion."""
    return [*globals(), *__all__]
