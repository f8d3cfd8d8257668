"""Takes the pictures of the console for the documentation: `make screenshots`."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

from browsing import browsing, opening, train_demo_models
from serving import Server, http_post, running

from models.store import Store

WIDTH = 1100
# File, place, theme, the element in the picture (None for what the window shows), and the height of the window.
PICTURES = (
    ("console-models", "#/models", "light", None, 420),
    ("console-model", "#/models/textbook", "dark", None, 830),
)


def main() -> None:
    """Trains and serves the models, and writes the pictures to the folder of the first argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="axon-screenshots-") as temporary:
        store = Store(Path(temporary) / "store")
        train_demo_models(store)
        store.set_alias("textbook", "production", 1)
        store.split("iris", "canary", {1: 100})
        with running(store.root, Path(temporary)) as server, browsing() as browser, opening(browser) as open_page:
            done = threading.Event()
            asking = threading.Thread(target=ask, args=(server, done))
            asking.start()
            try:
                for name, place, scheme, element, height in PICTURES:
                    page = open_page(
                        f"{server.url}/{place}", scheme=scheme, viewport={"width": WIDTH, "height": height}
                    ).page
                    page.wait_for_selector("table")
                    page.wait_for_timeout(8_000 if place == "#/models" else 500)  # two readings of the rates
                    target = page if element is None else page.locator(element)
                    target.screenshot(path=folder / f"{name}.png")
            finally:
                done.set()
                asking.join()


def ask(server: Server, done: threading.Event) -> None:
    """Sends requests, so that there are rates to see."""
    rows = {"xor": [0, 1], "iris": [5.1, 3.5, 1.4, 0.2], "textbook": [0.5, -0.2, 1.0]}
    while not done.wait(0.01):
        for model, row in rows.items():
            http_post(f"{server.url}/predict", json={"model": model, "instances": [row]})


if __name__ == "__main__":
    main()
