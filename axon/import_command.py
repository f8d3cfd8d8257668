"""The command `axon import`: the model of an ONNX file is compared with Axon's network and published."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axon.command_table import CONVERSION, PROGRAM
from axon.model import default_store
from models.alias_file import LATEST, is_alias
from models.columns.labels import Label
from models.errors import AxonError, InvalidName, ModelNotFound, StoreError
from models.installation import missing_part
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.open_store import open_store

if TYPE_CHECKING:
    from conversion.importing.onnx_agreement import OnnxAgreement
    from conversion.importing.onnx_model import OnnxModel

IMPORT = "import"
_EXIT_REFUSED, _EXIT_INTERRUPTED = 2, 130
_DESCRIPTION = """\
Publishes a model that was made elsewhere: an ONNX file with an MLP, from torch, skl2onnx or another exporter.

The graph is read node by node: Gemm, MatMul, Add and activations become layers; scalers, imputers and one-hot
encoders become columns, with categories and gaps. What is not an MLP is refused, and the message names the node.

Before anything is published, the graph and Axon's network answer 1,000 rows. Probabilities may differ by 1e-6,
values by 1e-5 of their spread; otherwise the message shows the row that differs most, and nothing is published.
Without --rows, the rows are drawn from what the graph tells of the columns: real rows test more.
"""
_EPILOG = """\
examples:
  axon import iris.onnx --rows flowers.csv --columns sepal_length,sepal_width,petal_length,petal_width
  axon import logits.onnx --labels setosa,versicolor,virginica --target species
  axon import churn.onnx --dry-run

exit codes:
  0    published, or compared with --dry-run
  2    refused: one sentence says why, and nothing is published
  130  interrupted: nothing is published

docs/import-onnx.md has the operators and the limits.
"""


def run_import(given: Sequence[str]) -> int:
    """Runs the command and returns its exit code.

    Args:
        given: options of the command, without the command.
    """
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {IMPORT}",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser)
    arguments = parser.parse_args(given)
    try:
        return _run(arguments)
    except AxonError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing is published.\n")
        return _EXIT_INTERRUPTED
    except MemoryError:
        sys.stderr.write("error: the memory of this machine is not enough for this model.\n")
        return _EXIT_REFUSED
    except ModuleNotFoundError as missing:
        part = "onnx" if (missing.name or "").partition(".")[0] in ("onnx", "google") else "training"
        if (sentence := missing_part(part, missing)) is None:
            raise
        sys.stderr.write(f"error: {sentence}\n")
        return _EXIT_REFUSED


def add_import_command(commands: Any) -> None:
    """Adds the command to a parser.

    Args:
        commands: argparse's collection of commands.
    """
    _add_options(commands.add_parser(IMPORT, help=CONVERSION[IMPORT]))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the .onnx file")
    parser.add_argument("--name", help="the model's name (default: the file's)")
    parser.add_argument(
        "--store",
        metavar="STORE",
        default=default_store(),
        help="the folder or bucket of models (default: AXON_STORE, else checkpoints)",
    )
    parser.add_argument("--alias", help="point this alias at the new version, such as production")
    parser.add_argument(
        "--dry-run",
        "--no-publish",
        action="store_true",
        help="show what the graph is understood as, compare, and publish nothing",
    )
    parser.add_argument("--quiet", action="store_true", help="the last line alone")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    graph = parser.add_argument_group("what the graph does not tell")
    graph.add_argument(
        "--columns", metavar="A,B,…", help="names of the columns, in order (default: the inputs' names, or x0, x1, …)"
    )
    graph.add_argument(
        "--labels", metavar="A,B,…", help="labels of the classes, in order (default: those in the graph, or 0, 1, …)"
    )
    graph.add_argument("--target", metavar="A,B,…", help="name of the predicted column, or of each (default: target)")
    graph.add_argument(
        "--task",
        choices=("classification", "regression"),
        help="where the graph leaves it open: logits without a softmax, or one number from 0 to 1",
    )
    graph.add_argument("--output", metavar="NAME", help="the output to answer, if the graph has several")
    graph.add_argument(
        "--rows", metavar="FILE", help="a table with the columns, to compare on and to know the columns' ranges"
    )


def _run(arguments: argparse.Namespace) -> int:
    name = arguments.name or _name_of(arguments.file)
    store = open_store(arguments.store)
    if not arguments.dry_run:
        store.try_publishing(name)
    if arguments.alias is not None and (not is_alias(arguments.alias) or arguments.alias == LATEST):
        raise InvalidName(
            f"--alias {arguments.alias!r:.100} cannot be an alias: letters, digits, . _ - after a letter."
        )
    from conversion.importing.onnx_agreement import agreed_onnx

    model, sample = _read(arguments)
    if not (arguments.quiet or arguments.json):
        sys.stdout.write(_described(arguments.file, model))
    result = agreed_onnx(model, sample, name=name)
    published = None if arguments.dry_run else store.publish(name, result.agreement.checkpoint)
    if published is not None and arguments.alias:
        store.set_alias(name, arguments.alias, published.version)
    if arguments.json:
        record = _record(arguments, model, result, published)
        sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
        return 0
    if not arguments.quiet:
        sys.stdout.write(_compared(model, result, None if sample is None else arguments.rows))
    if result.note:
        sys.stderr.write(f"{result.note}\n")
    if published is not None and (sentence := _still_means(store, published)):
        sys.stderr.write(sentence)
    last = f"published {published}" if published is not None else f"nothing is published: {name} was a dry run"
    sys.stdout.write(f"{last}\n")
    return 0


def _read(arguments: argparse.Namespace) -> tuple[OnnxModel, list[Any] | None]:
    """Returns the model, and the user's rows in the order of its columns."""
    from conversion.importing.onnx_model import read_onnx

    told: dict[str, Any] = {
        "columns": None if arguments.columns is None else _listed(arguments.columns),
        "labels": None if arguments.labels is None else labels_of(_listed(arguments.labels)),
        "target": arguments.target,
        "task": arguments.task,
        "output": arguments.output,
    }
    model = read_onnx(arguments.file, **told)
    if arguments.rows is None:
        return model, None
    from axon.import_rows import rows_and_statistics

    notes: list[str] = []
    rows, statistics = rows_and_statistics(arguments.rows, model.imported.schema.columns, notes)
    for note in notes:
        sys.stderr.write(f"{note}\n")
    return read_onnx(arguments.file, **told, sample=statistics), rows


def _name_of(file: Path) -> str:
    """Returns the model's name for a file: the stem, with `-` for what a name cannot have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")[:64] or "model"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def labels_of(texts: Sequence[str]) -> list[Label]:
    """Returns labels of one type: whole numbers or truth values if all texts are such, else the texts."""
    if all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text) for text in texts):
        return [int(text) for text in texts]
    if set(texts) == {"true", "false"}:
        return [text == "true" for text in texts]
    return list(texts)


def _described(file: Path, model: OnnxModel) -> str:
    """Returns what the graph was understood as: inputs, columns, layers, answer."""
    from models.network.summary import summarize

    imported = model.imported
    schema, target = imported.schema, imported.schema.target
    lines = [f"{file.name}: {_producer(imported.source)}", ""]
    shown = [_column_line(column) for column in schema.columns[:20]]
    lines += _aligned([("Column", "Kind", "Gaps"), *shown])
    if len(schema.columns) > len(shown):
        lines.append(f"… and {len(schema.columns) - len(shown):,} more columns")
    if model.unused:
        lines.append(f"No node reads the columns {', '.join(model.unused[:10])}: the model does not take them.")
    labels = getattr(target, "labels", None)
    classes = "" if labels is None else f", one of {', '.join(map(str, labels[:10]))}{' …' if len(labels) > 10 else ''}"
    lines += ["", f"Answer: {target.name}{classes}, from the output {', '.join(model.outputs)}", ""]
    return "\n".join(lines) + "\n" + summarize(imported.config).to_text() + "\n\n"


def _producer(source: Any) -> str:
    opsets = ", ".join(f"{domain} {version}" for domain, version in source["opsets"].items())
    return f"ONNX by {source['producer'] or 'an unknown exporter'}, {source['nodes']:,} nodes, opset {opsets}"


def _column_line(column: Any) -> tuple[str, str, str]:
    fill = getattr(column, "fill", None)
    if column.kind == "categorical":
        known = ", ".join(column.categories[:5]) + (" …" if len(column.categories) > 5 else "")
        gaps = f"as {fill}" if fill is not None else "no category" if column.missing == "ignore" else "refused"
        return column.name, f"one of {known}", gaps
    gaps = {"refuse": "refused", "indicator": "a flag"}.get(column.missing, f"as {column.fill:g}")
    return column.name, "number", gaps


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [min(max(len(row[place]) for row in rows), 48) for place in range(len(rows[0]))]
    return [
        "  ".join(f"{cell[:48]:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _compared(model: OnnxModel, compared: OnnxAgreement, source: str | None) -> str:
    result = compared.agreement
    config = model.imported.config
    count = f"{config.parameter_count:,} parameters"
    where = "drawn from the columns" if source is None else f"of {source}"
    if config.task == "regression":
        apart = f"the greatest difference is {result.worst:.2g} of the values' spread (at most 1e-05)"
    elif config.has_probabilities:
        apart = f"the greatest difference of a probability is {result.worst:.2g} (at most 1e-06)"
    else:
        apart = "each row gets the same class"
    return f"{count}. {result.rows:,} rows {where}, answered by {compared.engine} and by Axon: {apart}.\n"


def _record(
    arguments: argparse.Namespace, model: OnnxModel, compared: OnnxAgreement, published: ModelVersion | None
) -> dict[str, Any]:
    imported, result = model.imported, compared.agreement
    return {
        "model": None if published is None else str(published),
        "file": str(arguments.file),
        "source": dict(imported.source),
        "task": imported.config.task,
        "parameters": imported.config.parameter_count,
        "columns": list(imported.schema.names),
        "unused_columns": list(model.unused),
        "labels": list(getattr(imported.schema.target, "labels", [])) or None,
        "targets": list(getattr(imported.schema.target, "names", [])) or None,
        "compared_rows": result.rows,
        "greatest_difference": result.worst,
        "answered_by": compared.engine,
        "note": compared.note or None,
    }


def _still_means(store: ModelStore, published: ModelVersion) -> str:
    """Returns a sentence if the name means another version than the one just published; else an empty text."""
    try:
        now = store.resolve(published.name)
    except (StoreError, ModelNotFound) as error:
        return f"What {published.name} means cannot be told: {error}\n"
    if now.version == published.version:
        return ""
    return (
        f"{published.name} still means {now}, since the alias default names it: {PROGRAM} promote {published} changes "
        "that.\n"
    )
