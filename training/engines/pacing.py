"""The numbers of epochs that a configuration plans, without a clock."""

from __future__ import annotations

from training.engines.engine import State
from training.setting_checks import EpochPlan


class PlannedPacing:
    """A plan of epochs that is known before the run: the same plan gives the same bytes."""

    def __init__(self, plan: EpochPlan) -> None:
        """Takes the plan.

        Args:
            plan: (epochs done, epochs planned) for each change, as in `TrainConfig.epoch_plan`; empty for no change.
        """
        self._planned = dict(plan)

    def epochs_after(self, done: int, planned: int) -> int:
        """Returns the number of epochs in all, as in `Pacing`."""
        return self._planned.get(done, planned)

    def state(self) -> State:
        """Returns nothing, since the configuration has the plan."""
        return {}

    def restore(self, state: State) -> None:
        """Restores nothing."""
