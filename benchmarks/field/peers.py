"""The field's peers: one model, one worker, adaptive batching where supported, and no access log.

The settings of each are the fastest that were found; the comments say how much slower the obvious ones are.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.field.environments import bin_folder
from benchmarks.infer_messages import INFER
from benchmarks.peer import Peer
from benchmarks.wire import BENTOML, MLFLOW, BinaryWire, GrpcWire, open_inference

_SERVERS = "benchmarks.field.servers"
_BENTOML = Peer(
    "bentoml",
    "batchable, max_batch_size=1024, max_latency_ms=10000, 1 worker; metrics and access log off",
    ("{bin}/bentoml", "serve", f"{_SERVERS}.bentoml_service:MLP", "--host", "127.0.0.1", "--port", "{port}"),
    environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{folder}/bentoml"},
    wire=BENTOML,
    bin=bin_folder("bentoml"),
)


def _granian(name: str, settings: str, application: str, *, model_file: bool = False, answers: bool = True) -> Peer:
    return Peer(
        name,
        f"RSGI, 1 worker, uvloop, no access log; {settings}",
        (
            *("{bin}/granian", "--interface", "rsgi", "--workers", "1", "--loop", "uvloop", "--no-access-log"),
            *("--log-level", "warning", "--respawn-failed-workers"),
            *("--host", "127.0.0.1", "--port", "{port}", f"{_SERVERS}.{application}:app"),
        ),
        prepare=("{bin}/python", "-m", f"{_SERVERS}.onnx_model", "{folder}/model.onnx") if model_file else (),
        environment={"AXON_BENCH_ONNX": "{folder}/model.onnx"},
        bin=bin_folder("granian"),
        answers=answers,
    )


_GRANIAN_FIXED = _granian("granian-fixed", "reads the body, sends fixed bytes", "granian_fixed", answers=False)
_GRANIAN_ONNX = _granian("granian-onnx", "ONNX Runtime in the handler, orjson", "granian_onnx", model_file=True)
GRANIAN_TORCH = _granian("granian-torch", "torch in the handler, orjson", "granian_torch")
_KSERVE = Peer(
    "kserve",
    "ModelServer, v1 protocol, 1 worker; access and latency logs off (it has no batching of its own)",
    ("{bin}/python", "-m", f"{_SERVERS}.kserve_server", "{port}"),
    path="/v1/models/mlp:predict",
    bin=bin_folder("kserve"),
)
_KSERVE_GRPC = Peer(
    "kserve-grpc",
    "ModelServer, gRPC, 1 worker; latency log off",
    ("{bin}/python", "-m", f"{_SERVERS}.kserve_server", "{second_port}", "{port}"),
    path=INFER,
    wire=GrpcWire("x"),
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
    wire=open_inference("x"),
    bin=bin_folder("mlserver"),
)


def mosec(name: str = "mosec", *, workers: int = 1) -> Peer:
    """Returns mosec with a number of workers."""
    return Peer(
        name,
        f"max_batch_size=64, max_wait_time=1 ms, {workers} worker(s), orjson; logs at error",
        (
            *("{bin}/python", "-m", f"{_SERVERS}.mosec_server", "--address", "127.0.0.1", "--port", "{port}"),
            *("--log-level", "error"),
        ),
        environment={"AXON_BENCH_WORKERS": str(workers)},
        bin=bin_folder("mosec"),
    )


def _with_msgspec(peer: Peer) -> Peer:
    """Returns a peer that reads and writes JSON by msgspec, as its users often do."""
    return replace(
        peer,
        name=f"{peer.name}-msgspec",
        settings=peer.settings.replace("orjson", "msgspec"),
        environment={**peer.environment, "AXON_BENCH_JSON": "msgspec"},
    )


MOSEC = mosec()
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
_RAY_HAPROXY = Peer(
    "ray-haproxy",
    "the same server; through HAProxy (RAY_SERVE_ENABLE_HA_PROXY=1), which takes the place of its HTTP proxy",
    ("{bin}/python", "-m", f"{_SERVERS}.ray_app", "{port}"),
    environment={
        **_RAY.environment,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # Ray adds a folder with a long name, and the path of a socket has a limit.
        "RAY_SERVE_HAPROXY_SOCKET_PATH": "{folder}/s",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "{folder}/m",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "{folder}",
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "{folder}/server-state",
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
    ("{bin}/python", "-m", f"{_SERVERS}.triton_server", "{port}", "{second_port}"),
    environment={"HOME": "{folder}"},
    path="/v2/models/mlp/infer",
    wire=open_inference("x"),
    bin=bin_folder("pytriton"),
)
_TRITON_BINARY = replace(
    _TRITON, name="triton-binary", settings="the same server; binary tensors over HTTP", wire=BinaryWire("x")
)
_TRITON_GRPC = replace(
    _TRITON,
    name="triton-grpc",
    settings="the same server; gRPC",
    command=("{bin}/python", "-m", f"{_SERVERS}.triton_server", "{second_port}", "{port}"),
    path=INFER,
    wire=GrpcWire("x"),
)

# By name: the peer, and its environment.
FIELD = {
    peer.name: (peer, environment)
    for peer, environment in (
        (MOSEC, "mosec"),
        (_with_msgspec(MOSEC), "mosec"),
        (GRANIAN_TORCH, "granian"),
        (_with_msgspec(GRANIAN_TORCH), "granian"),
        (_GRANIAN_ONNX, "granian"),
        (_GRANIAN_FIXED, "granian"),
        (_TORCHSERVE, "torchserve"),
        (_RAY, "ray"),
        (_RAY_HAPROXY, "ray"),
        (_RAY_DIRECT, "ray"),
        (_KSERVE, "kserve"),
        (_KSERVE_GRPC, "kserve"),
        (_TRITON, "pytriton"),
        (_TRITON_BINARY, "pytriton"),
        (_TRITON_GRPC, "pytriton"),
        (_MLSERVER, "mlserver"),
        (_BENTOML, "bentoml"),
        (_MLFLOW, "mlflow"),
    )
}
