"""The report of a run, in Markdown: a table for each workload, the servers' costs, and the goals."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version

from benchmarks.goals import Goal, goals_table
from benchmarks.measure import WORKLOADS, Effort, Footprint, Results
from benchmarks.memory import Memory
from benchmarks.model import LAYER_SIZES
from benchmarks.peer import Peer


def report(
    results: Results, peers: Sequence[Peer], goals: Sequence[Goal], effort: Effort, rounds: int, baseline: str
) -> str:
    """Returns the whole report.

    Args:
        results: measurements of the run.
        peers: servers whose settings the report lists.
        goals: goals to judge; those without a figure are left out.
        effort: length of the measurements and their driver.
        rounds: number of rounds.
        baseline: name of the server that the × columns are relative to.
    """
    lines = [
        f"{rounds} round(s), {effort.seconds:g} s a load run by `{effort.driver}`; medians over the rounds, × being "
        f"the median of the rounds' ratios over `{baseline}`. {os.cpu_count()} CPUs ({platform.machine()}), Python "
        f"{platform.python_version()}, torch {version('torch')}.",
        "",
    ]
    for name in (name for name in WORKLOADS if any(m.workload == name for m in results.measurements)):
        lines += _workload_table(results, name, baseline)
    lines += _footprint_table(results, baseline) + _memory_table(results)
    lines += ["## Settings", "", *(f"- `{peer.name}`: {peer.settings}" for peer in peers), ""]
    lines += goals_table(goals, results)
    return "\n".join(lines)


def _workload_table(results: Results, name: str, baseline: str) -> list[str]:
    workload = WORKLOADS[name]
    sizes = "-".join(map(str, LAYER_SIZES[workload.model]))
    lines = [
        f"## {name}: MLP {sizes}, {workload.rows:,} row(s) a request, {workload.connections} connection(s)",
        "",
        "| server | requests/s | × | p50 ms | p99 ms | CPU s / 1,000 | CPU × | failed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for server in dict.fromkeys(m.server for m in results.measurements if m.workload == name):
        rounds = [m for m in results.measurements if m.workload == name and m.server == server]
        cells = [
            server,
            f"{statistics.median(m.per_second for m in rounds):,.0f}",
            _number(results.ratio(name, server, baseline), 2),
            f"{1000 * statistics.median(m.load.p50 for m in rounds):.2f}",
            f"{1000 * statistics.median(m.load.p99 for m in rounds):.2f}",
            f"{statistics.median(m.cpu_per_1000 for m in rounds):.3f}",
            _number(results.ratio(name, server, baseline, lambda m: m.cpu_per_1000), 2),
            f"{sum(m.load.failed for m in rounds):,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _footprint_table(results: Results, baseline: str) -> list[str]:
    lines = [
        "## Start, idle, memory",
        "",
        "| server | model | start to first answer s | × | idle, cores | memory MB (PSS) | × | of no file |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for server, model in dict.fromkeys((f.server, f.model) for f in results.footprints):
        rounds = [f for f in results.footprints if f.server == server and f.model == model]
        cells = [
            server,
            model,
            f"{statistics.median(f.start_seconds for f in rounds):.2f}",
            _number(results.footprint_ratio(server, baseline, model, lambda f: f.start_seconds), 2),
            f"{statistics.median(f.idle_cores for f in rounds):.4f}",
            f"{statistics.median(f.pss for f in rounds):,.0f}",
            _number(results.footprint_ratio(server, baseline, model, lambda f: f.pss), 2),
            f"{statistics.median(f.anonymous for f in rounds):,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _memory_table(results: Results) -> list[str]:
    lines = [
        "## Memory by process, MB",
        "",
        "PSS counts a page that n processes share as 1/n in each; private pages are in no other process. The kernel "
        "can drop pages of files, but not those of no file.",
        "",
        "| server | model | process | PSS | private | of no file |",
        "|---|---|---|--:|--:|--:|",
    ]
    for server, model in dict.fromkeys((f.server, f.model) for f in results.footprints):
        rounds = [f for f in results.footprints if f.server == server and f.model == model]
        for role, memory in sorted(_medians(rounds).items(), key=lambda item: -item[1].pss):
            figures = (f"{value:,.1f}" for value in (memory.pss, memory.private, memory.anonymous))
            lines.append(f"| {' | '.join([server, model, role, *figures])} |")
    return [*lines, ""]


def _medians(rounds: list[Footprint]) -> dict[str, Memory]:
    """Returns the median of each figure over the rounds, by role."""
    roles = dict.fromkeys(role for footprint in rounds for role in footprint.memory)
    found = {}
    for role in roles:
        measured = [footprint.memory.get(role, Memory()) for footprint in rounds]
        found[role] = Memory(
            statistics.median(m.pss for m in measured),
            statistics.median(m.private for m in measured),
            statistics.median(m.anonymous for m in measured),
        )
    return found


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
