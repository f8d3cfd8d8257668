"""The operators of `ai.onnx.ml` that prepare a table's columns, and the linear models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from conversion.importing.affine_features import AffineFeature, Element, RawFeature
from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.conditions import filled
from conversion.importing.onnx_graph.contents import (
    Chosen,
    Codes,
    Condition,
    Features,
    Float64Array,
    Hidden,
    Probabilities,
    RowValue,
    Value,
)
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.heads import labels_of
from conversion.importing.onnx_graph.layout import row_input
from conversion.importing.onnx_graph.node import Node
from models.columns.cell_text import NoCategory, category_of, is_missing


def _scaler(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    width = value.content.width
    offset, scale = (_spread(node, name, default, width) for name, default in (("offset", 0.0), ("scale", 1.0)))
    affine = chain.affine(value.content, node)
    if isinstance(affine, Features):
        for item, center, factor in zip(affine.items, offset.tolist(), scale.tolist(), strict=True):
            if factor:
                chain.table.seen(item, center=center, scale=1 / abs(factor))
    return RowValue.flat(chain.scaled(affine, scale, -offset * scale, node))


def _spread(node: Node, name: str, default: float, width: int) -> Float64Array:
    given = node.floats(name)
    array = np.full(1, default) if given is None else given
    if array.size not in (1, width):
        raise node.refused(f"has {array.size} numbers in {name!r} for {width} columns")
    return np.broadcast_to(array, (width,))


def _imputer(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    if not isinstance(content, Features):
        raise node.refused("fills gaps of something else than columns")
    mark = node.get("replaced_value_float")
    if not node.has("imputed_value_floats") or mark is None or not np.isnan(mark):
        raise node.refused("replaces another value than NaN, which Axon does not take for a gap")
    fills = _spread(node, "imputed_value_floats", 0.0, content.width)
    numbers = Features(chain.numbers(content, node))
    gaps = [item.gap if isinstance(item, AffineFeature) else item.column for item in numbers.items]
    conditions = [frozenset() if gap is None else frozenset({Condition(gap, "gap")}) for gap in gaps]
    return RowValue(filled(chain, numbers, fills.tolist(), conditions, node), value.dims)


def _one_hot_encoder(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    categories = node.get("cats_strings") or node.get("cats_int64s") or []
    if not isinstance(content, Features) or not all(isinstance(item, RawFeature) for item in content.items):
        raise node.refused("encodes something else than columns as they are")
    if not categories:
        raise node.refused("has no categories")
    refuses = not node.get("zeros", 1)
    items: list[AffineFeature] = []
    for item in content.items:
        if isinstance(item, RawFeature):
            items += _flags(chain, node, item, categories, refuses_unknown=refuses)
    return RowValue(Features(tuple(items)), (*value.dims, len(categories)))


def _flags(
    chain: Chain, node: Node, item: RawFeature, categories: Sequence[str | int], *, refuses_unknown: bool
) -> list[AffineFeature]:
    """Returns a flag for each category of a column."""
    column = item.column
    missing = gap_texts(categories)
    known = [category for category in categories if category not in missing]
    texts = iter(chain.table.categories(column, known, step=str(node), refuses_unknown=refuses_unknown))
    _note_gap(chain, node, column, missing)
    elements = [
        Element(column, "gap") if category in missing else Element(column, "category", next(texts))
        for category in categories
    ]
    gap_counts = any(element.kind == "gap" for element in elements)
    if item.fill is not None and gap_counts:
        raise node.refused(f"has a category for gaps of column {column!r}, which are filled before")
    flags = []
    for category, element in zip(categories, elements, strict=True):
        weights = {element: 1.0}
        if item.fill is not None and category == item.fill:
            weights[Element(column, "gap")] = 1.0
        flags.append(AffineFeature(weights=weights))
    if refuses_unknown and not gap_counts and item.fill is None:
        chain.table.refuse_gaps(item)
    return flags


def gap_texts(categories: Sequence[str | int]) -> list[str | int]:
    """Returns the categories that are no categories for Axon, but gaps."""
    return [category for category in categories if isinstance(category, str) and is_missing(category)]


def _note_gap(chain: Chain, node: Node, column: str, missing: Sequence[str | int]) -> None:
    """Notes the text that stands for a gap in the graph.

    Raises:
        ImportRefused: There are two such texts.
    """
    noted = chain.table.gap_mark(column)
    if len({*missing, *([noted] if isinstance(noted, str) else [])}) > 1:
        raise node.refused(
            f"tells {', '.join(map(repr, missing))} apart in column {column!r}; Axon takes all for a gap"
        )
    if missing:
        chain.table.note_gap_mark(column, missing[0])


def _label_encoder(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    if isinstance(content, Chosen):
        return RowValue(_renamed(node, content), value.dims)
    if not isinstance(content, Features) or len(content.items) != 1 or not isinstance(content.items[0], RawFeature):
        raise node.refused("encodes something else than a column as it is")
    keys = _keys(node)
    numbers = next((node.get(name) for name in ("values_int64s", "values_floats") if node.get(name)), None)
    if numbers is None and node.get("values_tensor") is not None:
        numbers = node.get("values_tensor").ravel().tolist()
    if node.get("classes_strings"):
        numbers = list(range(len(keys)))
    if numbers is None or isinstance(numbers[0], str) or len(numbers) != len(keys):
        raise node.refused("replaces categories by something else than numbers")
    default = _default(node)
    item = content.items[0]
    codes = _codes(chain, node, item.column, keys, numbers, default)
    if item.fill is not None:
        codes = Codes(
            codes.column, {**codes.numbers, None: float(dict(zip(keys, numbers, strict=True))[item.fill])}, default
        )
    return RowValue(codes, value.dims)


def _codes(
    chain: Chain, node: Node, column: str, keys: Sequence[str | int], numbers: Sequence[float], default: float | None
) -> Codes:
    """Returns the number of each category of a column; spellings that are one for Axon must have one number."""
    found: dict[str | None, float] = {}
    first: dict[str | None, str | int] = {}
    for key, number in zip(keys, numbers, strict=True):
        text = _category(node, column, key)
        if found.setdefault(text, float(number)) != float(number):
            raise node.refused(f"tells {first[text]!r} and {key!r} apart in column {column!r}, which are one for Axon")
        first.setdefault(text, key)
    known = [key for text, key in first.items() if text is not None]
    chain.table.categories(column, known, step=str(node), refuses_unknown=default is None)
    if None in first:
        _note_gap(chain, node, column, [first[None]])
    elif default is None:
        chain.table.refuse_gaps(RawFeature(column=column))
    else:
        found[None] = default
    return Codes(column, found, default)


def _category(node: Node, column: str, key: str | int) -> str | None:
    try:
        return category_of(key)
    except NoCategory:
        raise node.refused(f"has a category {key!r} of column {column!r} that is none for Axon") from None


def _keys(node: Node) -> list[str | int]:
    keys = next((node.get(name) for name in ("keys_strings", "keys_int64s", "classes_strings") if node.get(name)), None)
    if keys is None and node.get("keys_tensor") is not None:
        keys = node.get("keys_tensor").ravel().tolist()
    if keys is None:
        raise node.refused("has keys that are no texts and no whole numbers")
    return [key.decode() if isinstance(key, bytes) else key for key in keys]


def _default(node: Node) -> float | None:
    """Returns the number of a category without a key; -1 marks an error in graphs of skl2onnx."""
    if node.get("default_tensor") is not None:
        return float(node.get("default_tensor").ravel()[0])
    if node.has("default_int64"):
        return float(node.get("default_int64"))
    if node.has("default_float"):
        return float(node.get("default_float"))
    return None


def _renamed(node: Node, chosen: Chosen) -> Chosen:
    """Returns the chosen class with other labels."""
    names = next(
        (node.get(name) for name in ("values_strings", "values_int64s", "classes_strings") if node.get(name)), None
    )
    keys = list(range(len(names or ()))) if node.get("classes_strings") else node.get("keys_int64s")
    if not names or not keys or isinstance(keys[0], str):
        raise node.refused("names classes in a way that Axon does not follow")
    by_key = dict(zip(keys, names, strict=True))
    own = chosen.labels or tuple(range(chosen.scores.width))
    if any(label not in by_key for label in own):
        raise node.refused("has no name for some class")
    # The operator's defaults for a label without a name.
    otherwise = node.get("default_string", "_Unused") if isinstance(names[0], str) else node.get("default_int64", -1)
    renamed = Chosen(chosen.scores, chosen.tensor, tuple(by_key[label] for label in own))
    return renamed.marked([by_key.get(mark, otherwise) for mark in chosen.marks], node)


def _linear_regressor(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    if node.get("post_transform", "NONE") != "NONE":
        raise node.refused(f"ends with {node.get('post_transform')}")
    return RowValue.flat(_scores(chain, node, value, int(node.get("targets", 1))))


def _scores(chain: Chain, node: Node, value: RowValue, outputs: int) -> Hidden:
    coefficients = node.floats("coefficients")
    if coefficients is None or outputs < 1 or coefficients.size != outputs * value.content.width:
        count = 0 if coefficients is None else coefficients.size
        raise node.refused(f"has {count} coefficients for {value.content.width} columns and {outputs} outputs")
    intercepts = node.floats("intercepts")
    bias = np.zeros(outputs) if intercepts is None else intercepts
    if bias.size not in (1, outputs):
        raise node.refused(f"has {bias.size} intercepts for {outputs} outputs")
    weight = coefficients.reshape(outputs, -1).T
    return chain.linear(value.content, weight, np.broadcast_to(bias, (outputs,)).astype(np.float64), node)


def _linear_classifier(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = row_input(node, inputs)
    labels = labels_of(node, "classlabels_strings", "classlabels_ints")
    if labels is None or len(labels) < 2:
        raise node.refused("has no labels")
    coefficients = node.floats("coefficients")
    single = len(labels) == 2 and coefficients is not None and coefficients.size == value.content.width
    scores = _scores(chain, node, value, 1 if single else len(labels))
    transform = node.get("post_transform", "NONE")
    answers: Hidden | Probabilities
    if transform == "SOFTMAX" and not single:
        answers = Probabilities("softmax", scores, len(labels), str(node), labels)
    elif transform == "LOGISTIC" and len(labels) == 2:
        second = scores if single else scores.taken(np.array([1]))
        if not single:
            first = scores.taken(np.array([0]))
            opposite = np.array_equal(first.dense(), -second.dense()) and np.array_equal(first.shift, -second.shift)
            if not opposite:
                raise node.refused("has two scores that are not opposite, so that the probabilities do not add up to 1")
        answers = Probabilities("sigmoid", second, 2, str(node), labels)
    elif transform == "NONE" and not single:
        answers = scores
    else:
        raise node.refused(f"makes no probabilities that add up to 1: {transform} of {len(labels)} classes")
    chosen = Chosen(answers, node.outputs[1] if len(node.outputs) > 1 else "", labels)
    return RowValue(chosen, ()), RowValue(answers, (len(labels),))


OPERATORS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        ("ai.onnx.ml", "Scaler"): _scaler,
        ("ai.onnx.ml", "Imputer"): _imputer,
        ("ai.onnx.ml", "OneHotEncoder"): _one_hot_encoder,
        ("ai.onnx.ml", "LabelEncoder"): _label_encoder,
        ("ai.onnx.ml", "LinearRegressor"): _linear_regressor,
        ("ai.onnx.ml", "LinearClassifier"): _linear_classifier,
    }
)
