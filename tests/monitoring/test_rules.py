"""The rules of Prometheus: cases by promtool, a runbook for each alert, and a copy with shorter times."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitored import CASES_FILE, PROMETHEUS_FOLDER, ROOT, RULES_FILE, rules
from prometheus_server import PROMTOOL, needs_promtool
from shortened_rules import FACTOR, milliseconds, shortened

TEXT = RULES_FILE.read_text(encoding="utf-8")
CASES: list[dict[str, Any]] = yaml.safe_load(CASES_FILE.read_text(encoding="utf-8"))["tests"]
ALERTS = [rule["alert"] for rule in rules("alert")]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ANY_TIME = re.compile(r"\[([^\]]*)\]")


def promtool(*arguments: str | Path) -> str:
    """Returns what promtool prints; fails if promtool fails."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)],
        cwd=PROMETHEUS_FOLDER,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected_alerts(alert: str) -> list[list[dict[str, Any]]]:
    """Returns the expected alerts of each case of an alert; an empty list where the alert must not fire."""
    cases = [case for group in CASES for case in group.get("alert_rule_test", []) if case["alertname"] == alert]
    return [case["exp_alerts"] for case in cases]


@needs_promtool
@pytest.mark.slow
def test_the_cases_hold_in_promtool() -> None:
    assert "SUCCESS" in promtool("test", "rules", CASES_FILE.name)


@needs_promtool
def test_the_configuration_is_valid_with_its_rules() -> None:
    printed = promtool("check", "config", "prometheus.yml")
    assert "1 rule files found" in printed
    assert f"{len(ALERTS) + len(rules('record'))} rules found" in printed


@needs_promtool
@pytest.mark.slow
def test_the_cases_of_a_broken_rule_fail(tmp_path: Path) -> None:
    """Changes thresholds, of which the cases must complain."""
    (tmp_path / RULES_FILE.name).write_text(TEXT.replace("ratio_rate5m > 0.05", "ratio_rate5m > 0.5"), encoding="utf-8")
    (tmp_path / CASES_FILE.name).write_text(CASES_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    assert PROMTOOL is not None
    command = [PROMTOOL, "test", "rules", CASES_FILE.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert all(alert in done.stdout + done.stderr for alert in ("AxonModelFails", "AxonRefuses", "AxonQueueWaits"))


def test_each_alert_has_one_name_and_says_how_urgent_it_is() -> None:
    assert len(set(ALERTS)) == len(ALERTS)
    for rule in rules("alert"):
        assert re.fullmatch(r"Axon[A-Z]\w+", rule["alert"])
        assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"}), rule["alert"]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_case_that_fires_and_one_that_does_not(alert: str) -> None:
    expected = expected_alerts(alert)
    assert any(expected), f"{alert} fires in no case"
    assert not all(expected), f"{alert} is silent in no case"


def test_no_case_names_an_alert_that_is_not_there() -> None:
    named = {case["alertname"] for group in CASES for case in group.get("alert_rule_test", [])}
    assert named == set(ALERTS)


@pytest.mark.parametrize("rule", rules("alert"), ids=ALERTS)
def test_each_alert_explains_itself_and_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    for text in (annotations["summary"], annotations["description"]):
        assert text.endswith(".")
        assert text != rule["alert"]
    path, _, anchor = annotations["runbook"].partition("#")
    assert path == "docs/operations.md"
    assert anchor in anchors(OPERATIONS)


def test_each_runbook_entry_has_its_alert_and_says_what_to_do() -> None:
    section = OPERATIONS.partition("\n## Alerts and dashboards\n")[2].partition("\n## ")[0]
    entries = dict(re.findall(r"^### (Axon\w+)\n\n(.*?)(?=\n### |\Z)", section, re.MULTILINE | re.DOTALL))
    assert entries.keys() == set(ALERTS)
    for rule in rules("alert"):
        entry = entries[rule["alert"]]
        assert f"`{rule['labels']['severity']}`" in entry, rule["alert"]
        assert all(word in entry for word in ("**Means**", "**Look at**", "**Do**")), rule["alert"]


def test_the_line_that_makes_addresses_of_runbooks_works() -> None:
    [command] = re.findall(r"^    (sed '.*runbook_url.*)$", OPERATIONS, re.MULTILINE)
    done = subprocess.run(
        command, shell=True, cwd=PROMETHEUS_FOLDER, capture_output=True, text=True, timeout=30, check=True
    )
    changed = [rule for group in yaml.safe_load(done.stdout)["groups"] for rule in group["rules"] if "alert" in rule]
    for rule in changed:
        address = rule["annotations"]["runbook_url"]
        assert address == f"https://docs.example.org/operations.html#{rule['alert'].lower()}"


def anchors(page: str) -> set[str]:
    """Returns the anchors of a page's headings, by the rule of GitHub and of the documentation's builder."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- the shortened copy


def test_the_shortened_rules_differ_in_their_times_alone() -> None:
    ours, shorter = (
        [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        for text in (TEXT, shortened(TEXT))
    )
    assert len(ours) == len(shorter)
    for before, after in zip(ours, shorter, strict=True):
        assert after | {"expr": "", "for": ""} == before | {"expr": "", "for": ""}
        assert ("for" in after) == ("for" in before)
        assert ANY_TIME.sub("[]", after["expr"]) == ANY_TIME.sub("[]", before["expr"])
        long, short = ([*ANY_TIME.findall(rule["expr"]), *filter(None, [rule.get("for")])] for rule in (before, after))
        assert [milliseconds(time) for time in long] == [FACTOR * milliseconds(time) for time in short]


def test_the_rules_have_no_other_times() -> None:
    for rule in (*rules("record"), *rules("alert")):
        assert all(re.fullmatch(r"\d+[smhd]", time) for time in ANY_TIME.findall(rule["expr"])), rule["expr"]
        assert not re.search(r"\boffset\b|@", rule["expr"]), rule["expr"]
    groups = yaml.safe_load(TEXT)["groups"]
    assert all(group.keys() <= {"name", "rules"} for group in groups)


@needs_promtool
def test_the_shortened_rules_are_valid(tmp_path: Path) -> None:
    (tmp_path / RULES_FILE.name).write_text(shortened(TEXT), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "rules", tmp_path / RULES_FILE.name)
