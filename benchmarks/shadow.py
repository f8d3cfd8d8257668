"""The cost of a shadow, and of a split, for the requests of an alias: `python -m benchmarks.shadow`.

One server has three aliases of one model: `plain`, `shadowed` (the same version, with a shadow of equal size) and
`split` (90 % and 10 % of two equal versions). Each round drives all three one after the other, in changing order, so
that what else the machine does meets all of them. The ratios to `plain` are paired by round.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

from benchmarks.core import axon
from benchmarks.load import DRIVERS, Load, LoadResult, available_drivers, drive
from benchmarks.model import LAYER_SIZES, make_rows
from benchmarks.peer import ROOT, Peer
from benchmarks.process import MeasuredServer
from benchmarks.wire import Message

ALIASES = ("plain", "shadowed", "split")


def main() -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=LAYER_SIZES, default="tab", help="[%(default)s]")
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 4], help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of each load [%(default)s]")
    parser.add_argument("--aliases", nargs="+", choices=ALIASES, default=list(ALIASES))
    parser.add_argument("--driver", choices=DRIVERS, default=available_drivers()[0], help="[%(default)s]")
    parser.add_argument("--api-processes", type=int, default=1, help="[%(default)s]")
    arguments = parser.parse_args()
    with (
        MeasuredServer(_peer(arguments.api_processes), arguments.model) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        messages = {alias: _message(arguments.model, alias) for alias in arguments.aliases}
        server.wait_until_it_answers(messages["plain"])
        shadowed_seconds = 0.0
        print("connections  alias     p50 ms  p99 ms  requests/s  CPU us  p50 ratio  p99 ratio")
        for connections in arguments.connections:
            found: dict[str, list[tuple[LoadResult, float]]] = {alias: [] for alias in arguments.aliases}
            for number in range(-1, arguments.rounds):
                order = arguments.aliases if number % 2 else arguments.aliases[::-1]
                for alias in order:
                    load = Load(server.url, messages[alias], rows=1, connections=connections)
                    before = server.cpu_seconds()
                    result = drive(arguments.driver, load, arguments.seconds, Path(folder))
                    shadowed_seconds += result.seconds if alias == "shadowed" else 0.0
                    if result.failed:
                        raise RuntimeError(f"{result.failed} requests failed")
                    if number >= 0:  # the first round warms up
                        found[alias].append((result, (server.cpu_seconds() - before) / result.answers))
            _print(connections, found)
        time.sleep(1)
        with urllib.request.urlopen(server.url.replace("/predict", "/metrics")) as answer:
            text = answer.read().decode()
        print("\n".join(re.findall(r"^axon_shadow_rows_total.*$", text, re.MULTILINE)))
        if "split" not in arguments.aliases:  # version 2 is the shadow, and nothing else
            shares = dict(re.findall(r'^axon_inference_seconds_sum\{.*version="(\d)"\} (\S+)$', text, re.MULTILINE))
            busy = float(shares["2"]) / shadowed_seconds
            print(f"forward passes of the shadow: {100 * busy:.3f} % of the time in which its alias was asked")
    return 0


def _peer(api_processes: int) -> Peer:
    prepare = ("{bin}/python", str(ROOT / "benchmarks/servers/shadowed_store.py"), "{model}", "{folder}/store")
    return replace(axon(api_processes=api_processes), prepare=prepare)


def _message(model: str, alias: str) -> Message:
    document = {"model": f"mlp@{alias}", "instances": make_rows(model, 1)}
    return Message(json.dumps(document).encode(), {"content-type": "application/json"})


def _print(connections: int, found: dict[str, list[tuple[LoadResult, float]]]) -> None:
    plain = found["plain"]
    for alias, results in found.items():
        p50s, p99s, rates, cpus = (
            [1000 * result.p50 for result, _ in results],
            [1000 * result.p99 for result, _ in results],
            [result.answers / result.seconds for result, _ in results],
            [1e6 * cpu for _, cpu in results],
        )
        ratios = [
            [getattr(one, name) / getattr(other, name) for (one, _), (other, _) in zip(results, plain, strict=True)]
            for name in ("p50", "p99")
        ]
        middle = [f"{statistics.median(values):.3f}" for values in ratios]
        print(
            f"{connections:11} {alias:9} {statistics.median(p50s):6.3f} {statistics.median(p99s):7.3f}"
            f" {statistics.median(rates):11,.0f} {statistics.median(cpus):7.1f} {middle[0]:>10} {middle[1]:>10}"
            f"  ± {error_of_median(ratios[1]):.3f}",
            flush=True,
        )


def error_of_median(ratios: list[float]) -> float:
    """Returns the standard error of the median of ratios, from the distance of the quartiles."""
    if len(ratios) < 4:
        return float("nan")
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return float(0.93 * (upper - lower) / len(ratios) ** 0.5)


if __name__ == "__main__":
    sys.exit(main())
