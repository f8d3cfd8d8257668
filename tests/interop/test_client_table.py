"""The table of clients in docs/protocols.md names the versions that the tests run."""

from __future__ import annotations

import re

from client_environments import REQUIREMENTS
from serving import ROOT

from benchmarks import perf_analyzer


def test_the_table_names_the_versions_that_are_tested() -> None:
    page = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| `([a-z-]+)` \| ([\d.]+) \|", page, re.MULTILINE))
    pinned = {"perf-analyzer": perf_analyzer.VERSION}
    for path in (*REQUIREMENTS.values(), ROOT / "constraints.txt"):
        for name, version in re.findall(r"^([\w.-]+)==([\d.]+)$", path.read_text(), re.MULTILINE):
            pinned.setdefault(name, version)
    clients = REQUIREMENTS.keys() - {
        "boosting",
        "engines",
        "model_signing",
        "moto",
        "shap",
    }  # which are no clients of a server
    assert len(named) == len(clients) + 2
    assert named == {name: pinned[name] for name in named}
