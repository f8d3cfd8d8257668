"""The core peers: Axon, a handler that a team would write, LitServe as documented, and two ceilings."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peer import ROOT, Peer


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("{bin}/python", "-m", f"benchmarks.servers.{name}", "--port", "{port}", "--model", "{model}", *arguments)


def axon(name: str = "axon", *, api_processes: int = 1, workers: int = 1, tree: Path = ROOT) -> Peer:
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
            "AXON_DEVICE": "cpu",
            "AXON_LOG_LEVEL": "warning",
            "AXON_API_PROCESSES": str(api_processes),
            "AXON_WORKERS": str(workers),
        },
        tree=tree,
        tables=True,
    )


AXON = axon()
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

CORE = {peer.name: peer for peer in (AXON, FASTAPI, LITSERVE, IN_PROCESS, FIXED_BYTES)}
SCALING = {
    peer.name: peer
    for peer in (
        axon(f"axon {api}+{workers}", api_processes=api, workers=workers)
        for api, workers in ((1, 1), (2, 1), (1, 2), (2, 2))
    )
}
