"""Rules and dashboard over a real server and a real Prometheus: every name is exported, and every panel has data."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monitored import SCRAPED_LABELS, expressions, grouping_labels, panels, recorded_labels, rules, selected, variables
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import Prometheus, needs_prometheus, scraping
from serving import CHECKPOINTS, Server, http_get, make_checkpoint, make_store, metric_sum, numeric, running, wait_until
from steady_traffic import Request, Traffic, numbers_request, publish_numbers

from models.checkpoint import Checkpoint
from models.columns.schema import NumericTarget, Schema
from models.network.config import MLPConfig
from models.store import Store

ROW = [0.4, -1.1, 2.0, 0.3]
RECORDED = {rule["record"]: rule["expr"] for rule in rules("record")}
# What Grafana puts in the place of its variables, with "All" chosen.
VARIABLES = {"$__rate_interval": "5s", "$job": ".*", "$instance": ".*", "$model": ".*"}
OF_PROMETHEUS = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate"})}


def requests(turn: int) -> Request:
    """Returns requests for which every metric has a series, in turn."""
    return (
        ("/predict", {"model": "colours", "instances": [ROW]}),
        ("/predict", {"model": "mixed", "instances": [[30, "Rome"]]}),
        ("/predict", {"model": "fragile", "instances": [[5]]}),  # not finite: 500
        ("/predict", {"model": "nobody", "instances": [[5]]}),
        ("/models/colours/explain", {"instances": [ROW]}),
        numbers_request(turn, 100),
    )[turn % 6]


def publish_fragile(store: Store) -> None:
    """Publishes a model that fails on a valid row."""
    schema = Schema(columns=(numeric("x", 0, 1),), target=NumericTarget(name="y", mean=0, std=1, minimum=0, maximum=1))
    tensors = {
        "layers.0.weight": np.array([[3e38]], dtype=np.float32),
        "layers.0.bias": np.zeros(1, dtype=np.float32),
    }
    store.publish(
        "fragile", Checkpoint(config=MLPConfig(layer_sizes=(1, 1), output="linear"), schema=schema, tensors=tensors)
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server under traffic, with a shadow, explanations, windows of drift, and a model that fails."""
    folder = tmp_path_factory.mktemp("monitored")
    store = make_store(folder)
    store.publish("colours", make_checkpoint(CHECKPOINTS["colours"].schema, 8, seed=5))
    store.set_alias("colours", "default", 1)
    store.set_shadow("colours", "default", 2)
    publish_fragile(store)
    publish_numbers(store)
    windows = {"drift_window_seconds": 0.15, "drift_window_rows": 200, "drift_rows_per_second": 1_000_000}
    with running(store.root, folder, **windows) as server, Traffic(server, requests) as traffic:
        yield server
    assert traffic.broken == 0
    assert traffic.statuses.keys() == {200, 404, 500}


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the server and evaluates the shortened rules."""
    with scraping(f"127.0.0.1:{server.port}", tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


def exported(server: Server) -> dict[str, frozenset[str]]:
    """Returns the labels of the samples that the server exports, by name."""
    families = text_string_to_metric_families(http_get(f"{server.url}/metrics").text)
    return {sample.name: frozenset(sample.labels) for family in families for sample in family.samples}


def test_rules_and_dashboard_use_only_names_that_the_server_exports(server: Server) -> None:
    asked = {one.metric for expression in expressions().values() for one in selected(expression)}
    raw = {name for name in asked if name.startswith("axon_")}
    assert len(raw) > 30
    wait_until(lambda: raw <= exported(server).keys(), lambda: f"not exported: {raw - exported(server).keys()}")
    known = exported(server) | {name: recorded_labels(name) for name in RECORDED} | OF_PROMETHEUS
    for where, expression in expressions().items():
        of_all: set[str] = set(SCRAPED_LABELS)
        for one in selected(expression):
            assert one.metric in known, f"{where}: {one.metric} is neither exported nor recorded"
            labels = known[one.metric] | SCRAPED_LABELS
            assert one.labels <= labels, f"{where}: {one.metric} has no label {one.labels - labels}"
            of_all |= labels
        assert grouping_labels(expression) <= of_all, f"{where}: {grouping_labels(expression) - of_all}"


def has_data(prometheus: Prometheus, expression: str) -> bool:
    return bool(prometheus.query(expression))


@needs_prometheus
def test_every_recorded_series_has_data_and_the_labels_of_its_name(prometheus: Prometheus) -> None:
    for name in RECORDED:
        wait_until(partial(has_data, prometheus, name), lambda name=name: f"{name} has no data")  # type: ignore[misc]
        for series in prometheus.query(name):
            assert series["metric"].keys() - {"__name__"} == recorded_labels(name), series
    assert prometheus.rule_errors() == []


@needs_prometheus
def test_every_panel_has_data(prometheus: Prometheus) -> None:
    waiting = {
        f"{panel['title']}, query {target['refId']}": target for panel in panels() for target in panel["targets"]
    }
    assert len(waiting) > 40

    def all_have_data() -> bool:
        for name, target in list(waiting.items()):
            series = answered(prometheus, target)
            if series:
                check_legend(name, target, series)
                del waiting[name]
        return not waiting

    wait_until(all_have_data, lambda: f"no data: {sorted(waiting)}")


def as_sent(expression: str) -> str:
    """Returns an expression with values in the place of variables."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def answered(prometheus: Prometheus, target: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the series of a panel's query."""
    expression = as_sent(target["expr"])
    return prometheus.query(expression) if target.get("instant") else prometheus.query_range(expression)


@needs_prometheus
def test_every_variable_has_values(prometheus: Prometheus) -> None:
    assert variables().keys() == {"job", "instance", "model"}
    for selector, label in variables().values():
        wait_until(partial(has_data, prometheus, as_sent(selector)))
        assert all(series["metric"][label] for series in prometheus.query(as_sent(selector)))


def check_legend(name: str, target: dict[str, Any], series: list[dict[str, Any]]) -> None:
    """Fails if the name of the series has a label that no series has."""
    named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
    assert any(named <= one["metric"].keys() for one in series), f"{name}: {named} in {series[0]['metric']}"


def test_the_time_of_the_start_is_the_same_in_all_processes(tmp_path: Path) -> None:
    before = time.time()
    with running(make_store(tmp_path).root, tmp_path, api_processes=2) as server:
        times = {metric_sum(server, "axon_start_time_seconds") for _ in range(30)}
    [started] = times
    assert before < started < time.time()
