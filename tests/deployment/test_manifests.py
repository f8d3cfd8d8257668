"""The manifests of the working tree have one source, name only settings, and keep pods restricted.

These tests need no tools, so they run everywhere.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from charts import CASES, CHART, DEPLOY, Manifest, containers_of, pods_of, values_of, variables_of, written_manifests

from deploy.helm.manifests import rules_text, schema_text
from deploy.helm.values_schema import NOT_IN_THE_CHART, settings_of_the_chart, values_schema
from service.settings import Settings

ROOT = DEPLOY.parent
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SETTINGS = {f"AXON_{name.upper()}" for name in Settings.model_fields}
WRITTEN = written_manifests()
SERVERS = {path: manifest for path, manifest in WRITTEN.items() if pods_of(manifest) and manifest["kind"] != "Job"}


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns values with changes, merged as Helm merges files of values."""
    parts = {
        name: merged(values[name], change)
        if isinstance(change, dict) and isinstance(values.get(name), dict)
        else change
        for name, change in changes.items()
    }
    return {**values, **parts}


def refusals(changes: dict[str, Any]) -> list[str]:
    validator = jsonschema_rs.validator_for(values_schema())
    found = validator.iter_errors(merged(VALUES, changes))
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in found]


def test_the_charts_schema_is_made_from_the_settings() -> None:
    message = "run `make manifests`"
    assert (CHART / "values.schema.json").read_text(encoding="utf-8") == schema_text(), message
    assert (CHART / "files/axon.rules.yml").read_text(encoding="utf-8") == rules_text(), message


def test_every_setting_is_in_the_chart_or_decided_against() -> None:
    in_schema = set(json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"])
    undecided = SETTINGS - in_schema - NOT_IN_THE_CHART.keys()
    assert not undecided, f"run `make manifests`, or add a reason to NOT_IN_THE_CHART: {sorted(undecided)}"
    assert in_schema == set(settings_of_the_chart())
    assert NOT_IN_THE_CHART.keys() <= SETTINGS, "a setting is gone"
    assert all(len(reason) > 5 for reason in NOT_IN_THE_CHART.values())


def test_the_chart_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert {container["image"] for manifest in SERVERS.values() for container in containers_of(manifest)} == {
        f"axon:{project['version']}"
    }


@pytest.mark.parametrize("case", CASES)
def test_the_schema_takes_the_values(case: str) -> None:
    assert not refusals(values_of(case))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"replicaCount": 3}, "replicaCount"),
        ({"replicas": "three"}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"settings": {"AXON_WORKER": 2}}, "AXON_WORKER"),
        ({"settings": {"AXON_PORT": 9000}}, "AXON_PORT"),
        ({"settings": {"AXON_WORKERS": 0}}, "settings.AXON_WORKERS"),
        ({"settings": {"AXON_WORKERS": 1.5}}, "settings.AXON_WORKERS"),
        ({"settings": {"AXON_LOG_LEVEL": "loud"}}, "settings.AXON_LOG_LEVEL"),
        ({"settings": {"AXON_TIMEOUT_SECONDS": 0}}, "settings.AXON_TIMEOUT_SECONDS"),
        ({"settings": {"AXON_DRIFT": "yes"}}, "settings.AXON_DRIFT"),
        ({"store": {"kind": "nfs"}}, "store.kind"),
        ({"store": {"path": "models"}}, "store.path"),
        ({"store": {"bucket": {"url": "models"}}}, "store.bucket.url"),
        ({"autoscaling": {"busyShare": 60}}, "autoscaling.busyShare"),
        ({"autoscaling": {"kind": True}}, "autoscaling.kind"),
        ({"resources": {"limits": {"memory": "2 GB"}}}, "resources.limits.memory"),
        ({"image": {"digest": "sha256:12"}}, "image.digest"),
        ({"apiKeys": {"secret": "My Secret"}}, "apiKeys.secret"),
        ({"extraEnv": [{"value": "1"}]}, "extraEnv.0"),
        ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "podDisruptionBudget.maxUnavailable"),
    ],
)
def test_the_schema_refuses_a_wrong_value_by_its_name(changes: dict[str, Any], place: str) -> None:
    found = refusals(changes)
    assert len(found) == 1
    assert place in found[0]


def test_the_bounds_of_the_schema_are_those_of_the_settings() -> None:
    # Each bound of the schema is a value that the service takes.
    properties = values_schema()["properties"]["settings"]["properties"]
    others = {"AXON_MAX_QUEUE_ROWS": 1 << 30, "AXON_MAX_TIMEOUT_SECONDS": 86_400}
    tried = 0
    for name, schema in properties.items():
        for bound in ("minimum", "maximum"):
            if bound in schema and name not in others:
                given = {**others, name: schema[bound]}
                Settings(**{key.removeprefix("AXON_").lower(): value for key, value in given.items()})
                tried += 1
    assert tried > 30


@pytest.mark.parametrize("path", [path for path, manifest in WRITTEN.items() if containers_of(manifest)])
def test_every_variable_is_a_setting_with_a_sound_value(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for container in containers_of(WRITTEN[path]):
        check_variables(variables_of(container), monkeypatch)


def check_variables(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the service read the variables as its own environment, and finds each value there."""
    ours = {name: value for name, value in variables.items() if name.startswith("AXON_")}
    assert ours.keys() <= SETTINGS
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    for name, value in ours.items():
        read = getattr(settings, name.removeprefix("AXON_").lower())
        assert value in (str(read), str(read).lower()) or Path(value) == read or float(value) == read, name


@pytest.mark.parametrize("path", SERVERS)
def test_a_pod_is_restricted_and_stops_in_time(path: str) -> None:
    check_restricted(SERVERS[path])
    check_probes_and_grace(SERVERS[path])


def check_restricted(manifest: Manifest) -> None:
    """Checks the rules of Kubernetes' Pod Security Standard `restricted` that a pod can break."""
    [pod] = pods_of(manifest)
    runtime = manifest["kind"].endswith("Runtime")  # KServe takes the rest of the pod from the InferenceService
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "secret"}
    assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
    assert runtime or (pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001)
    assert runtime or pod["automountServiceAccountToken"] is False
    assert runtime or pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def check_probes_and_grace(manifest: Manifest) -> None:
    """Checks that probes ask the right questions, and that a pod has the time that its server takes to stop."""
    [pod] = pods_of(manifest)
    [container] = pod["containers"]
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/health/live", "liveness": "/health/live", "readiness": "/health/ready"}
    variables = variables_of(container)
    drain, shutdown = float(variables["AXON_DRAIN_SECONDS"]), int(variables["AXON_SHUTDOWN_SECONDS"])
    readiness = container["readinessProbe"]
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if "terminationGracePeriodSeconds" in pod:
        assert pod["terminationGracePeriodSeconds"] > math.ceil(drain) + shutdown + before + 1
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probed = readiness["httpGet"]["port"]
    assert int(variables["AXON_PORT"]) == ports.get(probed, probed)
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_adapter_and_keda_ask_prometheus_the_same() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/adapter.yml").read_text(encoding="utf-8"))["externalRules"]
    scaled = WRITTEN["kustomize/components/keda/scaledobject.yml#0"]
    asked = [
        re.sub(r"{namespace[^}]*}", "{<<.LabelMatchers>>}", trigger["metadata"]["query"])
        for trigger in scaled["spec"]["triggers"]
    ]
    assert [rule["metricsQuery"] for rule in rules] == asked


def test_the_probes_paths_and_the_metrics_of_the_queries_are_documented() -> None:
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    scaled = WRITTEN["kustomize/components/keda/scaledobject.yml#0"]
    for trigger in scaled["spec"]["triggers"]:
        [name] = re.findall(r"axon_\w+", trigger["metadata"]["query"])
        assert f"| `{name.removesuffix('_bucket')}` |" in operations
