"""The Grafana dashboard of Axon as code: `make dashboard` writes `axon.json` from the rows of `rows.py`.

Grafana reads the JSON, and tests hold it against this program and against the types that Grafana publishes
(docs/decisions/0058).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.grafana.panels import Panel
from deploy.grafana.rows import ROWS

FILE = Path(__file__).with_name("axon.json")

_COLUMNS = 24
_SCHEMA_VERSION = 41  # of Grafana 12
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Returns the dashboard as Grafana's JSON document."""
    return {
        "uid": "axon",
        "title": "Axon",
        "description": "Written by deploy/grafana/dashboard.py. Change that file, and run `make dashboard`.",
        "tags": ["axon"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": _SCHEMA_VERSION,
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "panels": list(_placed()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    """Yields the variables at the top of the dashboard."""
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    values = {
        "job": "label_values(axon_worker_up, job)",
        "instance": 'label_values(axon_worker_up{job=~"$job"}, instance)',
        "model": 'label_values(axon_model_info{job=~"$job"}, model)',
    }
    for name, query in values.items():
        yield {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _SOURCE,
            "query": query,
            "refresh": 2,  # when the time range changes: models come and go
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",  # also the empty name of requests that reached no model
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }


def _placed() -> Iterator[dict[str, Any]]:
    """Yields the headings and panels, placed from left to right in lines."""
    number, top = 0, 0
    for title, panels in ROWS:
        number += 1
        position = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}
        top += 1
        left, height = 0, 0
        for panel in panels:
            if left + panel.width > _COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            yield {
                "id": number,
                "type": panel.kind,
                "title": panel.title,
                "description": panel.description,
                "datasource": _SOURCE,
                "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
                "targets": list(_targets(panel)),
                **_LOOKS[panel.kind](panel),
            }
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _targets(panel: Panel) -> Iterator[dict[str, Any]]:
    for name, query in zip("ABCDEF", panel.queries, strict=False):
        target: dict[str, Any] = {"refId": name, "datasource": _SOURCE, "expr": query.expr, "editorMode": "code"}
        if panel.kind == "table":
            yield {**target, "instant": True, "range": False, "format": "table"}
        else:
            yield {**target, "range": True, "legendFormat": query.legend or "__auto"}


def _timeseries(panel: Panel) -> dict[str, Any]:
    stacking = {"mode": "normal" if panel.is_stacked else "none", "group": "A"}
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.is_stacked else 8,
        "showPoints": "never",
        "stacking": stacking,
    }
    return {
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _stat(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"value": None, "color": "green" if panel.limit is not None else "text"}]
    if panel.limit is not None:
        steps.append({"value": panel.limit, "color": "red"})
    return {
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "graphMode": "area",
            "colorMode": "value",
            "textMode": "auto",
            "justifyMode": "auto",
            "orientation": "auto",
        },
    }


def _table(panel: Panel) -> dict[str, Any]:
    hidden = {"excludeByName": dict.fromkeys(panel.hidden, True)}
    return {
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {"showHeader": True},
        "transformations": [{"id": "organize", "options": hidden}],
    }


_LOOKS = {"timeseries": _timeseries, "stat": _stat, "table": _table}


def text() -> str:
    """Returns the content of `axon.json`."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
