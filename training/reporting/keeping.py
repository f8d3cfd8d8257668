"""Instructions for keeping a better baseline: an option for the linear model, Python code for the trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.columns.date_forms import digits_of, twin_of
from models.columns.dictionary_column import DictionaryColumn
from training.data.training_table import TrainingTable

KEEP_LINEAR = "`fit` with --linear trains that linear model, publishes it, and it is served like any other."
# Beginning of the name of a library's class, its module, how columns of categories are given, and the arguments.
_LIBRARIES = {
    "scikit-learn": (
        "HistGradientBoosting",
        "sklearn.ensemble",
        'astype("category")',
        'categorical_features="from_dtype", random_state=0',
    ),
    "LightGBM": ("LGBM", "lightgbm", 'astype("category")', "random_state=0"),
    "CatBoost": (
        "CatBoost",
        "catboost",
        'astype(object).fillna("missing").astype(str)',
        "cat_features=names, random_seed=0, verbose=False, allow_writing_files=False",
    ),
}
# Arguments of `pandas.to_datetime` for numbers that are dates, by the form of the column.
_UNITS = {
    "epoch-seconds": {"unit": "s"},
    "epoch-milliseconds": {"unit": "ms"},
    "epoch-microseconds": {"unit": "us"},
    "epoch-nanoseconds": {"unit": "ns"},
    "epoch-days": {"unit": "D"},
    "excel-days": {"unit": "D", "origin": "1899-12-30"},
}
_MAX_CATEGORIES = 254  # categories that the trees take in a column, beside the missing value


def trees_code(
    table: TrainingTable, source: str | Path | None, *, library: str = "scikit-learn", is_balanced: bool = False
) -> str:
    """Returns a Python program that trains the trees of a baseline, saves the trees and predicts, without Axon.

    Args:
        table: table with the columns that the code names.
        source: path of the CSV or Parquet file; None for a DataFrame of the reader.
        library: library of the trees: `scikit-learn`, `LightGBM` or `CatBoost`.
        is_balanced: True for trees that learn with balanced classes.
    """
    make, module, categories, options = _LIBRARIES[library]
    if is_balanced:
        options += ', auto_class_weights="Balanced"' if library == "CatBoost" else ', class_weight="balanced"'
    # LightGBM takes no brackets, quotation marks and colons in the names of columns.
    rename = '.set_axis([f"f{i}" for i in range(x.shape[1])], axis="columns")' if library == "LightGBM" else ""
    numbers, names, dates, wide = _by_kind(table)
    kind = "Classifier" if table.labels else "Regressor"
    stem = Path(source).stem if source is not None else table.name
    kept = f"{stem}-trees.joblib"
    forms = {date: arguments for date in dates if (arguments := _date_arguments(table.date_forms.get(date)))}
    lines = [
        "import joblib",
        "import pandas as pd",
        f"from {module} import {make}{kind}",
        "",
        f"numbers, names, dates = {numbers!r}, {names!r}, {dates!r}",
        "",
        "def features(frame):",
        "    x = frame[numbers + names + dates].copy()",
        f"    x[names] = x[names].{categories}",
        "    for date in dates:",
        *_moments(forms),
        '        x[date] = (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds()',
        f"    return x{rename}",
        "",
        f"table = {_reading(source)}",
        f"table = table.dropna(subset={list(table.target_names)!r})",
        *_training(table, f"{make}{kind}({options})"),
        f"joblib.dump(trees, {kept!r})  # loading such a file runs what is in it: load your own",
        f"# Later: {_answering(table, f'joblib.load({kept!r})')}",
    ]
    if wide:
        lines.insert(4, f"# Left out, with more than {_MAX_CATEGORIES} categories: {', '.join(map(repr, wide))}")
    if forms:
        lines.insert(lines.index("def features(frame):") - 1, f"forms = {forms!r}")
    return "\n".join(lines)


def _moments(forms: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Returns the lines that read a column of dates."""
    if not forms:
        return ["        moments = pd.to_datetime(x[date], utc=True)"]
    return [
        "        how = forms.get(date, {})",
        # Whole numbers such as 20240531 are digits in a form; with a gap beside them, pandas makes them floats.
        '        given = x[date].astype("string").str.removesuffix(".0") if "format" in how else x[date]',
        "        moments = pd.to_datetime(given, utc=True, **how)",
    ]


def _date_arguments(form: str | None) -> dict[str, object]:
    """Returns the arguments with which `pandas.to_datetime` reads dates of a form as Axon does.

    Args:
        form: form of a column's dates; None for ISO 8601.
    """
    if form is None:
        return {}
    if form in _UNITS:
        return {**_UNITS[form]}
    if form.startswith("%y") or digits_of(form) is not None:
        return {"format": form}
    if twin_of(form) is not None and form.index("%d") < form.index("%m"):
        return {"dayfirst": True}
    return {}


def _training(table: TrainingTable, estimator: str) -> list[str]:
    """Returns the lines that train the trees, of several targets one estimator for each."""
    column = table.choices.weight
    weight = "" if column is None else f", sample_weight=table[{column!r}]"
    if not table.several_targets:
        return [f"trees = {estimator}", f"trees.fit(features(table), table[{table.target_name!r}]{weight})"]
    names = list(table.several_targets)
    return [f"trees = {{name: {estimator}.fit(features(table), table[name]{weight}) for name in {names!r}}}"]


def _answering(table: TrainingTable, trees: str) -> str:
    """Returns the expression that answers a data frame."""
    if not table.several_targets:
        return f"{trees}.predict(features(frame))"
    return f"{{name: one.predict(features(frame)) for name, one in {trees}.items()}}"


def _by_kind(table: TrainingTable) -> tuple[list[str], list[str], list[str], list[str]]:
    """Returns the names of numeric, of categorical, of date and of too wide columns."""
    numbers: list[str] = []
    names: list[str] = []
    dates: list[str] = []
    wide: list[str] = []
    for name, values in table.features.items():
        if isinstance(values, DictionaryColumn):
            (names if len(values.counts()) <= _MAX_CATEGORIES else wide).append(name)
        else:
            (dates if table.kind(name) == "date" else numbers).append(name)
    return numbers, names, dates, wide


def _reading(source: str | Path | None) -> str:
    if source is None:
        return "...  # a DataFrame with these columns"
    path = str(source)
    if path.endswith((".parquet", ".pq")):
        return f"pd.read_parquet({path!r})"
    separator: Sequence[str] = [', sep="\\t"'] if path.endswith(".tsv") else []
    return f"pd.read_csv({path!r}{''.join(separator)})"
