"""The shift of a classifier's probabilities by balanced classes and by the decision for a metric.

Such probabilities differ from those of the table on purpose: log loss does not judge them, and a threshold by cost has
to have the same shift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.class_balance import class_balance, is_balanced
from training.fitted_model import FittedModel


def shift_of_logits(model: FittedModel) -> NDArray[np.float64]:
    """Returns the shift of each class's logit against the probabilities of the table, `(classes,)`.

    Training with class weights w_c multiplies the odds of two classes by the ratio of their weights (King & Zeng 2001),
    and the decision for a metric adds its own shift.

    Args:
        model: fitted classifier.
    """
    table, training = model.table, model.checkpoint.training
    shift = np.zeros(len(table.labels))
    if is_balanced(training):
        train = model.split.train
        shift += np.log(class_balance(table.target[train], len(table.labels), table.weights_of(train)))
    if (decision := training.get("decision")) is not None:
        shift += np.array(decision["shift"])
    return shift
