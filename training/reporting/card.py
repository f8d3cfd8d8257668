"""The model card (Mitchell et al. 2019): a Markdown page with a YAML head for Hugging Face's hub."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from models.network.summary import summarize
from training.data.split import PARTS
from training.fitted_model import FittedModel
from training.metrics import metrics_by_name
from training.reporting.comparison import Comparison
from training.reporting.configurations import configurations_table
from training.reporting.evaluation import Evaluation
from training.reporting.figures import columns_table, figure, metric_name, plainly
from training.reporting.sentences import (
    beside_constant,
    keeping,
    rare_class_limit,
    teacher_settings,
    training_in_words,
    units_of_several,
    uses,
)
from training.run_parts import hyperparameters_of, outcome_of

_COLUMNS = 100  # number of listed columns
_EXAMPLE_COLUMNS = 200  # with more columns, the example request would fill the page

# Characters that Markdown or its HTML may read as markup; an underscore only outside words.
_MARKUP = re.compile(r"[\\`*{}\[\]<>|~&$#!^]|(?<![^\W_])_|_(?![^\W_])")
# Characters that YAML does not allow unescaped in a quoted text, beside those that JSON escapes.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def model_card(model: FittedModel, reference: str, evaluation: Evaluation, comparison: Comparison | None = None) -> str:
    """Returns the card as Markdown.

    Args:
        model: fitted model.
        reference: published version, `NAME@VERSION`.
        evaluation: evaluation of the model on the test part.
        comparison: comparison with the baselines; None if these were not trained.
    """
    parts = [
        _head(model, reference),
        f"# {_text(reference)}",
        _about(model),
        _use(model),
        _data(model),
        _recipe(model),
        _figures(model, evaluation, comparison),
        _limits(model, evaluation),
        _asking(model, reference),
    ]
    return "\n\n".join(parts) + "\n"


def _head(model: FittedModel, reference: str) -> str:
    """Returns the YAML head. Texts are quoted as in JSON, which is also valid YAML."""
    task = f"tabular-{model.table.task}"
    measures = {name: value for name, value in model.metrics["test"].items() if name not in ("rows", "targets")}
    lines = [
        "library_name: axon",
        f"pipeline_tag: {task}",
        f"tags: [tabular, mlp, {task}]",
        f"metrics: [{', '.join(measures)}]",
        "model-index:",
        f"- name: {_quoted(reference)}",
        "  results:",
        f"  - task: {{type: {task}}}",
        f"    dataset: {{name: {_quoted(model.table.name)}, type: tabular, split: test}}",
        "    metrics:",
        *(f"    - {{type: {name}, value: {_number(value)}}}" for name, value in measures.items()),
    ]
    return "\n".join(["---", *lines, "---"])


def _about(model: FittedModel) -> str:
    table = model.table
    predicts = (
        f"the class of {_text(table.target_name)}, one of {len(table.labels):,}"
        if table.labels
        else f"the value{'s' if table.several_targets else ''} of {_text(table.target_name)}"
    )
    parameters = summarize(model.checkpoint.config).total_params
    return (
        f"A multi-layer perceptron with {parameters:,} parameters that predicts {predicts}, from "
        f"{len(table.features):,} columns of a table. Trained and served by Axon; `model.safetensors` beside this page "
        "is all of it, preprocessing included, and `report.html` shows what it does in charts."
    )


def _use(model: FittedModel) -> str:
    return "## Intended use\n\n" + "\n\n".join(map(_text, uses(model)))


def _data(model: FittedModel) -> str:
    table = model.table
    fingerprint = model.checkpoint.data.get("fingerprint")
    sentence = f"{table.rows:,} rows of {_text(table.name)}: " + ", ".join(model.split.shown_sizes())
    lines = ["## Data", f"{sentence}." + (f" Fingerprint `{fingerprint}`." if isinstance(fingerprint, str) else "")]
    if table.labels:
        shown = ", ".join(_text(label) for label in table.labels[:50])
        lines.append(f"Classes: {shown}{', …' if len(table.labels) > 50 else ''}.")
    rows = columns_table(model.checkpoint.schema)
    lines.append(_table(("column", "kind", "seen in training", "else"), rows[:_COLUMNS]))
    if len(rows) > _COLUMNS:
        lines.append(f"… and {len(rows) - _COLUMNS:,} more.")
    return "\n\n".join(lines)


def _recipe(model: FittedModel) -> str:
    settings = [
        (name, plainly(json.dumps(value) if isinstance(value, list | dict) else "none" if value is None else value))
        for name, value in (hyperparameters_of(model.checkpoint) | outcome_of(model.checkpoint)).items()
    ]
    lines = ["## Training", training_in_words(model), _table(("setting", "value"), settings)]
    if said := teacher_settings(model):
        lines.append(_text(said))
    if (table := configurations_table(model.checkpoint)) is not None:
        lines += ["The configurations of the portfolio, with their weights in the model:", _table(*table)]
    return "\n\n".join(lines)


def _figures(model: FittedModel, evaluation: Evaluation, comparison: Comparison | None) -> str:
    found = metrics_by_name(model.constant_metrics(), model.metrics, PARTS)
    rows = [(plainly(metric_name(name)), *map(_cell, values)) for name, *values in found]
    lines = ["## Figures", _text(beside_constant(model)), _table(("", "constant answer, test", *PARTS), rows)]
    if said := units_of_several(model):
        lines.append(said)
    headline = metric_name(evaluation.headline)
    if evaluation.interval is not None:
        low, high = map(figure, evaluation.interval)
        lines.append(f"The test {headline} lies between {low} and {high} with 95 % confidence, by the number of rows.")
    if evaluation.calibration is not None:
        lines.append(
            f"Calibration: over {evaluation.rows:,} test rows, confidence and accuracy differ by "
            f"{figure(evaluation.calibration.expected_error)} on average (expected calibration error, "
            f"{len(evaluation.calibration.bins)} bins of equal width)."
        )
    if evaluation.classes is not None:
        head = ("class", "rows", "precision", "recall", "mean probability")
        lines.append(_table(head, _by_class(evaluation)))
    if evaluation.importances:
        first = ", ".join(_text(importance.column) for importance in evaluation.importances[:5])
        lines.append(f"The columns that matter most to {headline} (permutation importance): {first}.")
    if comparison is not None:
        lines.append(f"Beside baselines, on the test part: {_text(comparison.advice)} {keeping(comparison)}".rstrip())
        lines.append(_table(*comparison.side_by_side(("test",))))
    return "\n\n".join(lines)


def _by_class(evaluation: Evaluation) -> list[tuple[str, ...]]:
    figures = () if evaluation.classes is None else evaluation.classes.figures
    return [
        (each.label, f"{each.rows:,}", *(_cell(value) for value in (each.precision, each.recall, each.predicted)))
        for each in figures
    ]


def _limits(model: FittedModel, evaluation: Evaluation) -> str:
    limits = [
        "Beyond the ranges seen in training, above, it answers all the same, and has no grounds to.",
        "A row without a column, with a text where a number is expected, or with a missing value where training saw "
        "none is refused, with the row and the column named; so is an unknown category, where the table says so. "
        "Elsewhere an unknown category is answered from the other columns, and the answer's headers say so.",
    ]
    if evaluation.of < 300:
        limits.append(f"The test part has {evaluation.of:,} rows only: its figures are rough.")
    if rare := rare_class_limit(model):
        limits.append(_text(rare))
    limits += map(_text, model.notes)
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _asking(model: FittedModel, reference: str) -> str:
    heading = "## Asking it\n\n`python -m service` serves the store that it is in."
    if len(model.table.features) > _EXAMPLE_COLUMNS:
        return f"{heading} `GET /models/{reference}` lists its columns."
    request = {"model": reference, "instances": [_example(model)]}
    command = f"curl -s localhost:8000/predict -d {shlex.quote(json.dumps(request, allow_nan=False))}"
    return f"{heading} An example row:\n\n{_fenced(command)}"


def _example(model: FittedModel) -> dict[str, Any]:
    """Returns a valid row: the checkpoint's first example, which is made up unless the user asked for real rows."""
    example: dict[str, Any] = model.checkpoint.data["examples"][0]
    return example


def _number(value: float) -> str:
    """Formats a number for YAML 1.1 and 1.2: YAML 1.1 reads 1e-05, without a point, as a text."""
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))


def _quoted(text: str) -> str:
    """Formats a text as a double-quoted YAML scalar."""
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)


def _text(text: str) -> str:
    """Escapes a text for Markdown, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *(list(map(_text, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _fenced(code: str) -> str:
    """Puts code into a Markdown fence that is longer than any fence inside."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}sh\n{code}\n{fence}"


def _cell(value: float | None) -> str:
    return "" if value is None else figure(value)
