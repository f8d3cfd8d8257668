"""Each of Axon's own models goes out and answers as the server's code does: in ONNX Runtime, torch and NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from export_cases import (
    FAR_PRICE,
    KINDS,
    PRICE,
    VISITS,
    Expected,
    bound,
    day,
    embedded_columns,
    expected,
    feed,
    inputs_of,
    made,
    mixed_columns,
    number,
    onnx_session,
    random_rows,
    run_onnx,
    standalone,
    with_weights,
)
from serving import SEVERAL

from models.checkpoint import Checkpoint
from models.columns.column import CategoricalColumn
from models.columns.schema import ClassTarget, NumericTarget, Schema, Target, ValuesTarget
from models.network.config import Activation, LayerActivation
from models.network.layer_activations import TYPES
from models.network.sequence import SequenceConfig, SequenceLayer

pytestmark = pytest.mark.slow

EMBEDDED = embedded_columns()
MIXED = mixed_columns()
NEAR = ValuesTarget(targets=(PRICE, replace(PRICE, name="cost", mean=-0.2, std=0.05, minimum=-1, maximum=0)))
SHARES = ValuesTarget(
    targets=tuple(NumericTarget(name=name, mean=0, std=1, minimum=0, maximum=1) for name in ("rain", "wind"))
)
BUYS = ClassTarget(name="buys", labels=(False, True))
CONSTANTS: list[tuple[LayerActivation, tuple[float, ...]]] = [
    ("leaky_relu", (0.3,)),
    ("elu", (0.7,)),
    ("celu", (1.9,)),
    ("softplus", (2.5,)),
    ("hardtanh", (-0.5, 2.0)),
    ("hardsigmoid", (0.2, 0.4)),
]


def activation(name: LayerActivation, constants: tuple[float, ...] = ()) -> SequenceLayer:
    return SequenceLayer(name=f"f {name}".replace(" ", "_"), kind="activation", activation=name, constants=constants)


def sequence(
    target: Target, *between: SequenceLayer, last: SequenceLayer | None = None, output: Any = None
) -> Checkpoint:
    """Makes a foreign network: layers between two Linears, and perhaps one at the end."""
    classes = len(target.labels) if isinstance(target, ClassTarget) and output != "sigmoid" else 1
    ends = [SequenceLayer(name=name, kind="linear", out_features=n) for name, n in (("one", 12), ("two", classes))]
    output = output or ("softmax" if isinstance(target, ClassTarget) else "linear")
    layers = (ends[0], *between, ends[1], *([] if last is None else [last]))
    town = replace(MIXED[1], missing="refuse", fill="Bonn")
    schema = Schema(columns=(MIXED[0], town, *MIXED[2:]), target=target)
    return with_weights(SequenceConfig(in_features=schema.width, sequence=layers, output=output), schema)


CASES: dict[str, Checkpoint] = {
    "plain": made(MIXED, KINDS, 24, 16),
    "one layer": made(MIXED, KINDS),
    "batch norm, two of a kind": made(MIXED, KINDS, 24, 16, normalization="batch", activation="gelu", members=3),
    "layer norm": made(MIXED, PRICE, 24, 16, normalization="layer", activation="tanh"),
    "clamp": made(MIXED, PRICE, 16, clamp=True, activation="mish", members=2),
    "weighted members": made(MIXED, KINDS, 16, members=3, member_weights=(5, 1, 2)),
    "weighted members, clamp": made(MIXED, FAR_PRICE, 16, clamp=True, members=2, member_weights=(1, 3)),
    "counts": made(MIXED, VISITS, 16, output="exponential", activation="mish"),
    "counts, clamp": made(MIXED, VISITS, 16, output="exponential", clamp=True, members=2, member_weights=(1, 3)),
    "shares": made(MIXED, SHARES, 16, output="logistic", activation="mish", members=2),
    "one share, clamp": made(MIXED, SHARES.targets[0], 16, output="logistic", clamp=True),
    "far target": made(MIXED, FAR_PRICE, 16, activation="silu"),
    "far target, clamp": made(MIXED, FAR_PRICE, 16, clamp=True),
    "several targets": made(MIXED, SEVERAL, 24, 16, normalization="batch", activation="gelu"),
    "several targets, clamp": made(MIXED, SEVERAL, 16, clamp=True, members=2, member_weights=(1, 3)),
    "several near targets": made(MIXED, NEAR, 16, clamp=True, members=3),
    "several targets, embeddings": made(
        EMBEDDED, SEVERAL, 32, activation="mish", learned_activation=True, clamp=True,
        inputs=inputs_of(EMBEDDED, clip=3.0, frequencies=4, embedding_size=3, scale=True),
    ),
    "temperature, no bias": made(MIXED, KINDS, 16, temperature=0.4, bias=False),
    "threshold": made(MIXED, BUYS, output="step"),
    "thresholds": made(MIXED, BUYS, 8, output="step", members=3),
    "embeddings": made(
        EMBEDDED, KINDS, 32, 32, activation="selu", learned_activation=True, temperature=1.3, members=2,
        inputs=inputs_of(EMBEDDED, clip=3.0, frequencies=16, embedding_size=8, scale=True),
    ),
    "embeddings of values": made(
        EMBEDDED, PRICE, 32, activation="mish", learned_activation=True, clamp=True,
        inputs=inputs_of(EMBEDDED, clip=3.0, frequencies=4, embedding_size=3, scale=True),
    ),
    "inputs without clip and waves": made(EMBEDDED, KINDS, 8, inputs=inputs_of(EMBEDDED)),
    "only categories": made(
        (EMBEDDED[1], EMBEDDED[3]), KINDS, 8, inputs=inputs_of((EMBEDDED[1], EMBEDDED[3]), frequencies=2)
    ),
    "only a date": made((day("when", parts=("hour", "month", "weekday", "day")),), KINDS, 8),
    "only numbers": made((number("a"), number("b")), KINDS, 8, inputs=inputs_of((number("a"), number("b")), clip=2.0)),
    "one category": made((CategoricalColumn(name="c", categories=("only",)),), KINDS, 4),
    **{
        name: made(MIXED, KINDS, 16, 8, activation=name, learned_activation=name != "relu")
        for name in get_args(Activation)
    },
    **{f"foreign {name}": sequence(PRICE, activation(name)) for name in TYPES},
    **{f"foreign {name}, {constants}": sequence(PRICE, activation(name, constants)) for name, constants in CONSTANTS},
    "sigmoid": sequence(BUYS, activation("relu"), output="sigmoid"),
    "argmax": sequence(KINDS, activation("relu"), output="argmax"),
    "norms first and last": sequence(
        KINDS,
        SequenceLayer(name="bn", kind="batch_norm", affine=False),
        activation("tanh"),
        SequenceLayer(name="ln", kind="layer_norm", eps=1e-3, bias=False),
        SequenceLayer(name="slope", kind="prelu"),
        last=SequenceLayer(name="end", kind="layer_norm", affine=False, eps=0.1),
    ),
}  # fmt: skip


def rows_of(name: str) -> list[dict[str, Any]]:
    """Returns a thousand rows; fewer for the models that differ in an activation only."""
    is_activation = name in TYPES or name.startswith("foreign")
    return random_rows(CASES[name].schema, 200 if is_activation else 1000)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Expected]:
    """The answers to each model's rows, computed once for all forms."""
    return {name: expected(checkpoint, rows_of(name)) for name, checkpoint in CASES.items()}


def check_labels(wanted: Expected, labels: list[object], answers: np.ndarray) -> None:
    """Checks labels, except where the two largest probabilities are closer than the bound."""
    best = np.sort(np.nan_to_num(wanted.answers), axis=1)
    for row, label in enumerate(labels):
        if not wanted.refused[row] and best[row, -1] - best[row, -2] > 2e-6:
            assert label == wanted.labels[row], row


@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_answers_alike(name: str, tmp_path: Path, oracle: dict[str, Expected]) -> None:
    checkpoint, wanted = CASES[name], oracle[name]
    rows = rows_of(name)
    found = run_onnx(onnx_session(checkpoint, tmp_path), feed(checkpoint.schema, rows))
    assert 0 < wanted.refused.sum() < 600 or name.startswith("only")
    labels = checkpoint.schema.target.labels if isinstance(checkpoint.schema.target, ClassTarget) else ()
    if "label" in found:
        texts = {False: "false", True: "true"}
        typed = {str(texts.get(label, label)): label for label in labels}
        check_labels(wanted, [typed.get(label) for label in found["label"]], wanted.answers)
        assert [label == "" for label in found["label"]] == wanted.refused.tolist()
    answers = found["value"] if "value" in found else found["probabilities"]
    assert (np.isnan(answers).any(axis=1) == wanted.refused).all()
    assert (np.nanmax(np.abs(answers - wanted.answers), axis=0) <= bound(checkpoint, wanted)).all()
    assert answers_unknown(checkpoint, rows) == found.get("unknown", np.zeros((len(rows), 1))).ravel().tolist()


def answers_unknown(checkpoint: Checkpoint, rows: list[dict[str, object]]) -> list[int]:
    """Counts the unknown categories of each row in the columns with `unknown="ignore"`."""
    columns = [c for c in checkpoint.schema.columns if isinstance(c, CategoricalColumn) and c.unknown == "ignore"]
    return [sum(row[column.name] == "never seen" for column in columns) for row in rows]


@pytest.mark.parametrize("form", ["torch", "numpy"])
@pytest.mark.parametrize("name", CASES)
def test_standalone_files_answer_alike(name: str, form: str, tmp_path: Path, oracle: dict[str, Expected]) -> None:
    checkpoint, wanted = CASES[name], oracle[name]
    rows = rows_of(name)
    module = standalone(checkpoint, form, tmp_path)
    taken = np.flatnonzero(~wanted.refused)
    answers = module.answers([rows[i] for i in taken])
    given = module.predict([rows[i] for i in taken])
    if checkpoint.config.task == "regression":
        several = isinstance(checkpoint.schema.target, ValuesTarget)
        values = wanted.answers[taken] if several else wanted.answers[taken, 0]
        assert given.shape == values.shape
        assert (np.abs(given - values).max(axis=0) <= bound(checkpoint, wanted)).all()
    else:
        labels: list[object] = [None] * len(rows)
        for i, label in zip(taken, given, strict=True):
            labels[i] = label
        check_labels(wanted, labels, wanted.answers)
        assert np.abs(answers - wanted.answers[taken]).max() <= bound(checkpoint, wanted)
    assert hasattr(module, "predict_proba") == checkpoint.config.has_probabilities
    for i in np.flatnonzero(wanted.refused)[:30]:
        with pytest.raises(ValueError, match=r"^row 0(, column '.+')?: "):
            module.predict([rows[i]])
