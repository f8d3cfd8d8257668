"""Results and the models of a store, as data and as tables for the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from models.alias_target import target_to_json
from models.errors import AxonError
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.network.architecture import architecture_from_dict
from models.store_entry import Reference, StoreEntry
from training.data.split import PARTS
from training.fitted_model import FittedModel
from training.fitted_table import print_fitted
from training.metrics import HEADLINE, Metrics, metrics_by_name
from training.reporting.sentences import units_of_several
from training.terminal import plain_console

_UNLIMITED = 10_000  # columns of a table for a file or a pipe, which needs no line breaks


def print_table(table: Table) -> None:
    """Prints a table on standard output, stacked if the terminal is too narrow."""
    print_fitted(plain_console(width=None if sys.stdout.isatty() else _UNLIMITED), table)


def result(model: FittedModel, published: ModelVersion | None) -> dict[str, Any]:
    """Returns the result of a run as JSON types; `model` and `version` are null for an unpublished model."""
    return {
        "model": None if published is None else str(published),
        "name": model.name if published is None else published.name,
        "version": None if published is None else published.version,
        "task": model.table.task,
        "metrics": model.metrics,
        "constant_answer": model.constant_metrics(),
        "epochs_run": model.trained.epochs_run,
        "best_epoch": model.trained.best_epoch,
        "stopped": model.trained.stopped,
        "threads": None if model.threads is None else model.threads.number,
        "notes": list(model.notes),
    }


def metrics_table(model: FittedModel) -> Table:
    """Returns the metrics as rows and the parts as columns, after the constant answer's metrics on the test part."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{model.name}: {model.table.task} of {model.table.target_name}")
    table.add_column("")
    table.add_column("constant, test", justify="right")
    for part in PARTS:
        table.add_column(part, justify="right")
    constant = model.constant_metrics()
    for name, *values in metrics_by_name(constant, model.metrics, PARTS):
        table.add_row(name, *map(_figure, values))
    if model.table.several_targets:
        table.caption, table.caption_justify = units_of_several(model), "left"
    return table


def headline(task: str, metrics: Mapping[str, Any]) -> str:
    """Returns the main figure of a part in words: `accuracy 0.9565`."""
    name = HEADLINE.get(task, "")
    value = metrics.get(name)
    return f"{name} {_figure(value)}" if isinstance(value, int | float) else ""


def model_record(store: ModelStore, entry: StoreEntry) -> dict[str, Any]:
    """Returns a name of the store with versions, aliases and the figures of the current version, as JSON types."""
    record: dict[str, Any] = {
        "name": entry.name,
        "versions": list(entry.versions),
        "aliases": {alias: target_to_json(target) for alias, target in entry.aliases.items()},
        "shadows": {alias: shadow.to_json() for alias, shadow in entry.shadows.items()},
        "problem": entry.problem,
    }
    try:
        version = entry.resolve(Reference(entry.name))
        header = store.version(entry.name, version).read_header()
        config = architecture_from_dict(header["architecture"])
        return record | {
            "task": config.task,
            "parameters": config.parameter_count,
            "metrics": header.get("metrics", {}),
        }
    except (AxonError, KeyError, TypeError) as error:
        # One damaged model must not hide the others.
        return record | {"problem": str(error), "task": None, "parameters": None, "metrics": {}}


def models_table(records: list[dict[str, Any]]) -> Table:
    """Returns a table with one model per row."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    table.add_column("versions")
    table.add_column("aliases")
    table.add_column("task")
    table.add_column("parameters", justify="right")
    table.add_column("test", no_wrap=True)
    for record in records:
        test: Metrics = record["metrics"].get("test", {})
        table.add_row(
            record["name"],
            ", ".join(str(version) for version in record["versions"]),
            ", ".join(f"{alias} → {_target(document)}" for alias, document in sorted(record["aliases"].items())),
            record["task"] or record["problem"],
            "" if record["parameters"] is None else f"{record['parameters']:,}",
            headline(record["task"] or "", test),
        )
    return table


def _target(document: Any) -> str:
    """Returns what an alias means in a few characters, such as `3` or `3 (90 %) 4 (10 %)`."""
    if not isinstance(document, dict):
        return str(document)
    return " ".join(f"{version} ({weight:g} %)" for version, weight in document["weights"].items())


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
