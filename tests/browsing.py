"""A real browser for tests of the console: pages that keep their faults, accessibility, models with hostile names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from serving import wait_until

import axon
from models.store import Store
from training.fit import fit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Names that would run, close an element, or break a table if a view took names for markup.
HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "a|b`c*d_e&lt;", "{{7*7}}${8*8}")
HOSTILE_MODEL = "constructor"  # a property of every object in JavaScript


def find_chromium() -> str | None:
    """Returns the path of the system's Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Watched:
    """A page whose faults are kept.

    Attributes:
        page: page of the browser.
        allowed: texts of faults that the test expects.
        faults: errors of the console, of scripts and of requests so far.
    """

    page: Page
    allowed: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)

    @property
    def unexpected(self) -> list[str]:
        """Faults that the test does not expect."""
        return [fault for fault in self.faults if not any(text in fault for text in self.allowed)]

    def watch(self) -> None:
        """Starts to write down what goes wrong in the page."""
        page, faults = self.page, self.faults
        page.on("console", lambda one: faults.append(f"console: {one.text}") if one.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.on("response", lambda one: faults.append(f"{one.status}: {one.url}") if one.status >= 400 else None)
        page.on("requestfailed", self._on_failed_request)
        page.on("dialog", self._on_dialog)

    def _on_failed_request(self, request: Any) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # the page itself aborts what it no longer needs
            self.faults.append(f"request: {request.url} {request.failure}")

    def _on_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()


OpenPage = Callable[..., Watched]


@contextmanager
def browsing() -> Iterator[Browser]:
    """Runs the system's Chromium without a window and with an empty profile; skips the test where there is none."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opening(browser: Browser) -> Iterator[OpenPage]:
    """Yields a function that opens an address in a new context; fails at the end on faults that were not allowed."""
    opened: list[Watched] = []

    def open_(url: str, *, allowed: tuple[str, ...] = (), scheme: Any = "light", **options: Any) -> Watched:
        options = {"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce", **options}
        context = browser.new_context(color_scheme=scheme, **options)
        watched = Watched(context.new_page(), allowed)
        opened.append(watched)
        watched.watch()
        watched.page.goto(url)
        return watched

    try:
        yield open_
        assert [one.unexpected for one in opened] == [[] for _ in opened]
    finally:
        keep = os.environ.get("CONSOLE_SCREENSHOTS")
        for number, one in enumerate(opened):
            if keep is not None:
                test = os.environ.get("PYTEST_CURRENT_TEST", "page").split("::")[-1].split(" ")[0].replace("/", "-")
                one.page.screenshot(path=Path(keep) / f"{test}-{number}.png", full_page=True)
            one.page.context.close()


def wait_for(page: Page, expression: str, argument: Any = None) -> None:
    """Waits until an expression is true in a page.

    Playwright's own `wait_for_function` evaluates texts in the page, which the console's policy forbids.

    Args:
        page: page of the browser.
        expression: expression of JavaScript, or a function that takes the argument.
        argument: value for the function.
    """
    wait_until(lambda: bool(page.evaluate(expression, argument)), lambda: f"{expression}\n{page.inner_text('body')}")


def violations(page: Page) -> list[str]:
    """Returns what axe, which checks accessibility, finds in a page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}" for one in found]


def hostile_table() -> pd.DataFrame:
    """Returns a small table whose columns, categories and classes have hostile names."""
    rng = np.random.default_rng(0)
    rows = 240
    size, kind = rng.normal(size=rows), rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            HOSTILE[0]: size.round(3),
            HOSTILE[1]: [HOSTILE[0] if one else "plain" for one in kind],
            HOSTILE[2]: rng.normal(size=rows).round(3),
            HOSTILE[3]: [HOSTILE[1] if one else "<b>no</b>" for one in size + kind > 0.5],
        }
    )


def train_demo_models(store: Store) -> None:
    """Publishes models to look at: iris and XOR, a 3-4-4-2 network in two versions, an ensemble, hostile names."""
    for name in ("iris", "xor", "clusters"):
        fit(name, threads=1).publish(store)
    points = np.random.default_rng(1).normal(size=(300, 3)).round(3)
    table = pd.DataFrame(points, columns=["x1", "x2", "x3"])
    small: dict[str, Any] = {"recipe": "classic", "normalization": "none", "dropout": 0.0, "progress": False}
    labelled = table.assign(above=np.where(points.sum(axis=1) > 0, "yes", "no"))
    for seed in (0, 1):
        textbook = axon.fit(
            labelled, target="above", name="textbook", hidden_sizes=(4, 4), seed=seed, epochs=30, **small
        )
        textbook.publish(store)
    axon.fit(table, target="x3", name="ensemble", hidden_sizes=(5,), members=3, epochs=5, **small).publish(store)
    hostile = axon.fit(hostile_table(), target=HOSTILE[3], name=HOSTILE_MODEL, epochs=5, progress=False)
    hostile.publish(store)
