"""The core peers: Axon, a handler that a team would write, LitServe as documented, and ceilings; Axon by protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.arrow_wire import ArrowWire
from benchmarks.infer_messages import INFER
from benchmarks.peer import ROOT, Peer
from benchmarks.wire import BinaryWire, GrpcWire, open_inference


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{bin}/python", "-m", f"benchmarks.servers.{name}", "--port", "{port}", "--model", "{model}", *arguments)


def axon(
    name: str = "axon", *, api_processes: int = 1, workers: int = 1, tree: Path = ROOT, device: str = "cpu"
) -> Peer:
    """Returns Axon from a working tree, with default settings except the number of processes and the log level."""
    return Peer(
        name,
        f"{api_processes} API process(es), {workers} worker(s); metrics, limits, deadlines and request ids on",
        ("{bin}/python", "-m", "service"),
        prepare=("{bin}/python", str(ROOT / "benchmarks/servers/axon_store.py"), "{model}", "{folder}/store"),
        environment={
            "AXON_STORE": "{folder}/store",
            "AXON_HOST": "127.0.0.1",
            "AXON_PORT": "{port}",
            "AXON_DEVICE": device,
            "AXON_LOG_LEVEL": "warning",
            "AXON_API_PROCESSES": str(api_processes),
            "AXON_WORKERS": str(workers),
        },
        tree=tree,
        tables=True,
    )


AXON = axon()
# The same server, through its other protocols.
AXON_OIP_JSON = replace(
    AXON,
    name="axon-oip-json",
    settings="the same; Open Inference Protocol over HTTP, JSON",
    path="/v2/models/mlp/infer",
    wire=open_inference("input"),
    tables=False,
)
AXON_OIP_BINARY = replace(
    AXON_OIP_JSON,
    name="axon-oip-binary",
    settings="the same; Open Inference Protocol over HTTP, binary tensors both ways",
    wire=BinaryWire("input"),
)
AXON_ARROW = replace(AXON, name="axon-arrow", settings="the same; streams of Arrow both ways", wire=ArrowWire())
AXON_GRPC = replace(
    AXON,
    name="axon-grpc",
    settings="the same; Open Inference Protocol over gRPC, raw tensors both ways",
    environment={**AXON.environment, "AXON_PORT": "{second_port}", "AXON_GRPC_PORT": "{port}"},
    path=INFER,
    wire=GrpcWire("input"),
    tables=False,
)
FASTAPI = Peer(
    "fastapi",
    "the model in the handler; uvicorn, 1 process, uvloop, httptools, no access log",
    _module("fastapi_handler"),
)
LITSERVE = Peer(
    "litserve", "max_batch_size=64, batch_timeout=2 ms, 1 API process, 1 worker", _module("litserve_documented")
)
IN_PROCESS = Peer(
    "in-process", "bare ASGI, Pydantic, torch in the handler, orjson: no isolation, no batching", _module("bare")
)
FIXED_BYTES = Peer(
    "fixed-bytes", "bare uvicorn: reads the body, sends fixed bytes", _module("bare", "--fixed"), answers=False
)
GRPC_ECHO = Peer(
    "grpc-echo",
    "bare grpc.aio: sends each message back",
    _module("grpc_echo"),
    path=INFER,
    wire=GrpcWire("input"),
    answers=False,
)

AXON_CUDA = axon("axon-cuda", device="cuda")
FASTAPI_CUDA = replace(FASTAPI, name="fastapi-cuda", command=(*FASTAPI.command, "--device", "cuda"))
LITSERVE_CUDA = replace(LITSERVE, name="litserve-cuda", command=(*LITSERVE.command, "--device", "cuda"))

CORE = {peer.name: peer for peer in (AXON, FASTAPI, LITSERVE, IN_PROCESS, FIXED_BYTES)}
PROTOCOLS = {peer.name: peer for peer in (AXON_OIP_JSON, AXON_OIP_BINARY, AXON_ARROW, AXON_GRPC, GRPC_ECHO)}
CUDA = {peer.name: peer for peer in (AXON_CUDA, AXON, FASTAPI_CUDA, LITSERVE_CUDA)}
SCALING = {
    peer.name: peer
    for peer in (
        axon(f"axon {api}+{workers}", api_processes=api, workers=workers)
        for api, workers in ((1, 1), (2, 1), (1, 2), (2, 2))
    )
}
