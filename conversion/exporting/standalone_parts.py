"""The parts that NumPy and torch exports share: docstring, imports, the user's functions, columns and labels."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.exporting.python_literals import Call, assignment, escaped
from conversion.exporting.source_bundle import Bundle, SourceBundler
from conversion.exporting.source_model import SourceModel
from models.columns.cells import category_numbers
from models.columns.column import CategoricalColumn, Column, DateColumn
from models.network.inference_network import InferenceNetwork

_COLUMNS = "conversion.exporting.standalone.columns"
_ROWS = "conversion.exporting.standalone.rows"
_SHOWN_TARGETS = 5  # names in the docstring of a file
_QUOTES = '"' * 3

_LABELS = '''\
def predict(rows: Any) -> list[Any]:
    """Returns the label of each row: a list of mappings by column name, a mapping of columns, or a data frame."""
    return [LABELS[i] for i in answers(rows).argmax(axis=1)]
'''
_PROBABILITIES = '''\
def predict_proba(rows: Any) -> NDArray[np.float32]:
    """Returns the probability of each label, (rows, labels), in the order of LABELS."""
    return answers(rows)
'''
_VALUES = '''\
def predict(rows: Any) -> NDArray[Any]:
    """Returns the value of each row: a list of mappings by column name, a mapping of columns, or a data frame."""
    return {values}
'''
_SEVERAL_VALUES = '''\
def predict(rows: Any) -> NDArray[Any]:
    """Returns the values of each row, (rows, targets), in the order of TARGETS.

    The rows are a list of mappings by column name, a mapping of columns, or a data frame.
    """
    return {values}
'''
_CLASS_COLUMNS = '''\
def answer_columns(rows: Any) -> dict[str, list[Any]]:
    """Returns the columns that the command writes beside the table's own."""
    found = answers(rows)
    names = [str(label).lower() if isinstance(label, bool) else str(label) for label in LABELS]
    shares = {f"probability {name}": found[:, i].tolist() for i, name in enumerate(names)}
    return {"prediction": [label_text(LABELS[i]) for i in found.argmax(axis=1)]} | shares
'''
_LABEL_COLUMNS = '''\
def answer_columns(rows: Any) -> dict[str, list[Any]]:
    """Returns the column that the command writes beside the table's own."""
    return {"prediction": [label_text(label) for label in predict(rows)]}
'''
_VALUE_COLUMNS = '''\
def answer_columns(rows: Any) -> dict[str, list[Any]]:
    """Returns the column that the command writes beside the table's own."""
    return {"prediction": predict(rows).tolist()}
'''
_SEVERAL_VALUE_COLUMNS = '''\
def answer_columns(rows: Any) -> dict[str, list[Any]]:
    """Returns the columns that the command writes beside the table's own."""
    return {f"prediction_{name}": values for name, values in zip(TARGETS, predict(rows).T.tolist(), strict=True)}
'''


def need_columns(bundler: SourceBundler, model: SourceModel) -> None:
    """Collects the source that reads the rows of a model."""
    bundler.need(_COLUMNS, *dict.fromkeys(_call(column).function for column in model.checkpoint.schema.columns))
    bundler.need(_ROWS, "check_finite", "encode_rows")


def columns_source(model: SourceModel) -> str:
    """Returns the source of the columns and the labels as data."""
    source = "# The columns of a row, with what training measured.\n"
    source += assignment("COLUMNS", tuple(_call(column) for column in model.checkpoint.schema.columns))
    if model.labels:
        source += assignment("LABELS", model.labels)
    if model.targets:
        source += assignment("TARGETS", model.targets)
        if np.any(model.network.origin):
            source += "# Numbers that are added to the network's answers in float64.\n"
            source += assignment("ORIGINS", np.asarray(model.network.origin).tolist())
    return source + "ROWS_AT_A_TIME = 1024  # which bounds the memory\n"


def bounds_source(network: InferenceNetwork) -> str:
    """Returns the source of the bounds of the answers; empty without bounds of several targets."""
    if network.clamp is None or isinstance(network.clamp[0], float):
        return ""
    bounds = [np.asarray(bound, dtype=np.float32) for bound in network.clamp]
    lines = [assignment(name, _shortest(bound)) for name, bound in zip(("LOWEST", "HIGHEST"), bounds, strict=True)]
    return "# Smallest and largest answer of the network for each target, float32.\n" + "".join(lines)


def member_weights_source(network: InferenceNetwork) -> str:
    """Returns the source of the members' weights; empty for equal weights."""
    if network.weights is None:
        return ""
    comment = "# Weight of each network's answer in the mean.\n"
    return comment + assignment("MEMBER_WEIGHTS", list(network.weights))


def docstring(model: SourceModel, module: str, *, needs: str) -> str:
    """Returns the docstring of a standalone file.

    Args:
        model: model to export.
        module: name of the file without `.py`.
        needs: name of the library that the file needs.
    """
    names = model.targets
    many = len(names) > _SHOWN_TARGETS
    shown = f"{len(names):,} targets" if many else model.checkpoint.schema.target.name
    target = escaped(shown, '"')  # no text can end the docstring
    functions = "predict, predict_proba" if model.has_probabilities else "predict"
    lines = [f"{_QUOTES}{model.name}: predicts {target} with {needs} alone.", ""]
    if needs == "NumPy":
        lines += [
            f"    python {module}.py table.csv > answers.csv    # the table, with predictions beside its rows",
            "",
        ]
    lines += [f"    from {module} import {functions}", "", model.origin_line, _QUOTES]
    return "\n".join(lines) + "\n"


def imports_source(bundle: Bundle, imports: Iterable[str], froms: Mapping[str, Iterable[str]]) -> str:
    """Returns the import statements of a file, in the order of ruff.

    Args:
        bundle: bundled source.
        imports: further `import` statements.
        froms: further imported names, by module.
    """
    names: dict[str, set[str]] = {module: set(those) for module, those in bundle.froms.items()}
    for module, more in froms.items():
        names.setdefault(module, set()).update(more)
    modules = {statement.split()[1]: statement for statement in {*bundle.imports, *imports}}
    lines: dict[bool, list[str]] = {True: [], False: []}
    for module in sorted(modules):
        lines[_is_standard(module)].append(modules[module])
    for module in sorted(names):
        lines[_is_standard(module)].append(
            f"from {module} import {', '.join(sorted(names[module], key=_import_order))}"
        )
    sections = ["from __future__ import annotations", *("\n".join(section) for section in (lines[True], lines[False]))]
    return "\n\n".join(section for section in sections if section) + "\n"


READERS = "# What follows is Axon's own source: parts of the network, and the reading of rows as on the server.\n\n\n"


def predict_source(model: SourceModel, *, for_tables: bool) -> list[str]:
    """Returns the source of the functions that a user calls.

    Args:
        model: model to export.
        for_tables: True to add the function that a command needs.
    """
    if not model.labels:
        origin = model.network.origin
        if model.targets:
            values = "answers(rows).astype(np.float64) + ORIGINS" if np.any(origin) else "answers(rows)"
            sources, columns = [_SEVERAL_VALUES.format(values=values)], _SEVERAL_VALUE_COLUMNS
        else:
            values = f"answers(rows)[:, 0].astype(np.float64) + {origin!r}" if origin else "answers(rows)[:, 0]"
            sources, columns = [_VALUES.format(values=values)], _VALUE_COLUMNS
    elif model.has_probabilities:
        sources, columns = [_LABELS, _PROBABILITIES], _CLASS_COLUMNS
    else:
        sources, columns = [_LABELS], _LABEL_COLUMNS
    return [*sources, columns] if for_tables else sources


def join(*parts: str) -> str:
    """Joins the parts of a file: one blank line after the docstring, and two between all others."""
    return f"{parts[0]}\n" + "\n\n".join(part for part in parts[1:] if part)


def _call(column: Column) -> Call:
    """Returns a column as a call of its class in `standalone.columns`, without defaults."""
    if isinstance(column, CategoricalColumn):
        numbers = {} if column.encoding == "one_hot" else {"numbers": tuple(category_numbers(column))}
        refusals = {"refuses_gaps": column.missing, "refuses_unknown": column.unknown}
        answered = {name: False for name, choice in refusals.items() if choice == "ignore"}
        filled: dict[str, Any] = {} if column.fill is None else {"gap_category": column.fill}
        if column.gaps:
            filled["gaps"] = column.gaps
        return Call("Category", name=column.name, categories=column.categories, **numbers, **answered, **filled)
    rest: dict[str, Any] = {"origin": column.origin} if column.origin else {}
    if isinstance(column, DateColumn):
        rest |= {"parts": column.parts} if column.parts else {}
        rest |= {"form": column.form} if column.form is not None else {}
    if column.gaps:
        rest["gaps"] = column.gaps
    kind = "Date" if isinstance(column, DateColumn) else "Number"
    return Call(kind, name=column.name, gap=column.missing, fill=column.shift, **rest)


def _shortest(bounds: NDArray[np.float32]) -> list[float]:
    """Writes float32 numbers with as few digits as tell each from its neighbours."""
    return [float(str(bound)) for bound in bounds]


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _import_order(name: str) -> tuple[int, str]:
    """Returns the sorting key of an imported name: constants, classes, then the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name
