"""Provokes one real answer for each operation of the OpenAPI document and each status that a client can cause."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
from serving import CHECKPOINTS, Server, http_client, make_store, numeric, running

from models.checkpoint import Checkpoint
from models.columns.schema import NumericTarget, Schema
from models.network.config import MLPConfig
from models.study_record import STUDIES_FOLDER, StudyRecord, publish_study

from collections.abc import Iterator  # isort: skip

SECRETS = {scope: f"axon_provoked-{scope}" for scope in ("predict", "read", "manage")}
ROW = [0.1, 0.2, 0.3, 0.4]
MAX_CONNECTIONS = 20

# By operation: method, path, and required scope.
OPERATIONS = {
    "predict": ("POST", "/predict", "predict"),
    "explain": ("POST", "/models/{id}/explain", "predict"),
    "list_models": ("GET", "/models", "read"),
    "refresh_models": ("POST", "/models/refresh", "manage"),
    "show_model": ("GET", "/models/{id}", "read"),
    "show_summary": ("GET", "/models/{id}/summary", "read"),
    "show_summary_as_text": ("GET", "/models/{id}/summary/text", "read"),
    "show_summary_as_mermaid": ("GET", "/models/{id}/summary/mermaid", "read"),
    "show_network": ("GET", "/models/{id}/network", "read"),
    "show_training": ("GET", "/models/{id}/training", "read"),
    "show_drift": ("GET", "/models/{id}/drift", "read"),
    "live": ("GET", "/health/live", None),
    "ready": ("GET", "/health/ready", None),
    "scrape": ("GET", "/metrics", "read"),
    "list_studies": ("GET", "/studies", "read"),
    "show_study": ("GET", "/studies/{id}", "read"),
}
Answers = dict[tuple[str, int], list[httpx.Response]]


@contextmanager
def provoking(folder: Path) -> Iterator[Server]:
    """Runs a server with low limits, with a model that fails on a valid row and one that cannot be loaded."""
    store = make_store(folder)
    schema = Schema(columns=(numeric("x", 0, 1),), target=NumericTarget(name="y", mean=0, std=1, minimum=0, maximum=1))
    tensors = {
        "layers.0.weight": np.array([[3e38]], dtype=np.float32),
        "layers.0.bias": np.zeros(1, dtype=np.float32),
    }
    config = MLPConfig(layer_sizes=(1, 1), output="linear")
    store.publish("fragile", Checkpoint(config=config, schema=schema, tensors=tensors))
    broken = store.publish("price", CHECKPOINTS["price"]).path
    payload = bytearray(broken.read_bytes())
    payload[-1] ^= 1
    broken.write_bytes(payload)
    _publish_studies(store.root)
    keys = " ".join(f"{scope}:{scope}:{sha256(secret.encode()).hexdigest()}" for scope, secret in SECRETS.items())
    limits = {"max_request_rows": 100, "max_queue_rows": 100, "max_body_bytes": 50_000, "body_seconds": 1}
    with running(store.root, folder, api_keys=keys, max_connections=MAX_CONNECTIONS, **limits) as server:
        yield server


def _publish_studies(root: Path) -> None:
    """Publishes a study with the name of a model, and one whose record cannot be read."""
    record = StudyRecord(
        name="colours",
        about="what?",
        explanation="So.",
        claim="Yes.",
        holds=True,
        verdict="It is.",
        seed=0,
        quick=True,
        ran="2026-01-01T00:00:00Z",
        tables=[{"title": "One", "rows": [{"name": "a", "value": 0.5}]}],
        diagrams=[{"title": "Two", "mermaid": "flowchart LR"}],
        plot="svg",
    )
    publish_study(root, record, b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    (root / STUDIES_FOLDER / "damaged.json").write_text("{")


def provoke(server: Server) -> Answers:
    """Returns the answers, by operation and status."""
    answers: Answers = {}

    def keep(operation: str, answer: httpx.Response) -> httpx.Response:
        answers.setdefault((operation, answer.status_code), []).append(answer)
        return answer

    with http_client(base_url=server.url, timeout=60) as client:
        for operation in OPERATIONS:
            _of_any_operation(client, server.port, operation, keep)
        for body, headers in _predictions():
            keep("predict", client.request("POST", "/predict", content=body, headers=_key("predict") | headers))
        for document in ({}, {"instances": [[1, 2, 3, "4"]]}, {"instances": [ROW] * 101}):
            keep("explain", client.post("/models/colours/explain", json=document, headers=_key("predict")))
        keep("show_summary", client.get("/models/price@1/summary?format=poem", headers=_key("read")))
        keep("show_drift", client.get("/models/price@1/drift?window=next", headers=_key("read")))
        keep("show_study", client.get("/studies/damaged", headers=_key("read")))
    for lines in (
        [b"Content-Length: 5", b"", b"[1"],
        [b"Transfer-Encoding: gzip, chunked", b"", b""],
        [b"X: " + b"x" * 70_000, b"", b""],
    ):
        keep("predict", _raw(server.port, b"\r\n".join([b"POST /predict HTTP/1.1", b"Host: x", _raw_key(), *lines])))
    _with_a_stopped_worker(server, keep)
    _beyond_the_connections(server, keep)
    return answers


def _of_any_operation(client: httpx.Client, port: int, operation: str, keep) -> None:  # type: ignore[no-untyped-def]
    method, path, scope = OPERATIONS[operation]
    bodies = {"predict": {"model": "colours", "instances": [ROW]}, "explain": {"instances": [ROW]}}
    body = bodies.get(operation)
    keep(operation, client.request(method, path.format(id="colours"), json=body, headers=_key(scope)))
    if "{id}" in path:
        for id_ in ("nobody", "price@2"):  # the second model cannot be loaded
            keep(operation, client.request(method, path.format(id=id_), json=body, headers=_key(scope)))
    keep(operation, _raw(port, f"{method} {path.format(id='colours')} HTTP/1.1\r\n\r\n".encode()))
    if scope is not None:
        other = "predict" if scope != "predict" else "read"
        for headers in ({}, _key(other)):
            keep(operation, client.request(method, path.format(id="colours"), headers=headers))
        twice = [*_key(scope).items()] * 2
        keep(operation, client.request(method, path.format(id="colours"), headers=twice))


def _predictions() -> list[tuple[bytes, dict[str, str]]]:
    return [
        (b'{"model": "price", "instances": [[80, 3]]}', {"Content-Type": "application/json"}),
        (b'{"model": "nobody", "instances": [[1]]}', {}),
        (b'{"model": "price@2", "instances": [[1, 2]]}', {}),
        (b'{"model": "fragile", "instances": [[0], [5]]}', {}),
        (b'{"model": "colours", "instances": [[1, 2, 3, "4"], [1]]}', {}),
        (b'{"model": "colours", "instances": [[3.4e38, 2, 3, 4]]}', {}),
        (b'{"model": "colours"}', {}),
        (b"{", {}),
        (b'{"model": "colours", "instances": [' + b"[0,0,0,0]," * 100 + b"[0,0,0,0]]}", {}),
        (b" " * 50_001, {}),
        (b"1,2", {"Content-Type": "text/csv"}),
        (b"1,2", {"Content-Encoding": "br"}),
        (b'{"model": "colours", "instances": [[0, 0, 0, 0]]}', {"Accept": "text/html"}),
        (b'{"model": "colours", "instances": [[0, 0, 0, 0]]}', {"X-Request-Timeout-Seconds": "soon"}),
    ]


def _with_a_stopped_worker(server: Server, keep) -> None:  # type: ignore[no-untyped-def]
    """Provokes a passed deadline and a full queue."""
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        with http_client(base_url=server.url, timeout=60) as client, ThreadPoolExecutor(4) as pool:
            headers = _key("predict") | {"X-Request-Timeout-Seconds": "1.5"}
            body = {"model": "colours", "instances": [ROW] * 60}
            for waiting in [pool.submit(client.post, "/predict", json=body, headers=headers) for _ in range(4)]:
                keep("predict", waiting.result())
            explain = {"url": "/models/colours/explain", "json": {"instances": [ROW]}}
            headers = _key("predict") | {"X-Request-Timeout-Seconds": "0.3"}
            keep("explain", client.post(**explain, headers=headers))
            refused = False
            while not refused:
                # The queue is full of the rows of this one, behind those that the worker has. Where an explanation's
                # rows come before, this one is refused in place of the explanation.
                full = pool.submit(
                    client.post,
                    "/predict",
                    json={"model": "colours", "instances": [ROW] * 100},
                    headers=_key("predict") | {"X-Request-Timeout-Seconds": "3"},
                )
                while not refused and not full.done():
                    refused = keep("explain", client.post(**explain, headers=headers)).status_code == 429
                keep("predict", full.result())
    finally:
        os.kill(worker, signal.SIGCONT)


def _beyond_the_connections(server: Server, keep) -> None:  # type: ignore[no-untyped-def]
    with ExitStack() as held:
        for _ in range(MAX_CONNECTIONS):
            stream = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            stream.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            stream.recv(1 << 16)
        for operation, (method, path, scope) in OPERATIONS.items():
            with http_client(base_url=server.url, timeout=60) as client:
                keep(operation, client.request(method, path.format(id="colours"), headers=_key(scope)))


def _key(scope: str | None) -> dict[str, str]:
    return {} if scope is None else {"X-API-Key": SECRETS[scope]}


def _raw_key() -> bytes:
    return b"X-API-Key: " + SECRETS["predict"].encode()


def _raw(port: int, request: bytes) -> httpx.Response:
    """Sends bytes that no client library sends; returns the answer when the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
        stream.sendall(request)
        received = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return httpx.Response(int(status.split()[1]), headers=[tuple(line.split(": ", 1)) for line in lines], content=body)  # type: ignore[misc]
