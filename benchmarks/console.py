"""The time to the first paint of the console, and to its list of models, in the system's Chromium.

    python -m benchmarks.console --models 60 --loads 20

Each load has a new context of the browser, with an empty cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peer import ROOT
from benchmarks.process import free_port
from benchmarks.scrape import fill, wait_until_ready
from models.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Page

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def until(page: Page, expression: str) -> float:
    """Returns the value of an expression in a page as soon as the value is true."""
    while not (value := page.evaluate(expression)):
        time.sleep(0.002)
    return float(value)


def loads(url: str, chromium: str, times: int, models: int) -> list[tuple[float, float]]:
    """Returns the times of the first paint and of the whole list of each load, in milliseconds."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        for _ in range(times + 1):  # the first one warms the browser up
            context = browser.new_context(viewport={"width": 1200, "height": 900})
            page = context.new_page()
            page.goto(url, wait_until="commit")
            listed = until(
                page, f"document.querySelectorAll('table.models tbody tr').length === {models} && performance.now()"
            )
            found.append((until(page, _PAINT), listed))
            context.close()
        browser.close()
    return found[1:]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--loads", type=int, default=20)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium on this machine")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        fill(Store(Path(folder) / "store"), arguments.models)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AXON_")} | {
            "AXON_STORE": f"{folder}/store",
            "AXON_HOST": "127.0.0.1",
            "AXON_PORT": str(port),
            "AXON_LOG_LEVEL": "error",
        }
        url = f"http://127.0.0.1:{port}"
        server = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment)
        try:
            wait_until_ready(url, server)
            times = loads(f"{url}/", chromium, arguments.loads, arguments.models)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"{arguments.models} models, {len(times)} loads; milliseconds after the navigation")
    print("| | median | slowest |\n|---|--:|--:|")
    for name, column in (("first paint", 0), ("whole list", 1)):
        figures = sorted(pair[column] for pair in times)
        print(f"| {name} | {statistics.median(figures):.0f} | {figures[-1]:.0f} |")


if __name__ == "__main__":
    main()
