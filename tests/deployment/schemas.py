"""Strict schemas of manifests: Kubernetes' own by version, those of KEDA and Prometheus's operator, and KServe's."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
from deploy_tools import helm, kserve_models, kubectl, kubernetes_schemas, node_modules

Manifest = dict[str, Any]

_GET_THEM = "; `make deploy-tools` gets it"
needs_helm = pytest.mark.skipif(not helm().exists(), reason=f"there is no helm{_GET_THEM}")
needs_kubectl = pytest.mark.skipif(not kubectl().exists(), reason=f"there is no kubectl{_GET_THEM}")
needs_schemas = pytest.mark.skipif(
    not kubernetes_schemas("1.37").exists(), reason=f"there are no schemas of Kubernetes{_GET_THEM}"
)
needs_crds = pytest.mark.skipif(
    shutil.which("node") is None or not node_modules().exists(), reason=f"there are no models of CRDs{_GET_THEM}"
)
needs_kserve = pytest.mark.skipif(not kserve_models().exists(), reason=f"there are no models of KServe{_GET_THEM}")

CRD_GROUPS = ("keda.sh", "monitoring.coreos.com")
# Parts of custom resources whose fields have names of the user's, or that another schema checks.
_FREE = frozenset({"labels", "annotations", "matchLabels", "metadata", "groups", "behavior"})
_PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "object": "object"}


def group_of(manifest: Manifest) -> str:
    """Returns the API group of a manifest; empty for the core group."""
    group, slash, _ = manifest["apiVersion"].partition("/")
    return group if slash else ""


@cache
def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _validator(schema: dict[str, Any], version: str) -> Any:
    """Returns a validator; the schemas of Kubernetes refer to `file:///api/_definitions.json`."""

    def retrieve(uri: str) -> Any:
        return _read(kubernetes_schemas(version) / Path(urlsplit(uri).path).name)

    return jsonschema_rs.Draft4Validator(schema, base_uri="file:///api/", retriever=retrieve)


@cache
def _kubernetes_validator(file: str, version: str) -> Any:
    return _validator(_read(kubernetes_schemas(version) / file), version)


def kubernetes_complaints(manifest: Manifest, version: str) -> list[str]:
    """Returns what a version of Kubernetes has against a manifest of its own kinds."""
    group, _, api = manifest["apiVersion"].rpartition("/")
    parts = [manifest["kind"].lower(), *([group.partition(".")[0]] if group else []), api]
    found = _kubernetes_validator(f"{'-'.join(parts)}.json", version).iter_errors(manifest)
    return [f"{error.instance_path}: {error.message}" for error in found]


def crd_complaints(manifests: list[Manifest]) -> list[str]:
    """Returns what KEDA and Prometheus's operator have against manifests of theirs, unknown fields included."""
    script = str(Path(__file__).with_name("validate_crds.mjs"))
    command = ["node", script, str(node_modules())]
    done = subprocess.run(command, input=json.dumps(manifests), capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    complaints: list[str] = found["complaints"]
    for manifest in manifests:
        known = set(found["known"][manifest["kind"]])
        complaints += [f"{manifest['kind']}: unknown field {name}" for name in _fields(manifest["spec"]) - known]
        if manifest["kind"] == "ScaledObject":
            behavior = manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
            validator = _kubernetes_validator("horizontalpodautoscalerbehavior-autoscaling-v2.json", "1.31")
            complaints += [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(behavior)]
    return complaints


def _fields(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_fields, value))
    if not isinstance(value, dict):
        return set()
    parts = (_fields(part) for name, part in value.items() if name not in _FREE)
    return (set(value) - _FREE).union(*parts)


def kserve_complaints(manifest: Manifest, version: str = "1.37") -> list[str]:
    """Returns what KServe has against a manifest of its kinds; pods are checked by a version of Kubernetes."""
    api = manifest["apiVersion"].rpartition("/")[2].capitalize()
    found = _validator(_kserve_schema(f"{api}{manifest['kind']}", version), version).iter_errors(manifest)
    return [f"{error.instance_path}: {error.message}" for error in found]


@cache
def _kserve_schema(model: str, version: str) -> dict[str, Any]:
    """Returns a strict schema made from a model of KServe's SDK, whose classes list the type of each field."""
    program = ast.parse(_kserve_file(model).read_text("utf-8"))
    [kind] = [node for node in program.body if isinstance(node, ast.ClassDef)]
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in kind.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    properties = {
        tables["attribute_map"][name]: _kserve_type(type_, version) for name, type_ in tables["openapi_types"].items()
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _kserve_file(model: str) -> Path:
    return kserve_models() / f"{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', model).lower()}.py"


def _kserve_type(type_: str, version: str) -> dict[str, Any]:
    if found := re.fullmatch(r"list\[(.*)\]", type_):
        return {"type": "array", "items": _kserve_type(found[1], version)}
    if found := re.fullmatch(r"dict\(str, (.*)\)", type_):
        return {"type": "object", "additionalProperties": _kserve_type(found[1], version)}
    if type_ in _PLAIN:
        return {"type": _PLAIN[type_]}
    if type_.startswith(("V1alpha1", "V1beta1")):
        return _kserve_schema(type_, version) if _kserve_file(type_).exists() else {}
    definitions = _read(kubernetes_schemas(version) / "_definitions.json")["$defs"]
    for package in ("io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1"):
        if (name := f"{package}.{type_.removeprefix('V1')}") in definitions:
            return {"$ref": f"/api/_definitions.json#/$defs/{name}"}
    return {}
