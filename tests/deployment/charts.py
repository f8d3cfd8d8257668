"""The chart of Axon with values for tests, the manifests that the chart renders, and those of the working tree."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from deploy_tools import helm, kubectl

from deploy.helm.manifests import CHART, DEPLOY

Manifest = dict[str, Any]

VALUES = {path.stem: path for path in sorted(Path(__file__).parent.glob("values/*.yml"))}
CASES = ("default", *VALUES)


def values_of(case: str) -> dict[str, Any]:
    """Returns the values that a case gives, without the chart's own."""
    return {} if case == "default" else yaml.safe_load(VALUES[case].read_text(encoding="utf-8"))


def run_helm(command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs `helm template` or `helm lint` over the chart."""
    name = ("axon",) if command == "template" else ()
    arguments = [str(helm()), command, *name, str(CHART), "--namespace", "axon", *options]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


@cache
def _rendered_text(case: str) -> str:
    done = run_helm("template", *(() if case == "default" else ("--values", str(VALUES[case]))))
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered_case(case: str) -> list[Manifest]:
    """Returns the manifests of the chart with the values of a case."""
    return [manifest for manifest in yaml.safe_load_all(_rendered_text(case)) if manifest]


def kustomized(folder: str) -> list[Manifest]:
    """Returns what `kubectl kustomize` builds from a folder of `deploy/kustomize`."""
    command = [str(kubectl()), "kustomize", str(DEPLOY / "kustomize" / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def written_manifests() -> dict[str, Manifest]:
    """Returns the manifests of Kubernetes in the working tree, by their path below `deploy`."""
    paths = [path for name in ("kustomize", "kserve", "jobs") for path in sorted((DEPLOY / name).rglob("*.yml"))]
    return {
        f"{path.relative_to(DEPLOY)}#{number}": manifest
        for path in paths
        for number, manifest in enumerate(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    }


def pods_of(manifest: Manifest) -> list[dict[str, Any]]:
    """Returns the specifications of the pods that a manifest describes; KServe's runtimes look like one."""
    if manifest["kind"] in ("ServingRuntime", "ClusterServingRuntime"):
        return [manifest["spec"]]
    if manifest["kind"] in ("Deployment", "Job"):
        return [manifest["spec"]["template"]["spec"]]
    return []


def containers_of(manifest: Manifest) -> list[dict[str, Any]]:
    """Returns the containers of a manifest."""
    return [container for pod in pods_of(manifest) for container in pod["containers"]]


def variables_of(container: dict[str, Any]) -> dict[str, str]:
    """Returns the variables of a container that have their value in the manifest."""
    return {entry["name"]: entry["value"] for entry in container.get("env", ()) if "value" in entry}
