"""Kubernetes 1.31 to 1.37, KEDA, the operator and KServe take what the chart renders; wrong values are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CASES, VALUES, Manifest, containers_of, kustomized, pods_of, rendered_case, run_helm, variables_of
from deploy_tools import KUBERNETES_VERSIONS, helm
from schemas import (
    CRD_GROUPS,
    crd_complaints,
    group_of,
    kserve_complaints,
    kubernetes_complaints,
    needs_crds,
    needs_helm,
    needs_kserve,
    needs_kubectl,
    needs_schemas,
)
from test_manifests import WRITTEN, check_probes_and_grace, check_restricted, check_variables

from deploy.helm.manifests import made_from_the_chart, without_helm
from models.bucket.cache_folder import cache_folder
from models.errors import StoreError

KSERVE_GROUP = "serving.kserve.io"


def of_kubernetes(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if group_of(manifest) not in (*CRD_GROUPS, KSERVE_GROUP)]


@needs_helm
@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_about(case: str) -> None:
    done = run_helm("lint", "--strict", *(() if case == "default" else ("--values", str(VALUES[case]))))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@needs_schemas
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_takes_what_the_chart_renders(version: str) -> None:
    kinds = set()
    for case in CASES:
        for manifest in of_kubernetes(rendered_case(case)):
            assert not kubernetes_complaints(manifest, version), (case, manifest["kind"])
            kinds.add(manifest["kind"])
    assert kinds == {
        "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget",
        "Service", "ServiceAccount",
    }  # fmt: skip


@needs_schemas
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_takes_the_manifests_of_the_working_tree(version: str) -> None:
    for path, manifest in WRITTEN.items():
        if manifest in of_kubernetes([manifest]):
            assert not kubernetes_complaints(manifest, version), path


@needs_crds
@needs_helm
@pytest.mark.slow
def test_keda_and_the_operator_take_what_the_chart_renders() -> None:
    manifests = [manifest for case in CASES for manifest in rendered_case(case) if group_of(manifest) in CRD_GROUPS]
    assert {manifest["kind"] for manifest in manifests} == {"PrometheusRule", "ScaledObject", "ServiceMonitor"}
    assert not crd_complaints(manifests)


@needs_kserve
@needs_schemas
@needs_helm
def test_kserve_takes_what_the_chart_renders() -> None:
    manifests = [manifest for case in CASES for manifest in rendered_case(case) if group_of(manifest) == KSERVE_GROUP]
    manifests += [manifest for manifest in WRITTEN.values() if group_of(manifest) == KSERVE_GROUP]
    assert {manifest["kind"] for manifest in manifests} == {
        "ClusterServingRuntime", "InferenceService", "ServingRuntime",
    }  # fmt: skip
    for manifest in manifests:
        assert not kserve_complaints(manifest)
        if manifest["kind"].endswith("Runtime"):
            [port] = containers_of(manifest)[0]["ports"]
            spoken = {"http1": "v2", "h2c": "grpc-v2"}[port["name"]]
            assert manifest["spec"]["protocolVersions"] == [spoken], "it names the protocol of the port that it opens"
            assert [entry["name"] for entry in manifest["spec"]["supportedModelFormats"]] == ["axon"]
            [container] = containers_of(manifest)
            assert container["name"] == "kserve-container"
            assert variables_of(container)["AXON_STORE"] == "/mnt/models"


@needs_crds
@needs_kserve
@needs_schemas
def test_the_schemas_find_a_wrong_field_and_a_wrong_type() -> None:
    keda = WRITTEN["kustomize/components/keda/scaledobject.yml#0"]
    runtime = WRITTEN["kserve/clusterservingruntime.yml#0"]
    deployment = WRITTEN["kustomize/base/deployment.yml#0"]
    assert crd_complaints([changed(keda, "minReplicaCount", "two")])
    assert crd_complaints([changed(keda, "minReplicas", 2)])
    assert kserve_complaints(changed(runtime, "protocolVersion", ["v2"]))
    assert kserve_complaints(changed(runtime, "containers", [{"name": "c", "image": "i", "port": 1}]))
    assert kubernetes_complaints(changed(deployment, "replicas", "2"), "1.31")
    assert kubernetes_complaints(changed(deployment, "replica", 2), "1.31")


def changed(manifest: Manifest, name: str, value: object) -> Manifest:
    return {**manifest, "spec": {**manifest["spec"], name: value}}


@needs_helm
@pytest.mark.parametrize("case", CASES)
def test_what_the_chart_renders_is_restricted_sound_and_stops_in_time(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [manifest] = [manifest for manifest in rendered_case(case) if pods_of(manifest)]
    check_restricted(manifest)
    check_probes_and_grace(manifest)
    [container] = containers_of(manifest)
    check_variables(variables_of(container), monkeypatch)


@needs_helm
def test_services_policies_and_budgets_select_the_pods() -> None:
    for case in CASES:
        by_kind = {manifest["kind"]: manifest["spec"] for manifest in rendered_case(case) if "spec" in manifest}
        if "Deployment" not in by_kind:
            continue
        labels = by_kind["Deployment"]["template"]["metadata"]["labels"].items()
        selectors = [by_kind["Service"]["selector"], by_kind["Deployment"]["selector"]["matchLabels"]]
        if "PodDisruptionBudget" in by_kind:
            selectors.append(by_kind["PodDisruptionBudget"]["selector"]["matchLabels"])
        if "NetworkPolicy" in by_kind:
            selectors.append(by_kind["NetworkPolicy"]["podSelector"]["matchLabels"])
        assert all(selector.items() <= labels for selector in selectors)
        names = {
            port["name"] for port in containers_of({"kind": "Deployment", "spec": by_kind["Deployment"]})[0]["ports"]
        }
        assert {port["targetPort"] for port in by_kind["Service"]["ports"]} == names


@needs_helm
def test_a_bucket_on_the_usual_port_needs_no_rule_of_the_network_policy(tmp_path: Path) -> None:
    values: dict[str, Any] = {"store": {"kind": "bucket", "bucket": {"url": "s3://bucket/store"}}}
    values["extraEnv"] = [{"name": "AWS_ENDPOINT_URL", "value": "https://objects.example.org/"}]
    egress = rendered_with(values, tmp_path)["NetworkPolicy"]["spec"]["egress"]
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in egress
    # Credentials of a service account come from a link-local address; those of a Secret do not.
    assert any(block["ipBlock"]["cidr"] == "169.254.169.254/32" for rule in egress for block in rule.get("to", []))
    values["store"]["bucket"]["secret"] = "credentials"
    assert not any("to" in rule for rule in rendered_with(values, tmp_path)["NetworkPolicy"]["spec"]["egress"])


def rendered_with(values: dict[str, Any], folder: Path) -> dict[str, Manifest]:
    """Returns what the chart renders with some values, by kind."""
    file = folder / "values.yml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = run_helm("template", "--values", str(file))
    assert done.returncode == 0, done.stderr
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout) if manifest}


@needs_helm
def test_the_cache_of_a_bucket_is_a_folder_that_the_server_makes(tmp_path: Path) -> None:
    # The kubelet lets everybody write to the root of an emptyDir, and the server takes no such folder.
    values = {"store": {"kind": "bucket", "bucket": {"url": "s3://models/store"}}}
    [container] = containers_of(rendered_with(values, tmp_path)["Deployment"])
    cache = Path(variables_of(container)["AXON_STORE_CACHE"])
    assert str(cache.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    mount = tmp_path / "mount"
    mount.mkdir()
    mount.chmod(0o2777)
    with pytest.raises(StoreError, match="other users may write to it"):
        cache_folder(mount)
    assert cache_folder(mount / cache.name).stat().st_mode & 0o777 == 0o700


@needs_helm
def test_grpc_is_announced_as_plain_http2_only_without_tls(tmp_path: Path) -> None:
    for tls, protocol in (({}, "kubernetes.io/h2c"), ({"secret": "axon-tls"}, None)):
        service = rendered_with({"grpc": {"enabled": True}, "tls": tls}, tmp_path)["Service"]
        [port] = [port for port in service["spec"]["ports"] if port["name"] == "grpc"]
        assert port.get("appProtocol") == protocol


@needs_helm
def test_kserve_gets_the_values_of_pods(tmp_path: Path) -> None:
    values = {
        "workload": "InferenceService",
        "kserve": {"storageUri": "s3://a/b"},
        "image": {"pullSecrets": ["registry"]},
        "priorityClassName": "high",
        "podLabels": {"team": "models"},
        "podAnnotations": {"example.org/a": "b"},
        "affinity": {"podAntiAffinity": {}},
    }
    predictor = rendered_with(values, tmp_path)["InferenceService"]["spec"]["predictor"]
    assert predictor["imagePullSecrets"] == [{"name": "registry"}]
    assert predictor["priorityClassName"] == "high"
    assert predictor["labels"] == {"team": "models"}
    assert predictor["annotations"] == {"example.org/a": "b"}
    assert predictor["affinity"] == {"podAntiAffinity": {}}


@needs_helm
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"gracePeriodSeconds": 30}, "gracePeriodSeconds is 30, and the server takes up to 41 seconds to stop"),
        ({"settings": {"AXON_DRAIN_SECONDS": 0.5}}, "Kubernetes takes seconds to withdraw an endpoint"),
        (
            {"settings": {"AXON_DRAIN_SECONDS": None}},
            "settings.AXON_DRAIN_SECONDS and settings.AXON_SHUTDOWN_SECONDS must be set",
        ),
        ({"store": {"kind": "bucket"}}, "store.bucket.url is empty: name the bucket"),
        (
            {"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}]},
            "which the network policy does not let the pods call. Name it in networkPolicy.egress",
        ),
        (
            {
                "store": {"kind": "bucket", "bucket": {"url": "s3://bucket/store"}},
                "extraEnv": [{"name": "AWS_ENDPOINT_URL", "value": "https://minio:9000"}],
            },
            "extraEnv has AWS_ENDPOINT_URL https://minio:9000, which the network policy does not let",
        ),
        ({"workload": "InferenceService"}, "kserve.storageUri is empty: name the store"),
        (
            {"workload": "InferenceService", "kserve": {"storageUri": "s3://a/b"}, "tls": {"secret": "a"}},
            "tls.secret must be empty",
        ),
        (
            {
                "workload": "InferenceService",
                "kserve": {"storageUri": "s3://a/b"},
                "monitoring": {"rules": {"enabled": True}},
            },
            "monitoring.rules.enabled must be false with workload: InferenceService",
        ),
        (
            {"autoscaling": {"kind": "hpa"}, "monitoring": {"serviceMonitor": {"enabled": True, "interval": "1m"}}},
            "monitoring.serviceMonitor.interval is 1m, and autoscaling looks at the last minute",
        ),
        (
            {"autoscaling": {"kind": "hpa", "minReplicas": 30}},
            "autoscaling.minReplicas (30) must not exceed autoscaling.maxReplicas (20)",
        ),
        ({"autoscaling": {"kind": "keda"}}, "autoscaling.prometheus is empty: KEDA needs the address"),
        ({"autoscaling": {"kind": "hpa"}}, "autoscaling needs the server's metrics in Prometheus"),
        (
            {"autoscaling": {"kind": "hpa", "queueWaitSeconds": 0.5, "scrapedOtherwise": True}},
            "autoscaling.queueWaitSeconds is 0.5, and the rule of deploy/prometheus/adapter.yml cuts waits at 0.2 s",
        ),
        (
            {"autoscaling": {"kind": "hpa", "scrapedOtherwise": True}, "resources": {"limits": {"cpu": "500m"}}},
            "resources.limits.cpu is 500m, and the pod has 2 processes",
        ),
        (
            {"apiKeys": {"secret": "a"}, "monitoring": {"serviceMonitor": {"enabled": True}}},
            "monitoring.serviceMonitor.authorization.secret is empty",
        ),
        ({"extraEnv": [{"name": "AXON_STORE", "value": "/other"}]}, "The variable AXON_STORE is set twice."),
        ({"service": {"headless": True, "type": "LoadBalancer"}}, "no headless Service of type LoadBalancer"),
        (
            {"podLabels": {"app.kubernetes.io/name": "other"}},
            "podLabels has app.kubernetes.io/name, which the chart sets",
        ),
        # The words of the schema, as Helm says them:
        ({"settings": {"AXON_WORKERS": 0}}, "at '/settings/AXON_WORKERS': minimum: got 0, want 1"),
        ({"settings": {"AXON_WORKER": 2}}, "at '/settings': additional properties 'AXON_WORKER' not allowed"),
        ({"replicas": "three"}, "at '/replicas': got string, want integer"),
        ({"maxSurge": 0}, "at '/maxSurge': minimum: got 0, want 1"),
        ({"maxSurge": "0%"}, "at '/maxSurge': '0%' does not match pattern"),
        ({"store": {"bucket": {"url": "s3://key:word@bucket/store"}}}, "at '/store/bucket/url'"),
        ({"store": {"bucket": {"url": "https://bucket.example.org"}}}, "at '/store/bucket/url'"),
        ({"apiKeys": {"secret": "a", "key": ".."}}, "at '/apiKeys/key'"),
        ({"store": {"kind": "nfs"}}, "at '/store/kind': value must be one of 'claim', 'bucket', 'image'"),
    ],
)
def test_wrong_values_are_refused_with_a_sentence(values: dict[str, Any], sentence: str, tmp_path: Any) -> None:
    file = tmp_path / "values.yml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = run_helm("template", "--values", str(file))
    assert done.returncode == 1
    assert not done.stdout
    assert sentence in done.stderr


@needs_helm
def test_a_fleet_is_scaled_by_all_workers_of_its_pods_and_not_by_missing_figures(tmp_path: Any) -> None:
    values = {
        "autoscaling": {"kind": "keda", "prometheus": "http://prometheus:9090", "scrapedOtherwise": True},
        "settings": {"AXON_WORKERS": 2, "AXON_DEVICE": "cuda"},
        "resources": {"limits": {"nvidia.com/gpu": 4}},
    }
    triggers = rendered_with(values, tmp_path)["ScaledObject"]["spec"]["triggers"]
    of = {trigger["name"]: trigger["metadata"] for trigger in triggers}
    assert of["worker-busy"]["threshold"] == "4.800"  # 0.6 of two workers on each of four GPUs
    assert of["api-busy"]["threshold"] == "0.600"
    assert [of[name].get("ignoreNullValues") for name in ("worker-busy", "api-busy", "queue-wait")] == [
        "false",
        "false",
        None,
    ]


@needs_helm
@pytest.mark.slow
def test_kustomize_and_kserve_have_what_the_chart_renders() -> None:
    for path, text in made_from_the_chart(helm()):
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make manifests`"


@needs_helm
@needs_kubectl
def test_kustomize_builds_what_the_chart_renders() -> None:
    def in_order(manifests: list[Manifest]) -> list[Manifest]:
        return sorted((without_helm(manifest) for manifest in manifests), key=lambda manifest: str(manifest["kind"]))

    def in_no_namespace(manifest: Manifest) -> Manifest:
        metadata = {name: value for name, value in manifest["metadata"].items() if name != "namespace"}
        return {**manifest, "metadata": metadata}

    assert in_order(kustomized("base")) == in_order(rendered_case("default"))
    built = {manifest["kind"]: in_no_namespace(manifest) for manifest in kustomized("example")}
    plain = {manifest["kind"]: without_helm(manifest) for manifest in rendered_case("default")}
    for kind in plain.keys() - {"Deployment"}:
        assert built[kind] == plain[kind]
    deployment = built["Deployment"]
    assert "replicas" not in deployment["spec"], "KEDA sets the number"
    [container] = containers_of(deployment)
    assert variables_of(container)["AXON_WORKERS"] == "2"
    assert built["ScaledObject"]["spec"]["triggers"][0]["metadata"]["threshold"] == "1.200"
    assert {"PrometheusRule", "ServiceMonitor"} <= built.keys()


@needs_crds
@needs_kubectl
@needs_schemas
def test_the_overlay_is_sound() -> None:
    manifests = kustomized("example")
    assert not crd_complaints([manifest for manifest in manifests if group_of(manifest) in CRD_GROUPS])
    for manifest in of_kubernetes(manifests):
        assert not kubernetes_complaints(manifest, "1.31")
