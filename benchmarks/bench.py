"""`make bench`: Axon beside FastAPI, LitServe and two ceilings, in one run: same model, same payload, checked answers.

Each round starts every server afresh, in another order, checks its answers against torch, and loads it. A ratio is
the median over rounds of the ratio within a round, since the speed of a shared machine drifts. CPU seconds are those
of a server's whole process tree.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.load import LoadResult, drive
from benchmarks.model import make_model, make_rows
from benchmarks.process import MeasuredServer

SERVERS = {
    "axon": ["benchmarks.servers.axon"],
    "fastapi": ["benchmarks.servers.fastapi_handler"],
    "litserve": ["benchmarks.servers.litserve_documented"],
    "in-process": ["benchmarks.servers.bare"],
    "fixed-bytes": ["benchmarks.servers.bare", "--fixed"],
}
BASELINE = "fastapi"
ANSWER_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Workload:
    """What is sent: rows of a model's width in one request, over so many connections."""

    model: str
    rows: int
    connections: int


WORKLOADS = {
    "tab-64": Workload("tab", 1, 64),
    "tab-1": Workload("tab", 1, 1),
    "mnist-64": Workload("mnist", 1, 64),
    "bulk-8": Workload("tab", 1000, 8),
}
GOALS = [("tab-64", "fastapi", 2.5), ("tab-64", "litserve", 12.0)]


@dataclass(frozen=True)
class Measurement:
    """One server under one workload in one round."""

    server: str
    workload: str
    round: int
    load: LoadResult
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return (self.load.answers - self.load.failed) / self.load.seconds

    @property
    def cpu_per_1000(self) -> float:
        """CPU seconds of the whole process tree for 1,000 requests."""
        return 1000 * self.cpu_seconds / max(self.load.answers, 1)


def check_answers(url: str, model: str, connections: int = 64) -> None:
    """Distinct rows at once; each answer must be torch's for that row.

    Raises:
        RuntimeError: one is not.
    """
    rows = make_rows(model, 256)
    with torch.inference_mode():
        expected = make_model(model)(torch.tensor(rows)).softmax(-1)

    def ask(i: int) -> float:
        body = json.dumps({"instances": [rows[i]]}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return float((torch.tensor(json.load(answer)["probabilities"][0]) - expected[i]).abs().max())

    with ThreadPoolExecutor(connections) as pool:
        worst = max(pool.map(ask, range(len(rows))))
    if worst > ANSWER_TOLERANCE:
        raise RuntimeError(f"{url}: an answer is off by {worst:g}")


def measure(server: str, names: list[str], round_: int, driver: str, seconds: float, folder: Path) -> list[Measurement]:
    """One server in one round, under all workloads that its model serves."""
    found = []
    for model in dict.fromkeys(WORKLOADS[name].model for name in names):
        with MeasuredServer(SERVERS[server], model) as process:
            process.wait_until_it_answers(json.dumps({"instances": make_rows(model, 1)}).encode())
            if server != "fixed-bytes":
                check_answers(process.url, model)
            for name in (name for name in names if WORKLOADS[name].model == model):
                workload = WORKLOADS[name]
                body = json.dumps({"instances": make_rows(model, workload.rows)}).encode()
                before = process.cpu_seconds()
                load = drive(driver, process.url, body, workload.connections, seconds, folder)
                found.append(Measurement(server, name, round_, load, process.cpu_seconds() - before))
    return found


def ratio(measurements: list[Measurement], workload: str, server: str, base: str) -> float | None:
    """Requests a second of `server` over `base`: the median of the rounds' ratios."""
    by_round: dict[int, dict[str, float]] = {}
    for m in measurements:
        if m.workload == workload:
            by_round.setdefault(m.round, {})[m.server] = m.per_second
    ratios = [rates[server] / rates[base] for rates in by_round.values() if server in rates and rates.get(base)]
    return statistics.median(ratios) if ratios else None


def report(measurements: list[Measurement]) -> str:
    """Markdown tables, one a workload, and how the goals were met."""
    lines = []
    for name in dict.fromkeys(m.workload for m in measurements):
        workload = WORKLOADS[name]
        lines += [
            f"\n### {name}: {workload.model}, {workload.connections} connection(s), {workload.rows} row(s) a request\n",
            f"| server | requests/s | × {BASELINE} | p50 ms | p99 ms | CPU s / 1,000 | failed |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        for server in dict.fromkeys(m.server for m in measurements if m.workload == name):
            rounds = [m for m in measurements if m.workload == name and m.server == server]
            times = ratio(measurements, name, server, BASELINE)
            cells = [
                server,
                f"{statistics.median(m.per_second for m in rounds):,.0f}",
                "–" if times is None else f"{times:.2f}",
                f"{1000 * statistics.median(m.load.p50 for m in rounds):.2f}",
                f"{1000 * statistics.median(m.load.p99 for m in rounds):.2f}",
                f"{statistics.median(m.cpu_per_1000 for m in rounds):.3f}",
                f"{sum(m.load.failed for m in rounds)}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for name, base, goal in GOALS:
        times = ratio(measurements, name, "axon", base)
        if times is not None:
            lines.append(f"{name}: {times:.2f} × {base}; goal {goal:g} ×: {'met' if times >= goal else 'NOT met'}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measures and prints; the exit code is 1 where a server failed or answered wrongly."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS), help="servers")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="workloads")
    parser.add_argument("--rounds", type=int, default=3, help="rounds [3]")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds a load run [3]")
    default_driver = "wrk" if shutil.which("wrk") else "python"
    parser.add_argument("--driver", choices=("wrk", "python"), default=default_driver, help="[wrk if installed]")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no server outlives the benchmark
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        for round_ in range(arguments.rounds):
            turn = round_ % len(arguments.only)
            for server in arguments.only[turn:] + arguments.only[:turn]:
                print(f"round {round_ + 1} of {arguments.rounds}: {server}", file=sys.stderr)
                try:
                    measurements += measure(
                        server, arguments.workloads, round_, arguments.driver, arguments.seconds, Path(folder)
                    )
                except (RuntimeError, OSError) as error:
                    print(f"{server}: {error}", file=sys.stderr)
                    return 1
    print(report(measurements))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(m) for m in measurements], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
