"""The pace of a run within a budget: the number of epochs follows the clock, so that the run ends in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median

import numpy as np

from training.engines.engine import State
from training.setting_checks import EpochPlan

_WINDOW = 5  # last epochs whose median time stands for the coming ones: one long pause changes nothing
_LATE = 0.02  # share of the time by which a run may come late before its plan shrinks
_EARLY = 0.05  # share by which a run may end early before its plan grows


class Pace:
    """Plans the number of epochs again after each epoch, by the time that is left.

    Attributes:
        plan: (epochs done, epochs planned) at the begin and at each change.
    """

    def __init__(self, *, seconds: float, most_epochs: int, clock: Callable[[], float]) -> None:
        """Starts no time yet.

        Args:
            seconds: seconds of training.
            most_epochs: largest number of epochs to plan.
            clock: clock in seconds.
        """
        self.plan: EpochPlan = ()
        self._seconds, self._most, self._clock = seconds, most_epochs, clock
        self._end: float | None = None  # reading of the clock at which training is to end
        self._before = 0.0
        self._times: deque[float] = deque(maxlen=_WINDOW)

    def epochs_after(self, done: int, planned: int) -> int:
        """Returns the number of epochs in all, as in `Pacing`."""
        now = self._clock()
        if self._end is None:
            self._end, self._before = now + self._seconds, now
            self.plan = self.plan or ((done, planned),)
            return planned
        self._times.append(now - self._before)
        self._before = now
        wanted = self._wanted(done, planned, self._end - now)
        if wanted != planned:
            self.plan = (*self.plan, (done, wanted))
        return wanted

    def _wanted(self, done: int, planned: int, left: float) -> int:
        epoch = max(median(self._times), 1e-9)
        late = (planned - done) * epoch - left  # seconds after the end
        if done >= planned or -_EARLY * self._seconds <= late <= _LATE * self._seconds:
            return planned
        possible = int(max(left, 0) / epoch)
        if possible == 0:  # the last epoch brings the schedules to their end, if most of it is in time
            return done + (left > epoch / 2)
        return min(done + possible, max(self._most, planned))

    def state(self) -> State:
        """Returns the seconds of training that are left, and the plan."""
        left = self._seconds if self._end is None else self._end - self._clock()
        return {"pace.left": np.array(left), "pace.plan": np.array(self.plan, dtype=np.int64).reshape(-1, 2)}

    def restore(self, state: State) -> None:
        """Restores a `state`: the resumed run has the seconds that were left."""
        self._seconds = float(state["pace.left"])
        self.plan = tuple((int(done), int(planned)) for done, planned in state["pace.plan"])
