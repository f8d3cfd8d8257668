"""The Grafana dashboard is what its program makes, fits the types that Grafana publishes, and has a tidy layout."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from grafana_types import mismatches
from monitored import DASHBOARD_FILE, ROOT, panels

from deploy.grafana import dashboard

DOCUMENT: dict[str, Any] = json.loads(DASHBOARD_FILE.read_text(encoding="utf-8"))


def test_the_file_is_what_the_program_writes() -> None:
    assert dashboard.FILE == DASHBOARD_FILE
    assert DASHBOARD_FILE.read_text(encoding="utf-8") == dashboard.text(), "run `make dashboard`"


def test_it_fits_the_types_that_grafana_publishes() -> None:
    types = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="needs the extra `dev`")
    assert mismatches(types.Dashboard, DOCUMENT) == []


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("titel",), "Axon", "titel"),
        (("refresh",), 30, "refresh"),
        (("graphTooltip",), 7, "graphTooltip"),
        (("panels", 1, "gridPos", "width"), 4, "width"),
        (("panels", 1, "options", "graphMode"), "bars", "graphMode"),
        (("panels", 1, "targets", 0, "expression"), "up", "expression"),
        (("panels", 9, "fieldConfig", "defaults", "custom", "fillOpacity"), "8", "fillOpacity"),
        (("templating", "list", 1, "sort"), 99, "sort"),
    ],
)
def test_what_does_not_fit_is_found(path: tuple[str | int, ...], value: Any, found: str) -> None:
    types = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="needs the extra `dev`")
    changed = json.loads(json.dumps(DOCUMENT))
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    [mismatch] = mismatches(types.Dashboard, changed)
    assert found in mismatch


def test_units_are_those_of_grafana() -> None:
    units = pytest.importorskip("grafana_foundation_sdk.models.units", reason="needs the extra `dev`")
    known = {value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)}
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in panels()} <= known


def test_panels_have_places_of_their_own() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in DOCUMENT["panels"]]
    for title, place in places:
        assert place["x"] + place["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, f"{one} lies on {other}"


def test_panels_can_be_told_apart_and_explain_themselves() -> None:
    numbers, titles = ([panel[key] for panel in DOCUMENT["panels"]] for key in ("id", "title"))
    assert len(set(numbers)) == len(numbers)
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        names = [target["refId"] for target in panel["targets"]]
        assert names
        assert len(set(names)) == len(names)


def test_every_query_asks_the_chosen_data_source_and_server() -> None:
    for panel in panels():
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert 'job=~"$job"' in target["expr"] or "ALERTS{" in target["expr"], target["expr"]


def test_the_runbooks_name_panels_that_are_there() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.partition("\n## Alerts and dashboards\n")[2].partition("\n## ")[0]
    named = {" ".join(name.split()) for name in re.findall(r'"([^"]+)"', section)}
    assert len(named) > 8
    titles = [panel["title"] for panel in DOCUMENT["panels"]]
    assert [name for name in named if not any(title.startswith(name) for title in titles)] == []
