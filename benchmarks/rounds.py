"""The rounds of a run, each with new servers in a different order; and the common command line options."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.goals import Goal
from benchmarks.load import DRIVERS, available_drivers
from benchmarks.measure import WORKLOADS, Effort, Results, measure
from benchmarks.peer import Peer
from benchmarks.report import report


def add_options(
    parser: argparse.ArgumentParser, names: Sequence[str], workloads: Sequence[str], *, warm_up: float
) -> None:
    """Adds the options of a run, with their defaults."""
    parser.add_argument("--only", nargs="+", choices=names, help="servers [all]")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(workloads), help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds [%(default)s]")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds a load run [%(default)s]")
    parser.add_argument("--warm-up", type=float, default=warm_up, help="seconds of load before each [%(default)s]")
    parser.add_argument("--idle", type=float, default=3.0, help="seconds over which idle is measured [%(default)s]")
    parser.add_argument(
        "--driver", choices=DRIVERS, default=available_drivers()[0], help="load driver [the first that is installed]"
    )
    parser.add_argument("--json", type=Path, help="file for all measurements")


def run(
    arguments: argparse.Namespace, peers: Mapping[str, Peer], goals: Sequence[Goal], baseline: str, *, strict: bool
) -> int:
    """Measures the servers and prints the report.

    Args:
        arguments: parsed options of `add_options`.
        peers: servers by name; `--only` selects some of them.
        goals: goals that the report judges.
        baseline: name of the server that ratios are relative to.
        strict: True to end the run when a server fails.

    Returns:
        The exit code: 1 if a server failed or answered wrongly, 130 after an interrupt.
    """
    if arguments.driver not in available_drivers():
        print(f"{arguments.driver} is not installed; there are: {', '.join(available_drivers())}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no server outlives the benchmark
    effort = Effort(arguments.driver, arguments.seconds, arguments.warm_up, arguments.idle)
    chosen = [peers[name] for name in arguments.only or peers]
    if arguments.driver == "perf_analyzer":
        chosen = [peer for peer in chosen if peer.wire.tensor]
    results = Results()
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        try:
            failures = _measure_all(chosen, arguments, effort, Path(folder), results, strict=strict)
            exit_code = 1 if failures else 0
        except KeyboardInterrupt:
            print("interrupted: what was measured until then follows", file=sys.stderr)
            exit_code = 130
    print(report(results, chosen, goals, effort, arguments.rounds, baseline))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"effort": asdict(effort), **asdict(results)}, indent=1))
    return exit_code


def _measure_all(
    peers: list[Peer], arguments: argparse.Namespace, effort: Effort, folder: Path, results: Results, *, strict: bool
) -> int:
    """Adds all measurements to the results; returns the number of failures."""
    failures = 0
    for round_ in range(arguments.rounds):
        turn = round_ % len(peers)
        for peer in peers[turn:] + peers[:turn]:
            print(f"round {round_ + 1} of {arguments.rounds}: {peer.name}", file=sys.stderr, flush=True)
            try:
                measure(peer, arguments.workloads, round_, effort, folder, results)
            except (RuntimeError, OSError, ValueError, LookupError) as error:  # LookupError: an answer of another form
                failures += 1
                print(f"{peer.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                if strict:
                    return failures
    return failures
