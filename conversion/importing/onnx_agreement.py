"""The comparison of an ONNX graph with Axon's network: with ONNX Runtime's answers, and if need be in 64-bit numbers.

ONNX Runtime computes a graph of 32-bit numbers in 32 bits. Where the scores are large, or a function is written as
`Log(Sigmoid(x))`, the rounding alone is more than the comparison allows. The network is then compared with the graph
in 64-bit numbers, without any rounding of the original's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from conversion.importing.agreement import Agreement, agreed
from conversion.importing.imported_model import Disagreement, ImportRefused, Row
from conversion.importing.onnx_model import OnnxModel
from models.network.config import Task

_ROUNDING = 1e-3  # difference that the rounding of 32 bits can make, of a probability or in spreads


@dataclass(frozen=True, kw_only=True)
class OnnxAgreement:
    """The result of a comparison that the network passed.

    Attributes:
        agreement: checkpoint and greatest difference.
        engine: name of the program whose answers were compared.
        note: sentence on the rounding of ONNX Runtime; empty if its answers agree with the network's.
    """

    agreement: Agreement
    engine: str
    note: str = ""


def agreed_onnx(model: OnnxModel, sample: Sequence[Row] | None = None, *, name: str) -> OnnxAgreement:
    """Compares the network with the graph, and returns the checkpoint if both answer alike.

    Args:
        model: model from `read_onnx`.
        sample: rows of the user's own, as cells in the order of the columns; rows are drawn from the columns if None.
        name: name of the model, for the checkpoint's section `data`.

    Raises:
        Disagreement: An answer differs; the message has the row that differs most.
        ImportRefused: The graph answers none, or no finite numbers.
    """
    rows = model.sample(sample)
    try:
        return OnnxAgreement(agreement=agreed(model.imported, rows, name=name), engine=model.engine)
    except Disagreement as disagreement:
        exact = replace(model.imported, original=model.in_double)
        try:
            found = agreed(exact, rows, name=name)
            apart = _apart(model, rows)
        except (Disagreement, ImportRefused):
            raise _with_hint(disagreement, sample) from None
        if apart > _ROUNDING:
            raise _with_hint(disagreement, sample) from None
        note = (
            f"{model.engine} rounds this graph: its own answers are up to {apart:.2g} away from the graph in 64-bit "
            "numbers, more than the comparison allows. Axon was compared with the graph in 64-bit numbers instead."
        )
        return OnnxAgreement(agreement=found, engine="ONNX's reference implementation in 64-bit numbers", note=note)


def _with_hint(disagreement: Disagreement, sample: Sequence[Row] | None) -> Disagreement:
    hint = " The rows were drawn around the centres of the columns; --rows (rows=) compares on your own."
    return Disagreement(f"{disagreement}{'' if sample else hint}")


def _apart(model: OnnxModel, rows: Sequence[Row]) -> float:
    """Returns the greatest difference between the graph in its own numbers and in 64 bits, in the bound's unit."""
    own, exact = model.imported.original(rows), model.in_double(rows)
    task: Task = model.imported.config.task
    spreads = np.std(exact, axis=0)
    unit = np.where(spreads > 0, spreads, 1.0) if task == "regression" else 1.0
    return float((np.abs(np.asarray(own) - exact) / unit).max())
