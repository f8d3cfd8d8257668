"""Category dropout: training replaces random cells of categorical columns by an unknown category.

An unknown category has the value 0 in all one-hot features, or a row of its own in the embedding table. If no value is
missing, the training part has no unknown category, and only this dropout shows one to the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.network.config import MLPConfig
from training.engines.network.masks import Masks


class CategoryDropout:
    """Replaces cells of categorical columns by an unknown category, each with the same probability."""

    def __init__(
        self,
        config: MLPConfig,
        columns: Sequence[tuple[int, ...]],
        *,
        masks: Masks,
        probability: float,
        device: torch.device,
    ) -> None:
        """Finds the features of the columns in a batch.

        Args:
            config: architecture of the networks.
            columns: positions in the encoded row of each categorical column's features.
            masks: source of the random numbers.
            probability: share of the cells to replace.
            device: torch device of the batches.
        """
        self._masks, self._probability, self._columns = masks, probability, len(columns)
        inputs = config.inputs
        dense = tuple(range(config.layer_sizes[0])) if inputs is None else (*inputs.numbers, *inputs.flags)
        indices = () if inputs is None else inputs.indices
        column_of = {place: i for i, places in enumerate(columns) for place in places}
        # One more column, which is never dropped, stands for all features outside the categorical columns.
        of_dense = [column_of.get(place, len(columns)) for place in dense]
        of_indices = [column_of.get(place, len(columns)) for place in indices]
        self._of_dense = torch.tensor(of_dense, device=device) if set(of_dense) - {len(columns)} else None
        self._of_indices = torch.tensor(of_indices, device=device) if set(of_indices) - {len(columns)} else None
        self._unknown_rows = torch.tensor(() if inputs is None else inputs.table_offsets(), device=device)

    def __call__(self, dense: Tensor, rows: Tensor | None) -> None:
        """Replaces cells of a batch, in place.

        Args:
            dense: (k, b, dense features).
            rows: (k, b, indices) row numbers in the embedding table; None without embeddings.
        """
        kept = torch.ones((*dense.shape[:2], self._columns + 1), device=dense.device)
        drawn = torch.empty((*dense.shape[:2], self._columns), device=dense.device)
        kept[..., : self._columns] = self._masks.keep(drawn, 1 - self._probability)
        if self._of_dense is not None:
            dense.mul_(kept.index_select(2, self._of_dense))
        if self._of_indices is not None and rows is not None:
            is_kept = kept.index_select(2, self._of_indices) > 0
            rows.copy_(torch.where(is_kept, rows, self._unknown_rows))
