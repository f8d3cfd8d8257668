"""Writes the files of `deploy` that are made from others: `make manifests`.

The schema of the chart's values comes from the service's settings, the chart's rules from `deploy/prometheus`, and the
manifests of kustomize and KServe from the chart. The last needs `helm`; a test compares each file with its origin.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.helm.values_schema import values_schema

DEPLOY = Path(__file__).parents[1]
CHART = DEPLOY / "helm/axon"
KUSTOMIZE = DEPLOY / "kustomize"
KSERVE = DEPLOY / "kserve"
NAMESPACE = "axon"  # of the queries in the components; an overlay for another namespace has to replace it

_HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart", "app.kubernetes.io/version")
_HEAD = "# Made from the chart by `make manifests`: change deploy/helm/axon, not this file.\n"
_COMPONENTS = {"PrometheusRule": "monitoring", "ServiceMonitor": "monitoring", "ScaledObject": "keda"}
_VALUES = (
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.rules.enabled=true",
    "autoscaling.kind=keda",
    "autoscaling.prometheus=http://prometheus-operated.monitoring:9090",
)


class _Dumper(yaml.SafeDumper):
    """A dumper that writes texts of several lines as blocks, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Returns True: repeated parts are written in full."""
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def schema_text() -> str:
    """Returns the text of `values.schema.json`."""
    return json.dumps(values_schema(), indent=2) + "\n"


def rules_text() -> str:
    """Returns the chart's copy of the rules, below a comment that names the original."""
    rules = (DEPLOY / "prometheus/axon.rules.yml").read_text(encoding="utf-8")
    return f"# A copy of deploy/prometheus/axon.rules.yml, made by `make manifests`.\n{rules}"


def without_helm(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns a manifest without the labels that name Helm and the chart's version."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(part) for key, part in value.items() if key not in _HELM_LABELS}
        return [cleaned(part) for part in value] if isinstance(value, list) else value

    result: dict[str, Any] = cleaned(manifest)
    return result


def rendered(helm: Path, *values: str) -> list[dict[str, Any]]:
    """Returns the manifests of the chart.

    Args:
        helm: path of the program.
        values: values as `--set` takes them.
    """
    options = [option for value in values for option in ("--set", value)]
    command = [str(helm), "template", "axon", str(CHART), "--namespace", NAMESPACE, *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def made_from_the_chart(helm: Path) -> Iterator[tuple[Path, str]]:
    """Renders the chart, and yields the path and the text of each file of kustomize and KServe."""
    plain = {manifest["kind"]: manifest for manifest in rendered(helm)}
    for kind, manifest in plain.items():
        yield KUSTOMIZE / f"base/{kind.lower()}.yml", _text(manifest)
    for manifest in rendered(helm, *_VALUES):
        if manifest["kind"] in _COMPONENTS:
            folder = f"components/{_COMPONENTS[manifest['kind']]}"
            yield KUSTOMIZE / folder / f"{manifest['kind'].lower()}.yml", _text(manifest)
    for manifest in rendered(helm, "workload=InferenceService", "kserve.storageUri=s3://models/store"):
        if manifest["kind"] == "ServingRuntime":
            manifest["kind"] = "ClusterServingRuntime"
        if manifest["kind"] in ("ClusterServingRuntime", "InferenceService"):
            manifest["spec"].get("predictor", {}).pop("serviceAccountName", None)  # whichever the namespace has
            yield KSERVE / f"{manifest['kind'].lower()}.yml", _text(manifest)


def _text(manifest: dict[str, Any]) -> str:
    text = yaml.dump(without_helm(manifest), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return f"{_HEAD}{text}"


def main() -> int:
    """Writes all files; returns 1 if those that come from the chart could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--helm", type=Path, default=Path("helm"), help="program to render the chart with")
    arguments = parser.parse_args()
    (CHART / "values.schema.json").write_text(schema_text(), encoding="utf-8")
    (CHART / "files").mkdir(exist_ok=True)
    (CHART / "files/axon.rules.yml").write_text(rules_text(), encoding="utf-8")
    try:
        for path, text in list(made_from_the_chart(arguments.helm)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except FileNotFoundError:
        print(
            "deploy/kustomize and deploy/kserve were not renewed: there is no helm; `make deploy-tools` gets it",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
