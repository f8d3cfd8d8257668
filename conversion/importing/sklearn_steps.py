"""Transformers of scikit-learn, followed symbolically: from features of a table to features of the next step.

A step is recognised by the name of its class, so scikit-learn need not be imported. A step that is not affine is
refused with its path, such as `pipeline step 'prep' → transformer 'poly'`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from conversion.importing.affine_features import AffineFeature, Feature, RawFeature, TableColumns, mixed
from conversion.importing.imported_model import Float64Array, ImportRefused
from conversion.importing.sklearn_encoders import encoded, is_gap

_Follow = Callable[[Any, Sequence[Feature], TableColumns, str], list[Feature]]


def follow(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    """Returns the features that a fitted transformer makes.

    Args:
        step: transformer, or one of the words `passthrough` and `drop`.
        features: inputs of the transformer.
        columns: columns of the table.
        path: place of the transformer in the pipeline, for messages.

    Raises:
        ImportRefused: The transformer is not affine, or not known.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return list(features)
    if isinstance(step, str) and step == "drop":
        return []
    name = class_name(step)
    if name is None or (name not in _STEPS and not _selects(step)):
        raise ImportRefused(
            f"{path} is a {type(step).__name__}, which is not an affine map of the columns: Axon takes "
            f"{', '.join(sorted(_STEPS))} and feature selection."
        )
    expected = getattr(step, "n_features_in_", None)
    if expected is not None and expected != len(features):
        raise ImportRefused(f"{path} takes {expected} features, and gets {len(features)}.")
    try:
        return _STEPS.get(name, _selected)(step, features, columns, path)
    except AttributeError as error:
        raise ImportRefused(f"{path} is not fitted, or of an unknown version of scikit-learn: {error}.") from error


def class_name(step: Any) -> str | None:
    """Returns the name of a class of scikit-learn; None for a class of anybody else, a subclass included."""
    kind = type(step)
    return kind.__name__ if kind.__module__.partition(".")[0] == "sklearn" else None


def column_places(given: Any, names: Sequence[str] | None, count: int) -> list[int]:
    """Returns the positions of the columns that a ColumnTransformer gives to a transformer.

    Args:
        given: names, positions, a slice of either, or a mask.
        names: names of all columns; None if the columns have none.
        count: number of all columns.
    """
    by_name = {name: place for place, name in enumerate(names or ())}
    if isinstance(given, slice):
        start, stop = given.start, given.stop
        if isinstance(start, str) or isinstance(stop, str):
            start = None if start is None else by_name[start]
            stop = None if stop is None else by_name[stop] + 1
        return list(range(count))[slice(start, stop, given.step)]
    if isinstance(given, str | int | np.integer):
        given = [given]
    listed = list(given)
    if listed and all(isinstance(item, bool | np.bool_) for item in listed):
        return [place for place, chosen in enumerate(listed) if chosen]
    return [by_name[item] if isinstance(item, str) else range(count)[int(item)] for item in listed]


def _pipeline(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    for name, part in step.steps:
        features = follow(part, features, columns, f"{path} → step {name!r}")
    return list(features)


def _union(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    made: list[Feature] = []
    for name, part in step.transformer_list:
        where = f"{path} → transformer {name!r}"
        own = follow(part, features, columns, where)
        made += _weighted(own, (step.transformer_weights or {}).get(name), columns, where)
    return made


def _column_transformer(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    made: list[Feature] = []
    names = getattr(step, "feature_names_in_", None)
    known = None if names is None else [str(name) for name in names]
    for name, part, given in step.transformers_:
        where = f"{path} → transformer {name!r}"
        places = column_places(given, known, len(features))
        own = follow(part, [features[place] for place in places], columns, where) if places else []
        made += _weighted(own, (step.transformer_weights or {}).get(name), columns, where)
    return made


def _weighted(features: list[Feature], weight: float | None, columns: TableColumns, path: str) -> list[Feature]:
    if weight is None:
        return features
    return [columns.number(feature, path).scaled(float(weight), 0.0) for feature in features]


def _standard_scaler(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    mean = step.mean_ if step.with_mean else None
    scale = step.scale_ if step.with_std else None
    numbers = [columns.number(feature, path) for feature in features]
    for place, number in enumerate(numbers):
        if step.mean_ is not None:
            std = 1.0 if step.scale_ is None else step.scale_[place]
            columns.seen(number, center=step.mean_[place], scale=std)
    return _scaled(numbers, mean, scale)


def _min_max_scaler(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    _refuse_clip(step, path)
    numbers = [columns.number(feature, path) for feature in features]
    for place, number in enumerate(numbers):
        low, high = float(step.data_min_[place]), float(step.data_max_[place])
        columns.seen(number, center=(low + high) / 2, scale=(high - low) / 4, limits=(low, high))
    return [
        number.scaled(float(factor), float(shift))
        for number, factor, shift in zip(numbers, step.scale_, step.min_, strict=True)
    ]


def _max_abs_scaler(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    _refuse_clip(step, path)
    numbers = [columns.number(feature, path) for feature in features]
    for number, scale in zip(numbers, step.scale_, strict=True):
        columns.seen(number, center=0.0, scale=float(scale) / 2)
    return _scaled(numbers, None, step.scale_)


def _robust_scaler(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    center = step.center_ if step.with_centering else None
    scale = step.scale_ if step.with_scaling else None
    numbers = [columns.number(feature, path) for feature in features]
    for place, number in enumerate(numbers):
        if center is not None:
            columns.seen(number, center=center[place], scale=1.0 if scale is None else scale[place])
    return _scaled(numbers, center, scale)


def _refuse_clip(step: Any, path: str) -> None:
    if getattr(step, "clip", False):
        raise ImportRefused(f"{path} clips its features (clip=True), which is not affine: train it with clip=False.")


def _scaled(numbers: Sequence[AffineFeature], center: Any, scale: Any) -> list[Feature]:
    centers = np.zeros(len(numbers)) if center is None else np.asarray(center, dtype=np.float64)
    scales = np.ones(len(numbers)) if scale is None else np.asarray(scale, dtype=np.float64)
    return [
        number.scaled(1 / own, -middle / own)
        for number, middle, own in zip(numbers, centers.tolist(), scales.tolist(), strict=True)
    ]


def _imputer(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    if not is_gap(step.missing_values):
        raise ImportRefused(
            f"{path} takes {step.missing_values!r} for a missing value: Axon knows gaps only. Replace the value by a "
            "gap in the table, and train with missing_values=np.nan."
        )
    made: list[Feature] = []
    for feature, fill in zip(features, step.statistics_, strict=True):
        if is_gap(fill):  # a column without any value in training, which the imputer drops
            continue
        value = fill.item() if isinstance(fill, np.generic) else fill
        if isinstance(feature, AffineFeature):
            made.append(feature.filled(float(value)))
        elif feature.fill is None:
            made.append(RawFeature(column=feature.column, fill=value, mark=step.missing_values))
        else:
            made.append(feature)
    if step.add_indicator:
        made += [columns.gap_flag(features[place]) for place in step.indicator_.features_]
    return made


def _missing_indicator(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    if not is_gap(step.missing_values):
        raise ImportRefused(f"{path} takes {step.missing_values!r} for a missing value: Axon knows gaps only.")
    flagged = [int(place) for place in step.features_]
    if step.error_on_new and step.features == "missing-only":
        for place, feature in enumerate(features):
            if place not in flagged:
                columns.refuse_gaps(feature)
    return [columns.gap_flag(features[place]) for place in flagged]


def _encoder(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    return list(encoded(step, features, columns, path))


def _projection(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    """Follows PCA and TruncatedSVD: `(x - mean)·componentsᵀ`, divided by the deviations if whitened."""
    numbers = [columns.number(feature, path) for feature in features]
    mean = getattr(step, "mean_", None)
    center = np.zeros(len(numbers)) if mean is None else np.asarray(mean, dtype=np.float64)
    for number, middle in zip(numbers, center.tolist(), strict=True):
        columns.refuse_gaps(number)
        columns.seen(number, center=middle, scale=1.0)
    matrix: Float64Array = np.asarray(step.components_, dtype=np.float64)  # (out, features)
    if getattr(step, "whiten", False):
        deviations = np.sqrt(np.asarray(step.explained_variance_, dtype=np.float64))
        matrix = matrix / np.maximum(deviations, np.finfo(np.float64).eps)[:, None]
    return list(mixed(matrix, -matrix @ center, numbers))


def _function(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    if step.func is not None:
        name = getattr(step.func, "__name__", repr(step.func))
        raise ImportRefused(
            f"{path} applies the function {name}, which Axon cannot follow: apply it to the table before, or train "
            "without it."
        )
    return list(features)


def _selects(step: Any) -> bool:
    return type(step).__module__.startswith("sklearn.feature_selection.") and hasattr(step, "get_support")


def _selected(step: Any, features: Sequence[Feature], columns: TableColumns, path: str) -> list[Feature]:
    if class_name(step) != "VarianceThreshold":
        for feature in features:
            columns.refuse_gaps(columns.number(feature, path))
    return [features[place] for place in step.get_support(indices=True)]


_STEPS: Mapping[str, _Follow] = {
    "Pipeline": _pipeline,
    "FeatureUnion": _union,
    "ColumnTransformer": _column_transformer,
    "StandardScaler": _standard_scaler,
    "MinMaxScaler": _min_max_scaler,
    "MaxAbsScaler": _max_abs_scaler,
    "RobustScaler": _robust_scaler,
    "SimpleImputer": _imputer,
    "MissingIndicator": _missing_indicator,
    "OneHotEncoder": _encoder,
    "OrdinalEncoder": _encoder,
    "TargetEncoder": _encoder,
    "PCA": _projection,
    "IncrementalPCA": _projection,
    "TruncatedSVD": _projection,
    "FunctionTransformer": _function,
}
