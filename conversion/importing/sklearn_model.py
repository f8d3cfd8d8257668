"""Import of a fitted model of scikit-learn, alone or at the end of a pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.importing.affine_features import GAP_NAMES, NumberStatistics, RawFeature, TableColumns
from conversion.importing.imported_model import Float64Array, ImportedModel, ImportRefused, Row, targets_of
from conversion.importing.sklearn_encoders import UNKNOWN_TEXT, unknown_value
from conversion.importing.sklearn_estimators import Layers, layers_of
from conversion.importing.sklearn_steps import class_name, follow
from models.columns.cell_text import category_of
from models.columns.schema import ClassTarget, Schema, Target
from models.network.config import OUTPUTS_OF_VALUES
from models.network.sequence import SequenceConfig, SequenceLayer

_SEARCHES = ("GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV")
_LONGEST_RECORD = 2_000  # characters of a pipeline's own description in the checkpoint


def import_sklearn(
    model: Any,
    *,
    target: str | Sequence[str],
    names: Sequence[str] | None = None,
    sample: Mapping[str, NumberStatistics] | None = None,
    truth: Collection[str] = (),
) -> ImportedModel:
    """Turns a fitted model of scikit-learn into a network on the columns of the table.

    Columns that no step reads are left out.

    Args:
        model: fitted classifier, regressor, pipeline or search.
        target: name of the target; names of several, in the order of the model's values.
        names: names of the columns, as from `names_of`; the model's own if None.
        sample: statistics of columns of numbers in the user's sample; what the pipeline knows if None.
        truth: columns with true and false in the user's sample.

    Raises:
        ImportRefused: A step is not affine, the model is not an MLP or a linear model, or names do not fit.
    """
    fitted = _fitted(model)
    names = names_of(model, None) if names is None else tuple(names)
    table = TableColumns(names, sample, truth)
    features: list[Any] = [RawFeature(column=name) for name in names]
    estimator, path = fitted, _called(fitted)
    while class_name(estimator) == "Pipeline":
        *steps, (last, inner) = estimator.steps
        for name, step in steps:
            features = follow(step, features, table, f"{path} step {name!r}")
        estimator, path = inner, f"{path} step {last!r}"
    if class_name(estimator) == "TransformedTargetRegressor" and class_name(estimator.regressor_) == "Pipeline":
        raise ImportRefused(
            f"{path} has a pipeline inside: put the TransformedTargetRegressor at the end of the pipeline."
        )
    layers = layers_of(estimator, path)
    composed = table.composed([table.number(feature, path) for feature in features])
    if layers.weights[0].shape[1] != len(composed.constant):
        raise ImportRefused(
            f"{path} takes {layers.weights[0].shape[1]} features, and the pipeline makes {len(composed.constant)}."
        )
    config, tensors = _network(layers, composed.first_linear(layers.weights[0], layers.biases[0]))
    schema = Schema(columns=composed.columns, target=_target(target, layers, path))
    rows = _OriginalRows(fitted, names, table)
    return ImportedModel(
        schema=schema,
        config=config,
        tensors=tensors,
        original=lambda given: _ask(fitted, layers, rows.table(given)),
        chosen=(lambda given: _chosen(fitted, layers, rows.table(given))) if _has_probabilities(layers) else None,
        source=_source(model),
    )


def is_sklearn(model: Any) -> bool:
    """Returns True if an object is of a class of scikit-learn."""
    return class_name(model) is not None


def names_of(model: Any, given: Sequence[str] | None, *, told: bool = True) -> tuple[str, ...]:
    """Returns the names of a model's columns: those of the training frame, or given ones, or `x0`, `x1`, ….

    Args:
        model: fitted model of scikit-learn.
        given: names by the user; none if None.
        told: True if the user named the columns; False if the names are those of a sample, which may have others.

    Raises:
        ImportRefused: The model is not fitted, or the user's names are not the model's.
    """
    fitted = _fitted(model)
    own = _known(fitted, "feature_names_in_")
    if own is not None:
        names = tuple(str(name) for name in own)
        if told and given is not None and tuple(given) != names:
            raise ImportRefused(f"columns= says {list(given)}, and the model was trained with {list(names)}.")
        return names
    count = _known(fitted, "n_features_in_")
    if count is None:
        raise ImportRefused(f"the {type(fitted).__name__} is not fitted: it does not know its columns.")
    if given is not None and len(given) == count:
        return tuple(given)
    if given is not None and told:
        raise ImportRefused(f"columns= names {len(given)} columns, and the model was trained with {count}.")
    return tuple(f"x{place}" for place in range(count))


def _known(estimator: Any, attribute: str) -> Any:
    """Returns an attribute that a fitted estimator has of the table; None if no step of the estimator has one.

    scikit-learn asks the first step alone, which may be the text "passthrough" or "drop". The step after a
    "passthrough" takes the same table, and so does each transformer of a FeatureUnion.

    Args:
        estimator: estimator, pipeline or union.
        attribute: `feature_names_in_` or `n_features_in_`.
    """
    if (own := getattr(estimator, attribute, None)) is not None:
        return own
    if class_name(estimator) == "Pipeline":
        first = next((step for _, step in estimator.steps if not _passes(step)), None)
        return _known(first, attribute)
    if class_name(estimator) == "FeatureUnion":
        parts = (_known(part, attribute) for _, part in estimator.transformer_list if not isinstance(part, str))
        return next((found for found in parts if found is not None), None)
    return None


def _passes(step: Any) -> bool:
    """Returns True for "passthrough", and for a pipeline of nothing else."""
    if class_name(step) == "Pipeline":
        return all(_passes(inner) for _, inner in step.steps)
    return step is None or isinstance(step, str)


def _fitted(model: Any) -> Any:
    return model.best_estimator_ if class_name(model) in _SEARCHES and hasattr(model, "best_estimator_") else model


def _called(model: Any) -> str:
    return "pipeline" if class_name(model) == "Pipeline" else "the model"


def _target(target: str | Sequence[str], layers: Layers, path: str) -> Target:
    """Returns the target that the user names.

    Raises:
        ImportRefused: The model has another number of targets than names.
    """
    names = [target] if isinstance(target, str) else list(target)
    if layers.labels:
        if len(names) != 1:
            raise ImportRefused(f"{path} answers one class a row, and target= names {len(names)} targets: name one.")
        return ClassTarget(name=names[0], labels=layers.labels)
    if len(names) != layers.outputs:
        count = f"{layers.outputs} target{'s' if layers.outputs != 1 else ''}"
        raise ImportRefused(f"{path} has {count}: name each of them, in order, with target=[…].")
    if layers.output == "exponential" and len(names) > 1:
        raise ImportRefused(
            f"{path} answers exponentials of {len(names)} targets, and Axon has that output for one target: publish a "
            "model for each."
        )
    return targets_of(names)


def _network(
    layers: Layers, first: tuple[Float64Array, Float64Array]
) -> tuple[SequenceConfig, dict[str, Float64Array]]:
    sequence: list[SequenceLayer] = []
    tensors: dict[str, Float64Array] = {}
    weights, biases = (first[0], *layers.weights[1:]), (first[1], *layers.biases[1:])
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        sequence.append(SequenceLayer(name=f"layers.{place}", kind="linear", out_features=len(weight)))
        tensors[f"layers.{place}.weight"], tensors[f"layers.{place}.bias"] = weight, bias
        activation = layers.activation if place + 1 < len(weights) else layers.last
        if activation is not None:
            name = f"activations.{place}"
            sequence.append(SequenceLayer(name=name, kind="activation", activation=activation))
    width = weights[0].shape[1]
    return SequenceConfig(in_features=width, sequence=tuple(sequence), output=layers.output), tensors


def _source(model: Any) -> dict[str, Any]:
    import sklearn

    kind = type(model)
    return {
        "imported_from": f"{kind.__module__.partition('.')[0]}.{kind.__name__}",
        "original": " ".join(repr(model).split())[:_LONGEST_RECORD],
        "versions": {"scikit-learn": sklearn.__version__},
    }


def _ask(model: Any, layers: Layers, table: Any) -> NDArray[Any]:
    """Asks the original: probabilities, scores or values, (rows, outputs)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown categories, and of names that a matrix lacks
        if _has_probabilities(layers):
            return np.asarray(model.predict_proba(table))
        if layers.output in OUTPUTS_OF_VALUES:
            return np.asarray(model.predict(table)).reshape(-1, layers.outputs)
        scores = np.asarray(model.decision_function(table))
        return np.column_stack([0 * scores, scores]) if scores.ndim == 1 else scores


def _has_probabilities(layers: Layers) -> bool:
    return layers.output in ("softmax", "sigmoid")


def _chosen(model: Any, layers: Layers, table: Any) -> NDArray[np.intp]:
    """Returns the places of the labels that the original answers, (rows,)."""
    places = {label: place for place, label in enumerate(layers.labels)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array([places[label] for label in np.asarray(model.predict(table)).tolist()], dtype=np.intp)


class _OriginalRows:
    """The maker of tables for the original: rows of cells become the frame or the matrix that the model was made for.

    Args:
        model: fitted model.
        names: names of the model's columns.
        table: columns, as far as the steps have read them.
    """

    def __init__(self, model: Any, names: Sequence[str], table: TableColumns) -> None:
        self._names = names
        self._table = table
        self._is_frame = _known(model, "feature_names_in_") is not None

    def table(self, rows: Sequence[Row]) -> Any:
        """Returns rows of cells, in the order of the used columns, as a data frame or as a matrix."""
        given = dict(zip(self._table.used, zip(*rows, strict=True), strict=True))
        columns = {name: self._column(name, given.get(name), len(rows)) for name in self._names}
        if self._is_frame:
            import pandas as pd

            # A frame of objects: pandas would make NaN of None in a column of texts.
            return pd.DataFrame({name: pd.Series(cells, dtype=cells.dtype) for name, cells in columns.items()})
        if all(column.dtype.kind == "f" for column in columns.values()):
            return np.column_stack(list(columns.values()))
        mixed = np.empty((len(rows), len(columns)), dtype=object)
        for place, column in enumerate(columns.values()):
            mixed[:, place] = column
        return mixed

    def _column(self, name: str, cells: Sequence[Any] | None, count: int) -> NDArray[Any]:
        """Returns a column, (rows,): floats, or an object for each category."""
        if cells is None:  # a column that no step reads
            return np.zeros(count)
        if self._table.kind_of(name) == "number":
            return np.array([np.nan if cell is None else float(cell) for cell in cells], dtype=np.float64)
        values, mark = self._table.values(name), self._table.gap_mark(name)
        unknown = unknown_value(list(values.values())) if values else UNKNOWN_TEXT
        made = np.empty(count, dtype=object)
        for place, cell in enumerate(cells):
            text = category_of(cell)
            is_gap = text is None or (text in GAP_NAMES and text not in values)
            made[place] = mark if is_gap else values.get(text or "", unknown)
        return made
