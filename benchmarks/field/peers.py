"""The field's peers: one model, one worker, adaptive batching where supported, and no access log.

The settings of each are the fastest that were found; the comments say how much slower the obvious ones are.
"""

from __future__ import annotations

from benchmarks.field.environments import bin_folder
from benchmarks.peer import Peer
from benchmarks.wire import BENTOML, MLFLOW, OPEN_INFERENCE

_SERVERS = "benchmarks.field.servers"
_BENTOML = Peer(
    "bentoml",
    "batchable, max_batch_size=1024, max_latency_ms=10000, 1 worker; metrics and access log off",
    ("{bin}/bentoml", "serve", f"{_SERVERS}.bentoml_service:MLP", "--host", "127.0.0.1", "--port", "{port}"),
    environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{folder}/bentoml"},
    wire=BENTOML,
    bin=bin_folder("bentoml"),
)
_KSERVE = Peer(
    "kserve",
    "ModelServer, v1 protocol, 1 worker; access and latency logs off (it has no batching of its own)",
    ("{bin}/python", "-m", f"{_SERVERS}.kserve_server", "{port}"),
    path="/v1/models/mlp:predict",
    bin=bin_folder("kserve"),
)
_MLFLOW = Peer(
    "mlflow",
    "pyfunc with a tensor signature, 1 uvicorn worker (it has no batching)",
    (
        *("{bin}/mlflow", "models", "serve", "-m", "{folder}/model", "--env-manager", "local"),
        *("-h", "127.0.0.1", "-p", "{port}", "--workers", "1"),
    ),
    prepare=("{bin}/python", "-m", f"{_SERVERS}.mlflow_model", "{folder}/model"),
    environment={
        "UVICORN_ACCESS_LOG": "false",
        "UVICORN_LOG_LEVEL": "warning",
        "UVICORN_LOOP": "uvloop",
        "UVICORN_HTTP": "httptools",
        "HOME": "{folder}",
    },
    path="/invocations",
    wire=MLFLOW,
    bin=bin_folder("mlflow"),
)
_MLSERVER = Peer(
    "mlserver",
    "max_batch_size=64, max_batch_time=2 ms, parallel_workers=0; debug, metrics and gzip off",
    ("{bin}/mlserver", "start", "{folder}"),
    prepare=("{bin}/python", "-m", f"{_SERVERS}.mlserver_files", "{port}", "{folder}"),
    path="/v2/models/mlp/infer",
    wire=OPEN_INFERENCE,
    bin=bin_folder("mlserver"),
)
_RAY = Peer(
    "ray",
    "@serve.batch(64, 2 ms), 1 replica, throughput settings and gRPC to the replica; through its HTTP proxy",
    ("{bin}/python", "-m", f"{_SERVERS}.ray_app", "{port}"),
    environment={
        # The first setting enables gRPC, but too late for the proxy; hence the next two.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_PROXY_USE_GRPC": "1",
        "RAY_SERVE_DEFAULT_HTTP_HOST": "127.0.0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": "{folder}",
    },
    bin=bin_folder("ray"),
)
_RAY_DIRECT = Peer(
    "ray-direct",
    "the same server; load goes to the replica's own port, past the proxy",
    ("{bin}/python", "-m", f"{_SERVERS}.ray_app", "0"),
    environment={
        **_RAY.environment,
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "{port}",
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "65535",  # above the port, since the proxy takes the lowest one
    },
    bin=bin_folder("ray"),
)
_TORCHSERVE = Peer(
    "torchserve",
    "batchSize=64, maxBatchDelay=2 ms, 1 worker, job_queue_size=1000, heap of 1 GB; logs at error",
    (
        *("{bin}/torchserve", "--start", "--foreground", "--ncs", "--model-store", "{folder}/store"),
        *("--models", "mlp=mlp.mar", "--ts-config", "{folder}/config.properties", "--disable-token-auth"),
    ),
    prepare=("{bin}/python", "-m", f"{_SERVERS}.torchserve_files", "{port}", "{folder}"),
    environment={"LOG_LOCATION": "{folder}/logs", "METRICS_LOCATION": "{folder}/logs"},
    path="/predictions/mlp",
    bin=bin_folder("torchserve"),
)
_TRITON = Peer(
    "triton",
    "nvidia-pytriton on the CPU, JSON over HTTP, dynamic batching, max_batch_size=1024, no queue delay",
    ("{bin}/python", "-m", f"{_SERVERS}.triton_server", "{port}"),
    environment={"HOME": "{folder}"},
    path="/v2/models/mlp/infer",
    wire=OPEN_INFERENCE,
    bin=bin_folder("pytriton"),
)

# By name: the peer, and its environment.
FIELD = {
    peer.name: (peer, environment)
    for peer, environment in (
        (_TORCHSERVE, "torchserve"),
        (_RAY, "ray"),
        (_RAY_DIRECT, "ray"),
        (_KSERVE, "kserve"),
        (_TRITON, "pytriton"),
        (_MLSERVER, "mlserver"),
        (_BENTOML, "bentoml"),
        (_MLFLOW, "mlflow"),
    )
}
