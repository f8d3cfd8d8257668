"""The report and the card say by which figure the kept epoch was selected."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from training.fit import fit
from training.recipes import Selection
from training.reporting.sentences import epoch_in_words, training_in_words

WORDS = {
    "loss": "least {}loss",
    "error": "least {}share of wrong answers",
    "balanced-error": "least {}balanced error",
    "auc": "greatest {}ROC AUC",
}


def fitted(select_by, *, has_classes=True):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90), "b": rng.normal(size=90)})
    frame["y"] = np.where(frame.a + rng.normal(size=90) > 0, "yes", "no") if has_classes else frame.a
    return fit(frame, target="y", epochs=4, hidden_sizes=(4,), select_by=select_by)


@pytest.mark.parametrize("select_by", get_args(Selection))
def test_every_selection_is_named(select_by):
    model = fitted(select_by)
    sentence, line = training_in_words(model), epoch_in_words(model)
    if select_by == "last":
        assert sentence.startswith("The weights are those after the last epoch, 4")
        assert line.startswith("the last of 4")
        return
    assert f"which had the {WORDS[select_by].format('')} on the validation rows." in sentence
    assert line.startswith(f"{WORDS[select_by].format('validation ')} of 4 epochs")


def test_the_error_of_values_is_their_loss():
    assert "had the least loss on the validation rows" in training_in_words(fitted("error", has_classes=False))
