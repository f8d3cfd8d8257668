"""The configurations of a portfolio: what the members of an ensemble by folds may differ in.

A portfolio trains each configuration by all folds, and serves those that its out-of-fold answers choose
(`training.portfolio_choice`). All networks train as one batched product, so configurations differ only in numbers that
each member can have for itself. They are relative to the settings of the run, so that a choice of the user holds for
all of them: without dropout, no configuration has any. The factors span RealMLP's search space around its defaults
(Holzmüller et al. 2024): learning rate 0.02 to 0.3, dropout 0 to 0.5, weight decay 0.001 to 0.05, smoothing on or off.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """The differences of one configuration from the settings of the run.

    Attributes:
        name: name in reports and in the checkpoint.
        learning_rate: factor on the learning rate.
        dropouts: number of dropouts in a row; the share of kept units is that of the run to this power.
        weight_decay: factor on the weight decay.
        label_smoothing: factor on the label smoothing, 0 or 1.
    """

    name: str
    learning_rate: float = 1.0
    dropouts: int = 1
    weight_decay: float = 1.0
    label_smoothing: float = 1.0

    def dropout_of(self, probability: float) -> float:
        """Returns the dropout probability for that of the run."""
        return 1 - (1 - probability) ** self.dropouts


CONFIGURATIONS: tuple[Configuration, ...] = (
    Configuration(name="base"),
    Configuration(name="regularized", learning_rate=0.5, dropouts=2, weight_decay=2.5),
    Configuration(name="light", dropouts=0, weight_decay=0.1, label_smoothing=0.0),
    Configuration(name="fast", learning_rate=2.5, label_smoothing=0.0),
)
