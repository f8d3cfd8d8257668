"""The HTML report: one file about one model, without scripts and without other files."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from models.network.summary import summarize
from training.data.split import PARTS
from training.fitted_model import FittedModel
from training.metrics import metrics_by_name
from training.reporting import class_sections, page
from training.reporting.charts import Chart
from training.reporting.comparison import Comparison
from training.reporting.configurations import configurations_table
from training.reporting.evaluation import Calibration, Confusion, Evaluation, FoldEvaluation, LargestError, Residuals
from training.reporting.figures import apart, columns_table, figure, metric_name, plainly
from training.reporting.importance import REPEATS, Importance
from training.reporting.report_charts import learning_curves, reliability_chart, residual_charts, residuals_in_words
from training.reporting.sentences import (
    beside_constant,
    epoch_in_words,
    keeping,
    losses_explained,
    teacher_settings,
    units_of_several,
)
from training.run_parts import hyperparameters_of, outcome_of, parameters_of

_BARS = 25  # columns whose importance is shown
_ERROR_COLUMNS = 6  # columns that are shown of a row with a wrong answer
_COLUMNS = 200  # number of listed columns


def html_report(
    model: FittedModel, reference: str, evaluation: Evaluation, comparison: Comparison | None = None
) -> str:
    """Returns the report as an HTML document.

    Args:
        model: fitted model.
        reference: published version, `NAME@VERSION`.
        evaluation: evaluation of the model on the test part.
        comparison: comparison with the baselines; None if these were not trained.
    """
    table = model.table
    about = f"{table.task.capitalize()} of {table.target_name}, learned from {table.rows:,} rows."
    header = f"<header>\n<h1>{escape(reference)}</h1>\n{page.paragraph(about, faint=True)}</header>"
    body = [header, *report_sections(model, evaluation, comparison)]
    return page.document(f"{reference}: {table.task} of {table.target_name}", body)


def report_sections(model: FittedModel, evaluation: Evaluation, comparison: Comparison | None) -> list[str]:
    """Returns the sections of the report; the arguments are those of `html_report`."""
    classes = evaluation.classes
    sections = [
        _tiles(model, evaluation),
        page.section("Notes", page.notes(model.notes)),
        page.section("Learning curves", *_learning_curves(model)),
        page.section("Metrics", _metrics(model)),
        page.section("Baselines", *_baselines(comparison)),
        page.section("Answers on the test part", _tested(evaluation), *_answers(evaluation)),
        page.section("Configurations", *_configurations(model)),
        page.section("Answers out of fold", *_out_of_fold(model, evaluation.out_of_fold)),
        page.section("Classes", *([] if classes is None else class_sections.figures_section(classes))),
        page.section(
            "Calibration",
            *_calibration(evaluation.calibration),
            *([] if classes is None else class_sections.calibration_section(classes)),
        ),
        page.section("What a threshold costs", *([] if classes is None else class_sections.costs_section(classes))),
        page.section("Which columns matter", *_importances(evaluation)),
        page.section("Largest errors", _largest_errors(evaluation, shows_rows=model.table.choices.examples == "rows")),
        page.section("Columns", _columns(model)),
        page.section("The network", _layers(model)),
        page.section("Parameters and hyperparameters", _settings(model)),
    ]
    return [section for section in sections if section]


def _tiles(model: FittedModel, evaluation: Evaluation) -> str:
    test = model.metrics["test"]
    found = []
    for name in (evaluation.headline, "log_loss", "rmse", "expected_calibration_error"):
        if name in test:
            below = ""
            if name == evaluation.headline and evaluation.interval is not None:
                below = f"95 % interval {figure(evaluation.interval[0])} to {figure(evaluation.interval[1])}"
            found.append((f"Test {metric_name(name)}", figure(test[name]), below))
    found.append(("Rows", f"{model.table.rows:,}", " + ".join(model.split.shown_sizes())))
    if model.trained.epochs_run > 1:
        found.append(("Epoch that is kept", f"{model.trained.best_epoch:,}", epoch_in_words(model)))
    return page.tiles(found)


def _learning_curves(model: FittedModel) -> Iterable[str]:
    curves = learning_curves(model.trained)
    if curves:
        yield _side_by_side(curves)
        yield page.paragraph(losses_explained(model), faint=True)


def _metrics(model: FittedModel) -> str:
    found = metrics_by_name(model.constant_metrics(), model.metrics, PARTS)
    rows = [(plainly(metric_name(name)), *map(_cell, values)) for name, *values in found]
    table = page.table(("", "constant answer, test", *PARTS), rows, numbers=(1, 2, 3, 4))
    said = units_of_several(model)
    return page.paragraph(beside_constant(model)) + table + (page.paragraph(said, faint=True) if said else "")


def _baselines(comparison: Comparison | None) -> Iterable[str]:
    if comparison is None:
        return
    head, rows = comparison.side_by_side()
    yield page.paragraph(" ".join(filter(None, (comparison.advice, keeping(comparison), comparison.beside))))
    yield page.table(head, rows, numbers=range(1, len(head)))


def _tested(evaluation: Evaluation) -> str:
    rows = (
        f"{evaluation.rows:,} rows"
        if evaluation.rows == evaluation.of
        else f"{evaluation.rows:,} of {evaluation.of:,} rows"
    )
    if evaluation.trivial is None:
        return page.paragraph(f"On {rows}.")
    without = "most frequent class" if evaluation.confusion is not None else "mean"
    return page.paragraph(
        f"On {rows}. Always answering the training part's {without} would give "
        f"{metric_name(evaluation.headline)} {round(evaluation.trivial, 4) + 0.0:g} here."
    )


def _answers(evaluation: Evaluation | FoldEvaluation) -> Iterable[str]:
    of_targets = (
        page.paragraph(f"Target {plainly(name)}:") + _residuals(found) for name, found in evaluation.of_targets.items()
    )
    return (_confusion(evaluation.confusion), _residuals(evaluation.residuals), *of_targets)


def _configurations(model: FittedModel) -> Iterable[str]:
    table = configurations_table(model.checkpoint)
    if table is None:
        return
    yield page.paragraph(
        "The folds were trained with each of these configurations. Greedy selection gave weights to those whose mean "
        "is best on the out-of-fold answers (Caruana et al. 2004); the others are not part of the model."
    )
    yield page.table(*table, numbers=range(1, len(table[0])))


def _out_of_fold(model: FittedModel, found: FoldEvaluation | None) -> Iterable[str]:
    if found is None:
        return
    networks, mean = model.checkpoint.config.members, "mean"
    if model.checkpoint.config.member_weights is not None:
        mean = "weighted mean"
    answered = "here answers the rows of this fold alone."
    if (configurations := networks // found.folds) > 1:
        answered = (
            f"here answers the rows of this fold alone: a row has the {mean} of {configurations} networks, one of each "
            "configuration."
        )
    yield page.paragraph(
        f"On {found.rows:,} rows, all but the test part, in {found.folds} folds. Each network learned from all of them "
        f"but its own fold, and {answered} The model that is served answers by the {mean} of all {networks:,} "
        "networks, which is usually better."
    )
    yield from _answers(found)
    yield from _calibration(found.calibration)


def _confusion(confusion: Confusion | None) -> str:
    if confusion is None:
        return ""
    head = "".join(f'<th scope="col" class="number">{escape(plainly(label))}</th>' for label in confusion.labels)
    rows = "".join(
        f'<tr><th scope="row">{escape(plainly(label))}</th>{_confusion_cells(confusion, i)}</tr>'
        for i, label in enumerate(confusion.labels)
    )
    return (
        '<div class="scroll"><table class="confusion"><caption>'
        "Confusion matrix: true class down, answer across</caption>"
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _confusion_cells(confusion: Confusion, truth: int) -> str:
    counts = confusion.counts[truth]
    total = max(sum(counts), 1)
    return "".join(
        f'<td class="{"right" if answer == truth else "wrong"}" style="--share:{_shade(count / total):.2f}">'
        f"{count:,}</td>"
        for answer, count in enumerate(counts)
    )


def _shade(share: float) -> float:
    """Returns the darkness of a cell, such that even one row among many is visible."""
    return 0.15 + 0.85 * share if share else 0.0


def _residuals(residuals: Residuals | None) -> str:
    if residuals is None:
        return ""
    words = f"{residuals_in_words(residuals)} The outermost bars also hold what lies beyond."
    return _side_by_side(residual_charts(residuals)) + page.paragraph(words, faint=True)


def _calibration(calibration: Calibration | None) -> Iterable[str]:
    if calibration is None:
        return
    yield _side_by_side([reliability_chart(calibration)])
    yield page.paragraph(
        f"Expected calibration error {figure(calibration.expected_error)} (Guo et al. 2017): the mean distance from "
        f"the diagonal over {len(calibration.bins)} bins of equal width, by rows. Larger discs are more rows; below "
        "the diagonal, the model is surer than it should be.",
        faint=True,
    )


def _importances(evaluation: Evaluation) -> Iterable[str]:
    if evaluation.importance_note is not None:
        yield page.paragraph(evaluation.importance_note)
        return
    shown = evaluation.importances[:_BARS]
    most = max((importance.mean for importance in shown), default=0) or 1.0
    rows = "".join(_importance_row(importance, most) for importance in shown)
    metric = metric_name(evaluation.headline)
    yield (
        '<div class="scroll"><table><thead><tr><th scope="col">column</th><th scope="col" class="number">loss</th>'
        f'<th scope="col" class="number">± sd</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    more = len(evaluation.importances) - len(shown)
    others = f" {more:,} more columns lose less." if more else ""
    yield page.paragraph(
        f"What {metric} loses when the column's values are dealt out to other rows (permutation importance, Breiman "
        f"2001): mean and standard deviation of {REPEATS} times, on {evaluation.importance_rows:,} rows of the test "
        f"part.{others} A column that another one repeats can look unimportant.",
        faint=True,
    )


def _importance_row(importance: Importance, most: float) -> str:
    share = max(importance.mean, 0) / most
    return (
        f'<tr><th scope="row">{escape(plainly(importance.column))}</th>'
        f'<td class="number">{importance.mean:.4f}</td>'
        f'<td class="number">{importance.std:.4f}</td>'
        f'<td class="meter"><i style="width:{100 * share:.1f}%"></i></td></tr>'
    )


def _largest_errors(evaluation: Evaluation, *, shows_rows: bool) -> str:
    errors = evaluation.largest_errors
    if not errors:
        return page.paragraph("None: every answer was right.")
    columns = [importance.column for importance in evaluation.importances] or list(errors[0].features)
    columns = columns[:_ERROR_COLUMNS] if shows_rows else []
    has_probability = errors[0].probability is not None
    of_target = [] if errors[0].target is None else ["target"]
    head = ("row", *of_target, "true", "answer", *(["p(true)"] if has_probability else []), *map(plainly, columns))
    hint = "" if shows_rows else page.paragraph("--examples rows shows these rows' columns here.", faint=True)
    return page.table(head, [_error_row(error, columns) for error in errors]) + hint


def _error_row(error: LargestError, columns: list[str]) -> list[str]:
    probability = [] if error.probability is None else [figure(error.probability)]
    features = [plainly("" if error.features[name] is None else error.features[name]) for name in columns]
    answers = [error.truth, error.answer]
    if isinstance(error.truth, float) and isinstance(error.answer, float):
        answers = [apart(value, error.answer - error.truth) for value in (error.truth, error.answer)]
    target = [] if error.target is None else [plainly(error.target)]
    return [f"{error.row:,}", *target, *map(plainly, answers), *probability, *features]


def _columns(model: FittedModel) -> str:
    rows = columns_table(model.checkpoint.schema)
    shown = [(plainly(name), *rest) for name, *rest in rows[:_COLUMNS]]
    more = len(rows) - len(shown)
    caption = "As training saw them" + (f"; {more:,} more are not listed" if more else "")
    return page.table(("column", "kind", "seen", "else"), shown, caption=caption)


def _layers(model: FittedModel) -> str:
    summary = summarize(model.checkpoint.config)
    rows = [
        (
            layer.name,
            layer.type,
            f"{layer.input_shape[-1]:,} → {layer.output_shape[-1]:,}",
            f"{layer.params:,}",
            f"{layer.multiply_adds:,}",
        )
        for layer in summary.layers
    ]
    totals = (
        f"{summary.total_params:,} parameters, {summary.multiply_adds:,} multiply-adds a row, "
        f"{summary.total_bytes:,} bytes; output: {summary.output}."
    )
    head = ("layer", "type", "shape", "parameters", "multiply-adds")
    return page.table(head, rows, numbers=(3, 4)) + page.paragraph(totals, faint=True)


def _settings(model: FittedModel) -> str:
    """Returns three tables: learned parameters, hyperparameters, and other records of the run."""
    learned = [
        (t.name, " × ".join(map(str, t.shape)), f"{t.parameters:,}", *map(figure, (t.mean, t.least, t.most)))
        for t in parameters_of(model.checkpoint)
    ]
    data = {
        f"data: {name}": value for name, value in model.checkpoint.data.items() if not isinstance(value, list | dict)
    }
    outcome = outcome_of(model.checkpoint) | data
    return "\n".join(
        [
            page.table(
                ("tensor", "shape", "parameters", "mean", "least", "greatest"),
                learned,
                caption="Parameters: learned from the training rows",
                numbers=(2, 3, 4, 5),
            ),
            page.table(
                ("hyperparameter", "value"),
                [(name, _setting(value)) for name, value in hyperparameters_of(model.checkpoint).items()],
                caption="Hyperparameters: chosen before training, and not changed by it",
            ),
            *([page.paragraph(said, faint=True)] if (said := teacher_settings(model)) else []),
            page.table(
                ("record", "value"),
                [(name, _setting(value)) for name, value in outcome.items()],
                caption="The run",
            ),
        ]
    )


def _setting(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_setting, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _side_by_side(charts: list[Chart]) -> str:
    return page.charts(chart.to_svg() for chart in charts)


def _cell(value: float | None) -> str:
    return "" if value is None else figure(value)
