"""The rounds of a run: every server afresh in each, in another order, and the command line that all runs share."""

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
    """The options of a run, with its defaults."""
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
    """Measures and prints.

    Args:
        arguments: those of `add_options`.
        peers: by name; `--only` picks among them.
        goals: what the report judges.
        baseline: the server that ratios are over.
        strict: whether a server that fails ends the run at once, or is told at its end.

    Returns:
        The exit code: 1 where a server failed or answered wrongly.
    """
    if arguments.driver not in available_drivers():
        print(f"{arguments.driver} is not installed; there are: {', '.join(available_drivers())}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server outlives the benchmark
    effort = Effort(arguments.driver, arguments.seconds, arguments.warm_up, arguments.idle)
    chosen = [peers[name] for name in arguments.only or peers]
    results = Results()
    failures = []
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        for round_ in range(arguments.rounds):
            turn = round_ % len(chosen)
            for peer in chosen[turn:] + chosen[:turn]:
                print(f"round {round_ + 1} of {arguments.rounds}: {peer.name}", file=sys.stderr, flush=True)
                try:
                    measure(peer, arguments.workloads, round_, effort, Path(folder), results)
                except (RuntimeError, OSError) as error:
                    failures.append(f"{peer.name}, round {round_ + 1}: {error}")
                    print(failures[-1], file=sys.stderr, flush=True)
                    if strict:
                        return 1
    print(report(results, chosen, goals, effort, arguments.rounds, baseline))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"effort": asdict(effort), **asdict(results)}, indent=1))
    return 1 if failures else 0
