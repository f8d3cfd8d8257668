"""Server failures: workers that hang, clients that leave or send slowly, signals at awkward moments, a port in use."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import (
    CHECKPOINTS,
    ROOT,
    Oracle,
    Server,
    http_client,
    http_get,
    http_post,
    make_checkpoint,
    metric_sum,
    numeric,
    running,
    wait_until,
)

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, Schema
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import Store

pytestmark = pytest.mark.slow

ROW = [0.1, 0.2, 0.3, 0.4]
BODY: dict[str, Any] = {"model": "colours", "instances": [ROW]}


def raw(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /predict HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


def answer_to(server: Server, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Sends bytes that no good client library sends; returns status, headers and body of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stream:
        stream.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += stream.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        while len(body) < int(headers[b"content-length"]):
            body += stream.recv(65536)
        return int(status.split()[1]), headers, body


def test_a_hung_worker_holds_no_request_beyond_its_deadline_and_no_stop(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for seed in (1, 2):
        store.publish("colours", make_checkpoint(CHECKPOINTS["colours"].schema, 8, seed=seed))
    server = Server(store.root, tmp_path, shutdown_seconds=1, drain_seconds=0.1)
    try:
        server.start()
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        for model in ("colours", "colours@1"):  # the second is not loaded yet, and no worker can load it
            headers = {"X-Request-Timeout-Seconds": "0.2"}
            answer = http_post(f"{server.url}/predict", json=BODY | {"model": model}, headers=headers)
            assert answer.status_code == 504, answer.text
            assert answer.elapsed.total_seconds() < 2
        server.stop()
    finally:
        server.kill()


def test_a_stopped_worker_that_goes_on_answers_what_waited(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server, ThreadPoolExecutor(10) as pool:
        expected = Oracle(CHECKPOINTS["colours"])(ROW)
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        # These clients leave, so their rows are not sent when a worker is available again.
        gone = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        held = [pool.submit(http_post, f"{server.url}/predict", json=BODY, timeout=30) for _ in range(10)]
        for stream in gone:
            stream.sendall(raw(json.dumps(BODY | {"instances": [ROW] * 100}).encode()))
        # The first batch is on its way to the worker; all requests but at most one are still waiting.
        http_get(f"{server.url}/health/live")
        for stream in gone:
            stream.close()
        os.kill(worker, signal.SIGCONT)
        for future in held:
            assert future.result().json()["probabilities"][0] == pytest.approx(expected, abs=2e-5)
        wait_until(lambda: metric_sum(server, "axon_queue_rows") == 0, server.log)


def test_a_worker_killed_again_and_again_costs_time_and_no_answer(store: Store, tmp_path: Path) -> None:
    oracle = Oracle(CHECKPOINTS["price"])
    rows = [[float(area), 3] for area in range(40, 56)]
    expected = [oracle(row)[0] for row in rows]
    done = threading.Event()

    def client(n: int) -> int:
        answered = 0
        with http_client(base_url=server.url, timeout=60) as http:
            while not done.wait(0.005):
                answer = http.post("/predict", json={"model": "price", "instances": [rows[n]]})
                assert answer.status_code == 200, answer.text
                assert answer.json()["predictions"][0] == pytest.approx(expected[n], rel=2e-5)
                answered += 1
        return answered

    with running(store.root, tmp_path, workers=2) as server, ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(client, n) for n in range(16)]
        try:
            for victim in range(2):
                before = server.worker_pids()
                os.kill(before[victim], signal.SIGSTOP)  # so that it certainly has a batch when it dies
                threading.Event().wait(0.2)
                os.kill(before[victim], signal.SIGKILL)
                wait_until(lambda b=before: len(set(server.worker_pids()) - set(b)) == 1, server.log)  # type: ignore[misc]
                wait_until(lambda: metric_sum(server, "axon_worker_up") == 2, server.log)
        finally:
            done.set()
        answered = sum(future.result() for future in clients)
        assert metric_sum(server, "axon_rows_total") == answered
        wait_until(lambda: metric_sum(server, "axon_batches_resent_total") >= 1, server.log)


def test_sigterm_waits_for_a_body_that_trickles_in(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path, drain_seconds=0.2)
    try:
        server.start()
        body = json.dumps(BODY).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stream:
            stream.sendall(raw(body)[:-10])
            wait_until(lambda: http_get(f"{server.url}/health/ready").status_code == 200)  # the request is read by now
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "draining" in server.log(), server.log)
            wait_until(lambda: _refuses(server.port), server.log)
            stream.sendall(body[-10:])
            received = stream.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")
        server.ended(0)
    finally:
        server.kill()


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("after", ["the folder", "the worker's socket"])
def test_sigterm_while_it_starts_leaves_nothing_behind(store: Store, tmp_path: Path, after: str) -> None:
    server = Server(store.root, tmp_path)
    try:
        with (tmp_path / "server.log").open("wb") as log:
            server.process = subprocess.Popen(
                [sys.executable, "-m", "service"], cwd=ROOT, env=server.environment, stderr=log
            )
        wanted = "axon-run-*" if after == "the folder" else "axon-run-*/*.sock"
        wait_until(lambda: any(server.runtime_dir.glob(wanted)), server.log)
        if after == "the folder":
            wait_until(lambda: len(server.processes()) > 1, server.log)
        server.stop()
    finally:
        server.kill()


def test_a_taken_port_ends_it_with_a_word_and_no_orphan(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path)
    try:
        with socket.socket() as taken, (tmp_path / "server.log").open("wb") as log:
            taken.bind(("127.0.0.1", server.port))
            taken.listen()
            server.process = subprocess.Popen(
                [sys.executable, "-m", "service"], cwd=ROOT, env=server.environment, stderr=log
            )
            server.ended(1)
        assert "cannot listen" in server.log()
    finally:
        server.kill()


def test_bytes_that_no_library_sends(server: Server) -> None:
    body = json.dumps(BODY).encode()
    status, headers, content = answer_to(server, raw(body))
    expected = json.loads(content)
    assert status == 200
    for given in (b"\xe4\xf6", b"a" * 129, b"", b"tab\there"):
        status, headers, _ = answer_to(server, raw(body, b"X-Request-ID: " + given))
        assert status == 200
        assert re.fullmatch(rb"[0-9a-f]{12}-[0-9a-f]+", headers[b"x-request-id"]), given
    deep = b"[" * 90_000 + b"]" * 90_000
    for hostile in (deep, b'{"model":"colours","instances":[[' + deep + b"]]}", b'{"model":' + deep + b"}"):
        status, headers, content = answer_to(server, raw(hostile))
        assert status == 422
        assert headers[b"content-type"] == b"application/problem+json"
    for odd in (
        b'{"model":"colours","instances":[[1e400,0,0,0]]}',
        b'{"model":"colours","instances":[["\xff",0,0,0]]}',
    ):
        assert answer_to(server, raw(odd))[0] == 422
    digits = b'{"model":"colours","instances":[[' + b"9" * 5_000 + b",0,0,0]]}"
    assert answer_to(server, raw(digits))[0] == 422
    twice = b'{"model":"mixed","model":"colours","instances":[' + json.dumps(ROW).encode() + b"]}"
    assert json.loads(answer_to(server, raw(twice))[2]) == expected, (
        "the last of two keys counts, as in every JSON reader"
    )
    chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    cut = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert json.loads(answer_to(server, chunked + cut + b"0\r\n\r\n")[2]) == expected
    pipelined = raw(body) * 3
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stream:
        stream.sendall(pipelined)
        received = b""
        while received.count(b'"probabilities"') < 3:
            received += stream.recv(65536)
    assert received.count(b"HTTP/1.1 200") == 3


def test_probabilities_sum_to_one_and_predictions_are_the_most_probable_labels(server: Server) -> None:
    rng = random.Random(0)
    rows = [[rng.gauss(0, 3) for _ in range(4)] for _ in range(200)]
    answer = http_post(f"{server.url}/predict", json={"model": "colours", "instances": rows}).json()
    assert np.sum(answer["probabilities"], axis=1) == pytest.approx(1, abs=1e-6)
    classes = http_get(f"{server.url}/models/colours").json()["classes"]
    assert classes == ["red", "green", "blue"]
    assert answer["predictions"] == [classes[i] for i in np.argmax(answer["probabilities"], axis=1)]


def test_small_limits_aliases_a_default_and_a_model_made_with_numpy(tmp_path: Path) -> None:
    config = MLPConfig(layer_sizes=(3, 4, 4, 2), activation="sigmoid")
    schema = Schema(
        columns=tuple(numeric(name) for name in ("a", "b", "c")), target=ClassTarget(name="y", labels=("0", "1"))
    )
    store = Store(tmp_path / "store")
    checkpoints = {}
    for version in (1, 2):
        tensors = NumpyMLP(config, rng=np.random.default_rng(version)).to_tensors()
        checkpoints[version] = Checkpoint(config=config, schema=schema, tensors=tensors)
        store.publish("numbers", checkpoints[version])
    store.publish("other", CHECKPOINTS["price"])
    store.set_alias("numbers", "prod", 1)
    row = [0.5, -1.0, 2.0]
    with running(store.root, tmp_path, default_model="numbers@prod", max_body_bytes=1000, max_request_rows=3) as server:
        for id_, version in ((None, 1), ("numbers", 2), ("numbers@1", 1), ("numbers@latest", 2), ("numbers@prod", 1)):
            body = {"instances": [row]} | ({} if id_ is None else {"model": id_})
            answer = http_post(f"{server.url}/predict", json=body).json()
            assert answer["version"] == version
            assert answer["probabilities"][0] == pytest.approx(Oracle(checkpoints[version])(row), abs=1e-5)
        assert http_post(f"{server.url}/predict", json={"instances": [row] * 4}).status_code == 413
        for size, status in ((1000, 200), (1001, 413)):
            content = json.dumps({"instances": [row]}).encode().ljust(size)
            assert http_post(f"{server.url}/predict", content=content).status_code == status
            assert http_post(f"{server.url}/predict", content=iter([content])).status_code == status, "in one chunk"
            halves = iter([content[:600], content[600:]])
            assert http_post(f"{server.url}/predict", content=halves).status_code == status, "in two chunks"


def test_an_idle_server_sleeps(server: Server) -> None:
    def cpu_seconds() -> float:
        ticks = 0
        for pid in server.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    began, before = time.monotonic(), cpu_seconds()
    threading.Event().wait(2)
    assert (cpu_seconds() - before) / (time.monotonic() - began) < 0.1


def test_the_documentation_is_there(server: Server) -> None:
    page = http_get(f"{server.url}/docs").text
    for name in ("docs/swagger-ui-bundle.js", "docs/swagger-ui.css"):
        assert f'"{name}"' in page
        asset = http_get(f"{server.url}/{name}")
        assert asset.status_code == 200
        assert ("javascript" if name.endswith(".js") else "css") in asset.headers["content-type"]
        assert "swagger" in asset.text
    assert "://" not in page, "the page has all from us: it works without the internet"
    document = http_get(f"{server.url}/openapi.json").json()
    assert {"/predict", "/models", "/models/{id}", "/models/{id}/summary", "/metrics"} <= document["paths"].keys()
    location = http_get(f"{server.url}/", follow_redirects=False).headers["location"]
    assert httpx.URL(f"{server.url}/").join(location) == f"{server.url}/docs"


def test_head_is_get_without_the_body(server: Server) -> None:
    for path, status in (("/health/ready", 200), ("/models", 200), ("/models/nobody", 404), ("/predict", 405)):
        with httpx.Client() as client:  # on one connection, where a body would be taken for the next answer
            head, got = client.head(f"{server.url}{path}"), client.get(f"{server.url}{path}")
        assert head.status_code == got.status_code == status
        assert head.content == b""
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
