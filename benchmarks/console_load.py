"""The cost of an open console for a server under load: `python -m benchmarks.console_load`.

Each round drives `POST /predict` twice, in changing order: with a page of the console open in Chromium, and with an
empty page. The ratios are paired by round. Chromium runs on the same machine and takes a share of its cores, so the CPU
time of the server per request is the figure to look at; requests/s and p99 also pay for the browser.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.console import CHROMIUM_ARGUMENTS
from benchmarks.core import AXON
from benchmarks.load import DRIVERS, Load, LoadResult, available_drivers, drive
from benchmarks.model import LAYER_SIZES, make_rows
from benchmarks.process import MeasuredServer
from benchmarks.shadow import error_of_median
from benchmarks.wire import Message

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = {"live": "#/live", "models": "#/models", "model": "#/models/mlp"}
Figures = tuple[LoadResult, float]


def main() -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=LAYER_SIZES, default="tab", help="[%(default)s]")
    parser.add_argument("--connections", type=int, default=64, help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=20, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each load [%(default)s]")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES))
    parser.add_argument("--driver", choices=DRIVERS, default=available_drivers()[0], help="[%(default)s]")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    message = Message(
        json.dumps({"model": "mlp", "instances": make_rows(arguments.model, 1)}).encode(),
        {"content-type": "application/json"},
    )
    with (
        MeasuredServer(AXON, arguments.model) as server,
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
    ):
        server.wait_until_it_answers(message)
        load = Load(server.url, message, rows=1, connections=arguments.connections)
        home = server.url.removesuffix("/predict")
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})

        def measured(address: str) -> Figures:
            page.goto(address)
            before = server.cpu_seconds()
            result = _driven(page, lambda: drive(arguments.driver, load, arguments.seconds, Path(folder)))
            if result.failed:
                raise RuntimeError(f"{result.failed} requests failed")
            return result, (server.cpu_seconds() - before) / result.answers

        print("page     requests/s  p99 ms  CPU us  CPU ratio           requests/s ratio    p99 ratio")
        for name in arguments.pages:
            pairs: list[tuple[Figures, Figures]] = []
            for number in range(-1, arguments.rounds):
                addresses = ["about:blank", f"{home}/{PAGES[name]}"]
                figures = [measured(address) for address in (addresses if number % 2 else addresses[::-1])]
                closed, opened = figures if number % 2 else figures[::-1]
                if number >= 0:  # the first round warms up
                    pairs.append((closed, opened))
            _print(name, pairs)
        browser.close()
    return 0


def _driven(page: Page, load: Any) -> LoadResult:
    """Runs a load in a thread, while the page goes on: Playwright delivers nothing to a thread that is blocked."""
    found: list[LoadResult] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            found.append(load())
        except Exception as failure:  # raised again below
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        page.wait_for_timeout(50)
    if failures:
        raise failures[0]
    return found[0]


def _print(name: str, pairs: list[tuple[Figures, Figures]]) -> None:
    opened = [pair[1] for pair in pairs]
    medians = (
        statistics.median(result.answers / result.seconds for result, _ in opened),
        statistics.median(1000 * result.p99 for result, _ in opened),
        statistics.median(1e6 * cpu for _, cpu in opened),
    )
    ratios = [
        [own[1] / other[1] for other, own in pairs],
        [own[0].answers / own[0].seconds / (other[0].answers / other[0].seconds) for other, own in pairs],
        [own[0].p99 / other[0].p99 for other, own in pairs],
    ]
    columns = "    ".join(f"{statistics.median(values):.3f} ± {error_of_median(values):.3f}" for values in ratios)
    print(f"{name:8} {medians[0]:10,.0f} {medians[1]:7.2f} {medians[2]:7.1f}  {columns}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
