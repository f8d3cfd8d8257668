"""The files of monitoring: rules, their cases, the dashboard; and the names of metrics and labels in PromQL."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS_FOLDER = ROOT / "deploy/prometheus"
RULES_FILE = PROMETHEUS_FOLDER / "axon.rules.yml"
CASES_FILE = PROMETHEUS_FOLDER / "axon.rules.test.yml"
DASHBOARD_FILE = ROOT / "deploy/grafana/axon.json"

SCRAPED_LABELS = frozenset({"job", "instance"})  # labels that Prometheus adds to each series
_OWN_NAMES = re.compile(r"(?<![\w:])((?:\w+:)?axon_\w+(?::\w+)?|up|ALERTS)(?![\w:(])\s*(?:\{([^{}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Selected:
    """A metric that an expression selects.

    Attributes:
        metric: name of the metric.
        labels: names of the labels in its matchers.
    """

    metric: str
    labels: frozenset[str]


def rules(kind: str) -> list[dict[str, Any]]:
    """Returns the rules of a kind, `alert` or `record`."""
    groups = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def panels() -> list[dict[str, Any]]:
    """Returns the panels of the dashboard that have queries."""
    dashboard = json.loads(DASHBOARD_FILE.read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables() -> dict[str, tuple[str, str]]:
    """Returns the variables of the dashboard that ask Prometheus: by name, a metric with matchers, and a label."""
    found = {}
    for variable in json.loads(DASHBOARD_FILE.read_text(encoding="utf-8"))["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
            assert query is not None, variable
            found[variable["name"]] = (query[1], query[2])
    return found


def expressions() -> dict[str, str]:
    """Returns the expressions of all rules, panels and variables, by a name for messages."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for kind in ("record", "alert") for rule in rules(kind)}
    found |= {f"variable {name}": selector for name, (selector, _) in variables().items()}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']!r}, query {target['refId']}"] = target["expr"]
    return found


def selected(expression: str) -> list[Selected]:
    """Returns the metrics that a PromQL expression selects, with the labels of their matchers."""
    bare = _TEXT.sub('""', expression)
    return [Selected(name, frozenset(_MATCHER.findall(matchers or ""))) for name, matchers in _OWN_NAMES.findall(bare)]


def grouping_labels(expression: str) -> set[str]:
    """Returns the labels by which a PromQL expression groups or joins."""
    lists = _LABEL_LIST.findall(_TEXT.sub('""', expression))
    return {label.strip() for names in lists for label in names.split(",") if label.strip()}


def recorded_labels(name: str) -> frozenset[str]:
    """Returns the labels of a recorded series: `job_model:…` has `job` and `model`."""
    return frozenset(name.partition(":")[0].split("_"))
