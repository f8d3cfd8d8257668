"""The report: a table for each measure, the ranking, paired differences, and the costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.accuracy.data_folder import Extracted
from benchmarks.accuracy.datasets import Dataset, Task
from benchmarks.accuracy.roster import AXON_DEFAULT, AXON_ENSEMBLE, REALMLP, REALMLP_CE, Method
from benchmarks.accuracy.runs import Result, versions_of
from benchmarks.accuracy.scores import MEASURES, Measure, Spread
from benchmarks.accuracy.standing import standing_table

_PAIRS = ((AXON_DEFAULT, REALMLP), (AXON_DEFAULT, REALMLP_CE), (AXON_ENSEMBLE, AXON_DEFAULT))

Scores = Mapping[tuple[str, str], Mapping[int, tuple[float, ...]]]  # (data set, method) → seed → measures


def scores_of(results: Sequence[Result]) -> Scores:
    """Returns the measures by data set and method, then by seed."""
    found: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
    for result in results:
        run = result.run
        found.setdefault((run.dataset.name, run.method.name), {})[run.seed] = result.scores
    return found


def report(results: Sequence[Result], data: Mapping[str, Extracted], methods: Sequence[Method], max_rows: int) -> str:
    """Returns the whole report in Markdown.

    Args:
        results: results of the runs.
        data: extracted data sets by name.
        methods: methods in the order of the columns; those without a result are left out.
        max_rows: number of rows to which large tables were cut.
    """
    made = {result.run.method.name for result in results}
    methods = [method for method in methods if method.name in made]
    datasets = list({result.run.dataset.name: result.run.dataset for result in results}.values())
    seeds = sorted({result.run.seed for result in results})
    scores = scores_of(results)
    lines = [
        "Split 70/15/15, of each class alike, the same for all methods; "
        f"seed(s) {', '.join(map(str, seeds))}, each with a split of its own. Mean ± standard deviation over them, on "
        f"the test part. Tables of more than {max_rows:,} rows are cut to {max_rows:,} drawn ones. Bold is the best "
        "mean; · is within that method's standard deviation of it.",
        "",
    ]
    tasks: tuple[Task, ...] = ("classification", "regression")
    for task in tasks:
        of_task = [dataset for dataset in datasets if dataset.task == task]
        columns = [method for method in methods if task in method.tasks]
        for index, measure in enumerate(MEASURES[task]):
            if of_task and columns:
                lines += [f"### {measure.title}", "", *score_table(scores, of_task, columns, measure, index), ""]
    lines += ranking_table(scores, datasets, methods)
    lines += standing_table(results, datasets, methods)
    lines += paired_table(scores, datasets, methods)
    lines += _cost_table(results, datasets, methods)
    lines += _latency_table(results, datasets, methods)
    lines += ["### Data sets", "", *_dataset_table(datasets, data, max_rows), "", "### Methods", ""]
    for method in methods:
        used = ", ".join(f"{name} {version}" for name, version in versions_of(method).items())
        lines.append(f"- {method.title}: {method.about} ({used})")
    return "\n".join([*lines, ""])


def leaders(spreads: Mapping[str, Spread], measure: Measure) -> tuple[set[str], set[str]]:
    """Returns the methods with the best mean, and those within one standard deviation of that mean.

    The deviation is that of the best method. A method's own would favour unstable methods: a linear model that fails
    on one seed would count as near the best.
    """
    sign = 1 if measure.more_is_better else -1
    best = max(spreads.values(), key=lambda spread: sign * spread.mean)
    first = {name for name, spread in spreads.items() if spread.mean == best.mean}
    deviation = max(spreads[name].deviation for name in first)
    near = {name for name, spread in spreads.items() if name not in first and abs(spread.mean - best.mean) <= deviation}
    return first, near


def score_table(
    scores: Scores, datasets: Sequence[Dataset], methods: Sequence[Method], measure: Measure, index: int
) -> list[str]:
    """Returns Markdown lines with a row for each data set and a column for each method.

    Args:
        scores: measured scores.
        datasets: data sets of the rows.
        methods: methods of the columns.
        measure: measure of the table, with its format.
        index: index of the measure among the task's.
    """
    lines = _heading(["data set", *(method.title for method in methods)])
    for dataset in datasets:
        spreads = _spreads(scores, dataset.name, methods, index)
        if not spreads:
            continue
        first, near = leaders(spreads, measure)
        seeds = max(spread.seeds for spread in spreads.values())
        cells = [dataset.name]
        for method in methods:
            spread = spreads.get(method.name)
            text = "–" if spread is None else _shown(spread, measure)
            if spread is not None and spread.seeds < seeds:
                text += f" ({spread.seeds} of {seeds})"
            cells.append(f"**{text}**" if method.name in first else f"{text} ·" if method.name in near else text)
        lines.append(_row(cells))
    return lines


def ranking_table(scores: Scores, datasets: Sequence[Dataset], methods: Sequence[Method]) -> list[str]:
    """Returns Markdown lines with the number of data sets on which a method is first, or near the first.

    Near is within one standard deviation of the first.
    """
    titles = ("accuracy or R²", "log-loss or RMSE")
    lines = [
        "### Standing",
        "",
        *_heading(["method", *(f"{t}: {w}" for t in titles for w in ("first", "first or near"))]),
    ]
    for method in methods:
        cells = [method.title]
        for index in range(2):
            first, near, entered = 0, 0, 0
            for dataset in datasets:
                spreads = _spreads(scores, dataset.name, methods, index)
                if method.name in spreads:
                    best, near_best = leaders(spreads, MEASURES[dataset.task][index])
                    entered += 1
                    first += method.name in best
                    near += method.name in near_best
            cells += [f"{first} of {entered}", f"{first + near} of {entered}"]
        lines.append(_row(cells))
    return [*lines, ""]


def paired_table(scores: Scores, datasets: Sequence[Dataset], methods: Sequence[Method]) -> list[str]:
    """Returns Markdown lines with paired differences of methods; an empty list if there are no two to compare.

    Differences are taken within a seed, which cancels the difficulty of the split. A positive difference means that the
    first method of the pair is better.
    """
    titles = {method.name: method.title for method in methods}
    lines = []
    for a, b in _PAIRS:
        if a not in titles or b not in titles:
            continue
        lines += [
            f"### {titles[a]} against {titles[b]}, on the same split",
            "",
            *_heading(["data set", "accuracy (points) or R²: better by", "log-loss (nats) or RMSE (%): better by"]),
        ]
        for dataset in datasets:
            ours, theirs = scores.get((dataset.name, a), {}), scores.get((dataset.name, b), {})
            if both := sorted(ours.keys() & theirs.keys()):
                main = MEASURES[dataset.task][0]
                gain = Spread.of([main.factor * (ours[seed][0] - theirs[seed][0]) for seed in both])
                is_classes = dataset.task == "classification"  # no ratios: a log-loss near 0 makes any ratio huge
                saving = Spread.of(
                    [theirs[s][1] - ours[s][1] if is_classes else 100 * (1 - ours[s][1] / theirs[s][1]) for s in both]
                )
                digits, loss_digits = main.digits or 4, 4 if is_classes else 1
                lines.append(
                    _row(
                        [
                            dataset.name,
                            f"{gain.mean:+.{digits}f} ± {gain.deviation:.{digits}f}",
                            f"{saving.mean:+.{loss_digits}f} ± {saving.deviation:.{loss_digits}f}",
                        ]
                    )
                )
        lines.append("")
    return lines


def write_between_markers(text: str, report_text: str, *, name: str = "accuracy") -> str:
    """Returns a document in which the report replaces the text between the markers of a name.

    Raises:
        ValueError: the document has no such markers.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document has no place for the report: put {first} and {last} into it.")
    return f"{before}{first}\n\n{report_text.strip()}\n\n{last}{after}"


def _cost_table(results: Sequence[Result], datasets: Sequence[Dataset], methods: Sequence[Method]) -> list[str]:
    lines = ["### CPU seconds of one fit, one thread (mean over the seeds)", ""]
    lines += _heading(["data set", *(method.title for method in methods)])
    totals = dict.fromkeys((method.name for method in methods), 0.0)
    for dataset in datasets:
        cells = [dataset.name]
        for method in methods:
            seconds = [
                r.cpu_seconds
                for r in results
                if r.run.dataset.name == dataset.name and r.run.method.name == method.name
            ]
            totals[method.name] += sum(seconds)
            cells.append(f"{np.mean(seconds):.1f}" if seconds else "–")
        lines.append(_row(cells))
    lines.append(_row(["all runs", *(f"{totals[method.name]:,.0f}" for method in methods)]))
    return [*lines, ""]


def _latency_table(results: Sequence[Result], datasets: Sequence[Dataset], methods: Sequence[Method]) -> list[str]:
    lines = ["### CPU milliseconds of 1,000 answers, one thread (median over the seeds)", ""]
    lines += _heading(["data set", *(method.title for method in methods)])
    for dataset in datasets:
        seconds = {
            method.name: [
                result.seconds_of_1000
                for result in results
                if result.run.dataset.name == dataset.name and result.run.method.name == method.name
            ]
            for method in methods
        }
        lines.append(_row([dataset.name, *(f"{1e3 * np.median(s):.3g}" if s else "–" for s in seconds.values())]))
    return [*lines, ""]


def _dataset_table(datasets: Sequence[Dataset], data: Mapping[str, Extracted], max_rows: int) -> list[str]:
    lines = ["| data set | task | rows | numbers | categories | from | what |", "|---|---|--:|--:|--:|---|---|"]
    for dataset in datasets:
        found = data[dataset.name]
        rows = f"{found.rows:,}" if found.rows <= max_rows else f"{max_rows:,} of {found.rows:,}"
        cells = [dataset.name, dataset.task, rows, str(found.numeric), str(found.categorical), dataset.package]
        lines.append(_row([*cells, dataset.about]))
    return lines


def _spreads(scores: Scores, dataset: str, methods: Sequence[Method], index: int) -> dict[str, Spread]:
    return {
        method.name: Spread.of([measures[index] for measures in by_seed.values()])
        for method in methods
        if (by_seed := scores.get((dataset, method.name))) and all(len(found) > index for found in by_seed.values())
    }


def _shown(spread: Spread, measure: Measure) -> str:
    mean, deviation = measure.factor * spread.mean, measure.factor * spread.deviation
    digits = measure.digits
    if digits is None:  # four significant digits
        digits = max(0, 3 - int(np.floor(np.log10(abs(mean))))) if mean else 4
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _heading(cells: Sequence[str]) -> list[str]:
    return [_row(cells), f"|---|{'--:|' * (len(cells) - 1)}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
