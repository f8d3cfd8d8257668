"""The gradient of one batch: by torch's kernels, or for small networks on a CPU by NumPy's cheaper calls."""

from __future__ import annotations

from torch import Tensor

from training.engines.network.category_dropout import CategoryDropout
from training.engines.network.losses import Loss
from training.engines.network.masks import HostMasks
from training.engines.network.network import Network
from training.engines.rows import DeviceRows
from training.engines.small_pass import SmallPass


class BatchGradient:
    """Writes the gradient of a batch into the gradient of the parameters."""

    def __init__(
        self, network: Network, rows: DeviceRows, loss: Loss, category_dropout: CategoryDropout | None = None
    ) -> None:
        self._network, self._rows, self._loss = network, rows, loss
        self._category_dropout = category_dropout

    def __call__(self, order: Tensor) -> Tensor:
        """Returns the loss of each member, (members,), for the rows `order`, (members, b)."""
        batch = self._rows.batch(order)
        if self._category_dropout is not None:
            self._category_dropout(batch.dense, batch.rows)
        return self._network.learn(batch, self._loss)


class SmallBatchGradient(BatchGradient):
    """The same for small networks on a CPU, with one `SmallPass` for each batch size."""

    def __init__(
        self,
        network: Network,
        rows: DeviceRows,
        loss: Loss,
        category_dropout: CategoryDropout | None = None,
        *,
        masks: HostMasks,
    ) -> None:
        super().__init__(network, rows, loss, category_dropout)
        self._masks = masks
        self._passes: dict[int, SmallPass] = {}

    def __call__(self, order: Tensor) -> Tensor:
        """Returns the loss of each member, as in `BatchGradient`."""
        size = order.shape[1]
        if size == 1:  # BatchNorm then takes its running statistics
            return super().__call__(order)
        bound = self._passes.get(size)
        if bound is None:
            bound = self._passes[size] = SmallPass(
                self._network, self._rows, self._loss, self._masks, self._category_dropout, size=size
            )
        return bound(order.numpy())
