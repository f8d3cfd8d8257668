"""The Arrow type of a classifier's labels, for files of answers. The service without its extra `log` has no Arrow."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from models.columns.labels import GREATEST_INT, Label, label_type

_INT64_END = 2**63


def label_array_type(labels: Sequence[Label]) -> pa.DataType:
    """Returns the Arrow type that holds all labels of a classifier.

    Args:
        labels: labels of one type.
    """
    match label_type(tuple(labels)):
        case "int":
            if all(int(label) < _INT64_END for label in labels):
                return pa.int64()
            # No whole number of 64 bits has both a sign and labels of 2**63 or more.
            has_sign = any(int(label) < 0 for label in labels)
            return pa.decimal128(len(str(GREATEST_INT)), 0) if has_sign else pa.uint64()
        case "bool":
            return pa.bool_()
        case "float":
            return pa.float64()
        case "str":
            return pa.string()
