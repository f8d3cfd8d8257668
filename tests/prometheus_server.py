"""A real Prometheus on a free port of the loopback, which scrapes one server and evaluates the shortened rules."""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from monitored import RULES_FILE
from serving import free_port, http_get, wait_until
from shortened_rules import FACTOR, shortened

PROMTOOL = shutil.which("promtool")
PROMETHEUS = shutil.which("prometheus")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (Debian: prometheus)")

# A sixtieth of 15 s, as the times of the rules are a sixtieth of what they are.
SCRAPE_INTERVAL = "250ms"

_CONFIG = """\
global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}
rule_files: [axon.rules.yml]
scrape_configs:
  - job_name: axon
    static_configs:
      - targets: ["{target}"]
"""


class Prometheus:
    """A running Prometheus.

    Args:
        url: address of its HTTP API.
        log: file of its log.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def log(self) -> str:
        """Returns the log so far."""
        return self._log.read_text(encoding="utf-8")

    def is_ready(self) -> bool:
        """Returns True if queries are answered."""
        try:
            return http_get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the series of an instant query; each has `metric` and `value`."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def query_range(self, expression: str, seconds: int = 30) -> list[dict[str, Any]]:
        """Returns the series of a query over the last seconds, second by second; each has `metric` and `values`."""
        now = time.time()
        found: list[dict[str, Any]] = self._get(
            "query_range", query=expression, start=now - seconds, end=now, step="1s"
        )["result"]
        return [series for series in found if any(not math.isnan(float(value)) for _, value in series["values"])]

    def firing(self) -> set[str]:
        """Returns the names of the alerts that fire now."""
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}')}

    def have_fired(self) -> dict[str, dict[str, str]]:
        """Returns the names of the alerts that have fired so far, each with the labels of one alert."""
        series = self.query('count_over_time(ALERTS{alertstate="firing"}[1h])')
        return {found["metric"]["alertname"]: found["metric"] for found in series}

    def has_rules(self) -> bool:
        """Returns True if the rules are loaded."""
        return bool(self._get("rules")["groups"])

    def rule_errors(self) -> list[str]:
        """Returns the errors of the last evaluation of each rule."""
        groups = self._get("rules")["groups"]
        evaluated = [rule for group in groups for rule in group["rules"]]
        return [f"{rule['name']}: {rule['lastError']}" for rule in evaluated if rule["health"] == "err"]

    def _get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = http_get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def scraping(target: str, folder: Path, interval: str = SCRAPE_INTERVAL, factor: int = FACTOR) -> Iterator[Prometheus]:
    """Runs a Prometheus for the length of a block; leaves no process behind.

    Prometheus gets the rules after the first scrape. It scrapes a new target only after five seconds, which are five
    minutes of the shortened rules: `AxonAbsent` would fire.

    Args:
        target: address that is scraped, `host:port`.
        folder: empty folder for its files.
        interval: time between two scrapes, and between two evaluations of the rules.
        factor: number by which the times of the rules are divided.
    """
    assert PROMETHEUS is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(_CONFIG.format(target=target, interval=interval), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        PROMETHEUS,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--query.lookback-delta=5s",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    prometheus = Prometheus(f"http://{address}", log)
    try:
        wait_until(lambda: process.poll() is not None or prometheus.is_ready(), prometheus.log)
        assert process.poll() is None, prometheus.log()
        wait_until(lambda: bool(prometheus.query("up == 1")), prometheus.log)
        rules = shortened(RULES_FILE.read_text(encoding="utf-8"), factor)
        (folder / "axon.rules.yml").write_text(rules, encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        wait_until(prometheus.has_rules, prometheus.log)
        yield prometheus
        assert process.poll() is None, prometheus.log()
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
