"""The answer to a prediction: labels or values, probabilities, and the version that answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.columns.labels import Label
from models.covered_answers import covering_columns, names_of_bounds, value_columns
from models.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The answer to the rows of one call, in their order.

    Attributes:
        model: name of the model that answered.
        version: version of the model.
        predictions: label, or value in the unit of the target, of each row; list of the values of each row for several
            targets.
        probabilities: `(rows, classes)` float32; None for a regressor.
        classes: labels in the order of the probabilities; empty for a regressor, and if the API key
            may not read models.
        targets: names of several targets in the order of the values; empty for one target, and if the API key may not
            read models.
        intervals: `(rows, 2)` float64 lower and upper bounds of the values, `(rows, targets, 2)` for several targets;
            None if they were not asked for, and for a classifier.
        sets: labels that each row may have; None if intervals were not asked for, and for a regressor.
        unknown: number of cells with a category that training did not see, by column. The server names ten columns at
            most.
        unknown_cells: number of all such cells.
        request_id: identifier of the call in the server's log.
    """

    model: str
    version: int
    predictions: list[Any]
    probabilities: NDArray[np.float32] | None = None
    classes: tuple[Label, ...] = ()
    targets: tuple[str, ...] = ()
    intervals: NDArray[np.float64] | None = None
    sets: list[list[Label]] | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    unknown_cells: int = 0
    request_id: str = ""
    index: Any = field(default=None, repr=False)  # of the data frame whose rows were answered

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.predictions)

    def columns(self, prefix: str = "") -> dict[str, Sequence[Any]]:
        """Returns the answer as columns: `prediction`, and `probability LABEL` for each class.

        With intervals, `low` and `high` or `set` follow. A class whose label is not known has its number as its label.
        Several targets have the columns `prediction_TARGET`, and with intervals `prediction_TARGET_low` and
        `prediction_TARGET_high`; a target whose name is not known has its number as its name.

        Args:
            prefix: beginning of the columns' names.

        Raises:
            ConfigError: two columns would have the same name, as with targets `a` and `a_low` and with intervals.
        """
        if self.targets or (self.predictions and isinstance(self.predictions[0], list)):
            return self._columns_of_targets(prefix)
        columns: dict[str, Any] = {f"{prefix}prediction": self.predictions}
        if self.probabilities is not None:
            labels = self.classes or tuple(range(self.probabilities.shape[1]))
            for i, label in enumerate(labels):
                written = str(label).lower() if isinstance(label, bool) else str(label)
                columns[f"{prefix}probability {written}"] = self.probabilities[:, i]
        return columns | covering_columns(self.intervals, self.sets, prefix)

    def _columns_of_targets(self, prefix: str) -> dict[str, Sequence[Any]]:
        names = self.targets or tuple(map(str, range(len(self.predictions[0]))))
        values = np.array(self.predictions, dtype=np.float64).reshape(-1, len(names))
        columns: dict[str, Any] = dict(zip(value_columns(names, prefix), values.T, strict=True))
        if self.intervals is not None:
            ends = self.intervals.reshape(len(values), -1).T
            bounds = dict(zip(names_of_bounds(list(columns)), ends, strict=True))
            if taken := sorted(bounds.keys() & columns.keys()):
                raise ConfigError(f"two columns of the answer would be called {taken[0]!r}: ask without intervals.")
            columns |= bounds
        return columns

    def to_pandas(self) -> pd.DataFrame:
        """Returns the answer as a data frame, with the index of the frame that was asked about."""
        import pandas as pd

        return pd.DataFrame(self.columns(), index=self.index)

    def to_arrow(self) -> pa.Table:
        """Returns the answer as an Arrow table."""
        import pyarrow as pa

        return pa.table({name: pa.array(cells) for name, cells in self.columns().items()})
