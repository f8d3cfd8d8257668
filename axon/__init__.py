"""Axon in a program or a notebook: train on a table, ask the model, publish it, and load it again.

    import axon

    model = axon.fit("flowers.csv", target="species")
    model.predict(frame)                            # a label for each row of a data frame
    model.publish()                                 # flowers@1, with its report, in the folder checkpoints
    axon.load("flowers@1").predict_proba(frame)

What a name stands for is imported when it is first used: `import axon` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axon.loading import load
    from axon.model import Model
    from axon.trained import TrainedModel
    from axon.training_run import fit

__all__ = ["Model", "TrainedModel", "fit", "load"]

_MODULES = {"fit": "axon.training_run", "load": "axon.loading", "Model": "axon.model", "TrainedModel": "axon.trained"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'axon' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*globals(), *__all__]
