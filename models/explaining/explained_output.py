"""The output that is explained: the probability or the log-odds of a class, or the value of a regression."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import listed, shown
from models.columns.labels import Label
from models.columns.schema import ClassTarget, Schema, ValuesTarget
from models.errors import ConfigError

Scale = Literal["probability", "logit", "value"]

_LEAST = float(np.finfo(np.float32).tiny)  # for the logarithm of a probability that float32 has rounded to 0


class ExplainedOutput:
    """One number of a model's answer.

    Args:
        schema: schema of the model.
        label: label whose probability is explained, or one of several targets; None for a regression of one target.
        logit: True for the log-odds of the label instead of the probability.

    Attributes:
        label: label whose probability is explained, or one of several targets; None for a regression of one target.
        scale: `probability`, `logit` or `value`.
        origin: number to add to the outputs; contributions do not change.
    """

    def __init__(self, schema: Schema, label: Label | None, *, logit: bool) -> None:
        target = schema.target
        self.label = label
        if isinstance(target, ClassTarget):
            self.origin, self._place = 0.0, target.labels.index(label)
            self.scale: Scale = "logit" if logit else "probability"
        else:
            self._place = target.names.index(str(label)) if isinstance(target, ValuesTarget) else 0
            self.origin, self.scale = schema.values[self._place].origin, "value"

    def of(self, answers: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the output for each row, `(rows,)`, without the origin.

        Args:
            answers: `(rows, outputs)` answers of the network.
        """
        chosen: NDArray[np.float64] = answers[:, self._place].astype(np.float64)
        if self.scale != "logit":
            return chosen
        others = np.delete(answers, self._place, axis=1).sum(axis=1, dtype=np.float64)
        odds: NDArray[np.float64] = np.log(np.maximum(chosen, _LEAST)) - np.log(np.maximum(others, _LEAST))
        return odds


def explained_label(schema: Schema, output: Label | None, predicted: Label | None) -> Label | None:
    """Returns the label, or the one of several targets, whose output is explained; None for a regression of one target.

    Args:
        schema: schema of the model.
        output: label or target that was asked for; None for the predicted label, or the first target.
        predicted: predicted label of a row; None for a regression.
    """
    target = schema.target
    if isinstance(target, ValuesTarget):
        return target.names[0] if output is None else output
    return predicted if output is None else output


def checked_label(schema: Schema, has_probabilities: bool, output: Label | None, scale: str | None) -> None:
    """Checks the output that a user asks for.

    Args:
        schema: schema of the model.
        has_probabilities: True for a model with probabilities.
        output: label, or one of several targets; None for the predicted label of each row, or the first target.
        scale: `probability`, `logit`, or None for the default.

    Raises:
        ConfigError: the model has no such output.
    """
    target = schema.target
    if not isinstance(target, ClassTarget):
        if isinstance(target, ValuesTarget):
            if output is not None and output not in target.names:
                raise ConfigError(
                    f"output is {shown(output)}, which is no target of the model; its targets are "
                    f"{listed(target.names)}."
                )
        elif output is not None:
            raise ConfigError(f"output is {shown(output)}, and the model is a regression: leave output out.")
        if scale not in (None, "value"):
            raise ConfigError(f"scale is {scale!r}, and the model is a regression: leave scale out.")
        return
    if scale == "value":
        raise ConfigError("scale is 'value', and the model is a classifier: ask for 'probability' or 'logit'.")
    if scale == "logit" and not has_probabilities:
        raise ConfigError("scale is 'logit', and the model has no probabilities: leave scale out.")
    if output is not None and not any(type(label) is type(output) and label == output for label in target.labels):
        labels = listed([str(label) for label in target.labels])
        raise ConfigError(f"output is {shown(output)}, which is no label of the model; its labels are {labels}.")
