"""The time to the first paint of the console, to its list of models, and from a slider to the answer, in Chromium.

    python -m benchmarks.console --models 60 --loads 20 --moves 200

Each load has a new context of the browser, with an empty cache. A slider of *Try it* moves, and the page is watched
until the new answer stands there; the next move comes 50 ms later.
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
from training.fit import fit

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
SLID = "iris"
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
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
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


_MOVES = """async (times) => {
    const slider = document.querySelector('[aria-label="petal_length, slider"]');
    const answer = document.querySelector('.prediction').parentElement;
    const [low, high] = [Number(slider.min), Number(slider.max)];
    const found = [];
    const fetched = window.fetch;
    let answered = 0;  // time of the last answer to a prediction
    window.fetch = (address, options) => fetched(address, options).then((response) => {
        if (String(address).endsWith('predict')) answered = performance.now();
        return response;
    });
    for (let move = 1; move <= times; move += 1) {
        await new Promise((after) => setTimeout(after, 50));
        const began = performance.now();
        const changed = new Promise((after) => new MutationObserver((_, observer) => {
            if (answered < began) return;  // another change than that of the answer
            observer.disconnect();
            after(performance.now());
        }).observe(answer, { subtree: true, childList: true, characterData: true, attributes: true }));
        slider.value = low + (high - low) * ((move * 37) % 101) / 101;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        found.push(await changed - began);
    }
    return found;
}"""


def moves(url: str, chromium: str, times: int) -> list[float]:
    """Returns the times from a move of a slider to the answer on the page, in milliseconds."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(f"{url}/#/models/{SLID}/try")
        page.wait_for_selector(".prediction")
        time.sleep(1)  # the reasons, too
        found: list[float] = page.evaluate(_MOVES, times)
        browser.close()
    return found


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--loads", type=int, default=20)
    parser.add_argument("--moves", type=int, default=200)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium on this machine")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        store = Store(Path(folder) / "store")
        fill(store, arguments.models - 1)
        fit("iris", epochs=20).publish(store, SLID)
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
            slides = sorted(moves(url, chromium, arguments.moves))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"{arguments.models} models, {len(times)} loads; milliseconds after the navigation")
    print("| | median | slowest |\n|---|--:|--:|")
    for name, column in (("first paint", 0), ("whole list", 1)):
        figures = sorted(pair[column] for pair in times)
        print(f"| {name} | {statistics.median(figures):.0f} | {figures[-1]:.0f} |")

    print(f"\n{len(slides)} moves of a slider; milliseconds to the answer on the page")
    print("| median | 95 % | slowest |\n|--:|--:|--:|")
    print(f"| {statistics.median(slides):.0f} | {slides[len(slides) * 95 // 100]:.0f} | {slides[-1]:.0f} |")


if __name__ == "__main__":
    main()
