"""The members of a run whose loss is no longer a finite number, while others train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import TrainConfig
from training.engines.engine import State, diverged_error
from training.engines.trainer import Trainer
from training.errors import TrainingError


class DivergedMembers:
    """Records which members have diverged. Those that can still be served are the remaining ones.

    A member that has diverged stays out, even if a later loss is finite. Members by folds are served together only,
    since each answers its own fold out of fold: if one diverges, those of the same configuration leave too.
    """

    def __init__(self, members: int, *, together: int, device: torch.device) -> None:
        """Begins with no such member.

        Args:
            members: number of members.
            together: number of successive members that can be served together only.
            device: torch device of the members' figures.
        """
        self._together = together
        self._epochs = torch.zeros(members, dtype=torch.int64, device=device)  # in which a member diverged, or 0

    @classmethod
    def of(cls, config: TrainConfig, trainer: Trainer) -> DivergedMembers:
        """Begins a record for the networks of a trainer."""
        members, flat = trainer.network.config.members, trainer.network.parameters.flat
        return cls(members, together=config.members if config.folds else 1, device=flat.device)

    def add(self, figures: Sequence[Tensor], *, epoch: int) -> Tensor:
        """Records the members of which a figure is not finite, without reading from the device.

        Args:
            figures: figures of the epoch, (members,) each.
            epoch: number of the epoch, from 1.

        Returns:
            (members,) True for the remaining members.
        """
        is_finite = torch.stack(tuple(figures)).isfinite().all(dim=0)
        self._epochs.masked_fill_(~is_finite & (self._epochs == 0), epoch)
        return self._remaining()

    def means(self, figures: Sequence[Tensor]) -> list[float]:
        """Returns the mean of each figure over the remaining members.

        Args:
            figures: figures of the epoch that was added last, (members,) each, of one element type.

        Raises:
            TrainingError: no member remains.
        """
        diverged = (self._epochs > 0).any().to(figures[0])
        *means, is_one_diverged = torch.stack([*(figure.mean() for figure in figures), diverged]).tolist()
        if is_one_diverged:
            remaining = self._remaining()
            if not remaining.any():
                raise self._error()
            means = torch.stack(tuple(figures))[:, remaining].double().mean(dim=1).tolist()
        return means

    def epochs(self) -> dict[int, int]:
        """Returns the epoch in which a member diverged, by member, counted from 0."""
        return {member: epoch for member, epoch in enumerate(self._epochs.tolist()) if epoch}

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the record for `restore`, as arrays by name."""
        return {"diverged": self._epochs.cpu().numpy().copy()}

    def restore(self, state: State) -> None:
        """Restores a `state`; that of an earlier version of Axon has no such member."""
        none = np.zeros(len(self._epochs), dtype=np.int64)
        self._epochs.copy_(torch.from_numpy(state.get("diverged", none)))

    def _remaining(self) -> Tensor:
        has_left = (self._epochs > 0).view(-1, self._together).any(dim=1)
        return ~has_left.repeat_interleave(self._together)

    def _error(self) -> TrainingError:
        epochs = self.epochs()
        last = max(epochs.values())
        if self._together == 1:
            return diverged_error("the loss", epoch=last)
        if self._together < len(self._epochs):
            return diverged_error("a loss in each configuration of the portfolio", epoch=last)
        fold = min(epochs) + 1
        return diverged_error(
            f"the loss of the member that validates fold {fold}",
            epoch=last,
            reason=", since only this member can answer the rows of the fold",
        )
