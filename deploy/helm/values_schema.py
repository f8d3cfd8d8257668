"""The schema of the chart's values. The part for settings is made from the service's own settings."""

from __future__ import annotations

from functools import cache
from typing import Any

from service.settings import Settings

Schema = dict[str, Any]

# Settings that are no values of the chart, each with the reason. A setting is either here or in the chart's schema,
# where `make manifests` puts it.
NOT_IN_THE_CHART = {
    "AXON_STORE": "store.* and kserve.storageUri say where the models come from",
    "AXON_PORT": "the Service maps service.port to the container's port",
    "AXON_GRPC_PORT": "grpc.enabled",
    "AXON_SOCKET": "a Service needs TCP",
    "AXON_SOCKET_MODE": "a Service needs TCP",
    "AXON_TLS_CERTIFICATE": "tls.secret",
    "AXON_TLS_KEY": "tls.secret",
    "AXON_API_KEYS": "apiKeys.secret, whose file can change without a restart",
    "AXON_API_KEYS_FILE": "apiKeys.secret",
    "AXON_STORE_CACHE": "a volume of its own, of store.bucket.cacheSize",
    "AXON_RUNTIME_DIR": "the pod's only writable folder is /tmp, of temporary.size",
}

_KEPT = (
    "type",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "enum",
    "const",
    "pattern",
    "description",
)
_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"  # of an object of Kubernetes
_FILE_OF_KEYS = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"
# As `models.bucket.address` takes it.
_BUCKET_URL = r"^$|^(s3|gs|az)://[^\s/?#@]+(/[A-Za-z0-9._~=+-]*)*$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"


@cache
def _fields_of_settings() -> dict[str, Schema]:
    fields: dict[str, Schema] = Settings.model_json_schema()["properties"]
    return fields


def setting_schema(name: str) -> Schema:
    """Returns the schema of a setting as a value of the chart; null leaves the variable out.

    Args:
        name: name of the variable, such as `AXON_WORKERS`.
    """
    field = _fields_of_settings()[name.removeprefix("AXON_").lower()]
    found = {**next((choice for choice in field.get("anyOf", ()) if choice["type"] != "null"), {}), **field}
    schema = {key: found[key] for key in _KEPT if key in found}
    schema["type"] = [schema["type"], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def settings_of_the_chart() -> list[str]:
    """Returns the variables of the settings that are values of the chart, in the order of their names."""
    names = (f"AXON_{name.upper()}" for name in Settings.model_fields)
    return sorted(name for name in names if name not in NOT_IN_THE_CHART)


def _object(_description: str = "", **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"description": _description, **schema} if _description else schema


def _text(description: str = "", pattern: str | None = None) -> Schema:
    return {"type": "string", **({"pattern": pattern} if pattern else {}), **_described(description)}


def _optional_name(description: str = "") -> Schema:
    return _text(description, f"^$|{_NAME}")


def _choice(*choices: str, description: str = "") -> Schema:
    return {"enum": list(choices), **_described(description)}


def _number(minimum: float, maximum: float, kind: str = "integer", description: str = "") -> Schema:
    return {"type": kind, "minimum": minimum, "maximum": maximum, **_described(description)}


def _described(description: str) -> Schema:
    return {"description": description} if description else {}


_TRUTH: Schema = {"type": "boolean"}
_FREE: Schema = {"type": "object"}
_LIST: Schema = {"type": "array", "items": {"type": "object"}}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_QUANTITIES: Schema = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string", "pattern": _QUANTITY}, {"type": "number", "minimum": 0}]},
}
_SHARE_OR_NUMBER: Schema = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}]
}
# A surge of 0 beside maxUnavailable: 0, which the chart sets, is refused by Kubernetes.
_SURGE: Schema = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,2}%$"}]}
_VARIABLE = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$"}},
}


def values_schema() -> Schema:
    """Returns the JSON schema of `values.yaml`."""
    image = _object(
        repository=_text(pattern=r"^[a-z0-9][a-zA-Z0-9._/:-]*$"),
        tag=_text(pattern=r"^[A-Za-z0-9_.-]*$"),
        digest=_text(pattern=r"^(sha256:[0-9a-f]{64})?$"),
        pullPolicy=_choice("Always", "IfNotPresent", "Never"),
        pullSecrets={"type": "array", "items": {"type": "string", "pattern": _NAME}},
    )
    settings = _object("Settings of the server, by the names of docs/settings.md.")
    settings["properties"] = {name: setting_schema(name) for name in settings_of_the_chart()}
    store = _object(
        kind=_choice("claim", "bucket", "image"),
        path=_text("Where the pod sees the store.", r"^/[A-Za-z0-9._/-]+$"),
        claim=_object(
            name=_text(pattern=_NAME),
            create=_TRUTH,
            size=_text(pattern=_QUANTITY),
            accessMode=_choice("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"),
            storageClass=_optional_name(),
        ),
        bucket=_object(
            url=_text("Credentials come from the Secret, and not from the URL.", _BUCKET_URL),
            secret=_optional_name(),
            cacheSize=_text(pattern=_QUANTITY),
        ),
        image=_object(reference=_text(), pullPolicy=_choice("Always", "IfNotPresent", "Never")),
    )
    autoscaling = _object(
        kind=_choice("none", "keda", "hpa"),
        minReplicas=_number(1, 10_000),
        maxReplicas=_number(1, 10_000),
        busyShare=_number(0.05, 0.95, "number", "Share of the time for which a process is busy."),
        queueWaitSeconds=_number(0.001, 60, "number", "Wait for a worker of 95 % of the requests."),
        scaleDownSeconds=_number(0, 3600),
        prometheus=_text("Address of Prometheus, for KEDA.", "^$|^https?://[^ ]+$"),
        scrapedOtherwise=_TRUTH,
    )
    service = _object(
        type=_choice("ClusterIP", "NodePort", "LoadBalancer"),
        port=_number(1, 65535),
        grpcPort=_number(1, 65535),
        headless=_TRUTH,
        annotations=_TEXTS,
    )
    policy = _object(enabled=_TRUTH, monitoringNamespace=_optional_name(), egress=_LIST)
    policy["properties"]["from"] = _LIST
    monitor = _object(
        enabled=_TRUTH,
        interval=_text(pattern="^[0-9]+(ms|s|m)$"),
        labels=_TEXTS,
        authorization=_object(secret=_optional_name(), key=_text(pattern=_FILE_OF_KEYS)),
    )
    schema = _object(
        workload=_choice("Deployment", "InferenceService"),
        image=image,
        replicas=_number(0, 10_000),
        maxSurge=_SURGE,
        settings=settings,
        extraEnv={"type": "array", "items": _VARIABLE},
        envFrom=_LIST,
        extraVolumes=_LIST,
        extraVolumeMounts=_LIST,
        store=store,
        grpc=_object(enabled=_TRUTH),
        apiKeys=_object(secret=_optional_name(), key=_text(pattern=_FILE_OF_KEYS)),
        tls=_object(secret=_optional_name()),
        resources=_object(requests=_QUANTITIES, limits=_QUANTITIES, claims=_LIST),
        temporary=_object(size=_text(pattern=_QUANTITY)),
        preStopSeconds=_number(0, 3600),
        gracePeriodSeconds={**_number(1, 200_000), "type": ["integer", "null"]},
        autoscaling=autoscaling,
        service=service,
        serviceAccount=_object(create=_TRUTH, name=_optional_name(), annotations=_TEXTS),
        podDisruptionBudget=_object(enabled=_TRUTH, maxUnavailable=_SHARE_OR_NUMBER),
        topologySpread=_object(enabled=_TRUTH),
        networkPolicy=policy,
        monitoring=_object(serviceMonitor=monitor, rules=_object(enabled=_TRUTH, labels=_TEXTS)),
        kserve=_object(storageUri=_text(), annotations=_TEXTS),
        podAnnotations=_TEXTS,
        podLabels=_TEXTS,
        nodeSelector=_TEXTS,
        tolerations=_LIST,
        affinity=_FREE,
        priorityClassName=_optional_name(),
    )
    schema["properties"]["global"] = _FREE  # Helm gives it to each chart that is a part of another
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart axon", **schema}
