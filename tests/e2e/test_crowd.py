"""Each of many clients gets the right answer, and the metrics add up, even if any process dies."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import CHECKPOINTS, Oracle, Server, http_client, http_get, metric_sum, running, wait_until

from models.columns.schema import ClassTarget, NumericTarget
from models.store import Store

CLIENTS = 64
MOST_REQUESTS = 30  # per client
TOLERANCE = 4e-5  # float32, in a network with folded standardisation

Request = tuple[dict[str, Any] | bytes, int, Any]  # body, expected status, and the oracle's answer or a required text


def good(rng: random.Random, model: str, oracles: dict[str, Oracle]) -> Request:
    def row() -> dict[str, Any]:
        match model:
            case "colours":
                return {f"x{i}": round(rng.gauss(0, 2), 4) for i in range(4)}
            case "price":
                return {"area": round(rng.uniform(20, 200), 2), "rooms": rng.randint(1, 8)}
            case _:
                return {"age": rng.randint(18, 90), "city": rng.choice(["Rome", "Oslo", "Lima"])}

    rows = [row() for _ in range(rng.choice([1, 1, 1, 2, 5, 33]))]
    sent = rows if rng.random() < 0.5 else [list(row.values()) for row in rows]
    return {"model": model, "instances": sent}, 200, [oracles[model](row) for row in rows]


def bad(rng: random.Random) -> Request:
    return rng.choice(
        [
            ({"model": "colours", "instances": [[1, 2, 3]]}, 422, (0, None)),
            ({"model": "colours", "instances": [[1, 2, 3, 4], [1, "2", 3, 4]]}, 422, (1, "x1")),
            ({"model": "colours", "instances": [{"x0": 1, "x1": 1, "x2": 1, "x9": 1}]}, 422, (0, "x9")),
            ({"model": "price", "instances": [[None, 3]]}, 422, (0, "area")),
            ({"model": "price", "instances": [[1e39, 3]]}, 422, (0, "area")),
            ({"model": "price", "instances": [[True, 3]]}, 422, (0, "area")),
            ({"model": "mixed", "instances": [[30, "Rome"], [30, "Atlantis"]]}, 422, (1, "city")),
            ({"model": "nobody", "instances": [[1]]}, 404, None),
            (b'{"model": "price", "instances": [[NaN, 1]]}', 422, None),
            (b'{"model": "price", "instances": [[1, 2]', 422, None),
        ]
    )


def check(answer: httpx.Response, expected: Request) -> None:
    _, status, content = expected
    assert answer.status_code == status, answer.text
    document = answer.json()
    if status == 200:
        values = document.get("probabilities") or [[value] for value in document["predictions"]]
        assert len(values) == len(content)
        # A value near 0 is a difference of numbers as large as the target's spread, and has their rounding error.
        target = CHECKPOINTS[document["model"]].schema.target
        scale = target.std if isinstance(target, NumericTarget) else 1.0
        for ours, theirs in zip(values, content, strict=True):
            assert ours == pytest.approx(theirs, rel=TOLERANCE, abs=TOLERANCE * scale)
        if isinstance(target, ClassTarget):
            assert document["predictions"] == [target.labels[int(np.argmax(row))] for row in values]
    elif content is not None:
        assert (document["errors"][0]["row"], document["errors"][0]["column"]) == content


@cache
def plan_of(client: int) -> list[Request]:
    """Returns the requests of a client in their order, which is the same for each server."""
    rng = random.Random(client)
    oracles = oracles_of_models()
    return [
        bad(rng) if rng.random() < 0.25 else good(rng, rng.choice(list(CHECKPOINTS)), oracles)
        for _ in range(MOST_REQUESTS)
    ]


@cache
def oracles_of_models() -> dict[str, Oracle]:
    return {name: Oracle(checkpoint) for name, checkpoint in CHECKPOINTS.items()}


def crowd(server: Server, requests: int, clients: int = CLIENTS) -> Counter[tuple[str, str]]:
    """Sends mixed good and bad requests from many clients and checks each answer.

    Returns:
        The number of answers by model and status.
    """
    seen: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    def run(plan: list[Request]) -> None:
        with http_client(base_url=server.url, timeout=60) as client:
            for expected in plan:
                body = expected[0]
                sent = (
                    client.post("/predict", content=body)
                    if isinstance(body, bytes)
                    else client.post("/predict", json=body)
                )
                check(sent, expected)
                # A request counts under its model only if its JSON could be read.
                known = isinstance(body, dict) and body["model"] in CHECKPOINTS
                with lock:
                    seen[(body["model"] if known else "", str(sent.status_code))] += 1  # type: ignore[index]

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(run, (plan_of(client)[:requests] for client in range(clients))))
    return seen


def counted(server: Server) -> Counter[tuple[str, str]]:
    """Returns the service's own counts of answers, by model and status."""
    text = http_get(f"{server.url}/metrics").text
    found = re.findall(r'^axon_requests_total\{model="(.*?)",status="(.*?)",version=".*?"\} (\S+)$', text, re.MULTILINE)
    return Counter({(model, status): int(float(n)) for model, status, n in found})


def ask_at_once(server: Server) -> None:
    """Sends a request from each of many clients while the API processes are stopped, which read all together then."""
    cells = [[round(client / 10 - 3, 1), 0.5, -0.5, 1.0] for client in range(CLIENTS)]
    with ExitStack() as stack:
        streams = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30)) for _ in cells]
        for pid in server.api_pids():
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        for stream, row in zip(streams, cells, strict=True):
            body = json.dumps({"model": "colours", "instances": [row]}).encode()
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            stream.sendall(head + body)
        for pid in server.api_pids():
            os.kill(pid, signal.SIGCONT)
        oracle = Oracle(CHECKPOINTS["colours"])
        for stream, row in zip(streams, cells, strict=True):
            with stream.makefile("rb") as answer:
                [probabilities] = json.loads(answer.read().partition(b"\r\n\r\n")[2])["probabilities"]
            np.testing.assert_allclose(probabilities, oracle(row), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("api_processes", "workers"), [(1, 1), (2, 2)])
def test_64_clients_each_get_their_own_answer_and_the_figures_add_up(
    store: Store, tmp_path: Path, api_processes: int, workers: int
) -> None:
    with running(store.root, tmp_path, api_processes=api_processes, workers=workers) as server:
        seen = crowd(server, requests=20)
        assert sum(seen.values()) == CLIENTS * 20
        ask_at_once(server)
        seen["colours", "200"] += CLIENTS
        wait_until(lambda: counted(server) == seen, lambda: f"{counted(server)} is not {seen}")
        # Each process flushes its own metrics after a short time.
        wait_until(lambda: metric_sum(server, "axon_rows_total") == metric_sum(server, "axon_batch_rows_sum"))
        answered = sum(n for (_, status), n in seen.items() if status == "200")
        assert metric_sum(server, "axon_batch_rows_count") < answered, "nothing was batched"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_replaced_and_every_request_is_answered(store: Store, tmp_path: Path, workers: int) -> None:
    with running(store.root, tmp_path, workers=workers) as server:
        before = server.worker_pids()
        assert len(before) == workers
        with ThreadPoolExecutor(1) as background:
            crowded = background.submit(crowd, server, MOST_REQUESTS)
            wait_until(lambda: sum(counted(server).values()) > CLIENTS)
            os.kill(before[0], signal.SIGKILL)
            seen = crowded.result()
        assert sum(seen.values()) == CLIENTS * MOST_REQUESTS
        wait_until(lambda: counted(server) == seen, lambda: f"{counted(server)} is not {seen}")
        wait_until(lambda: len(server.worker_pids()) == workers and server.ready(), server.log)
        assert before[0] not in server.worker_pids()
        up = re.findall(r'^axon_worker_up\{worker="\d"\} (\S+)$', http_get(f"{server.url}/metrics").text, re.MULTILINE)
        wait_until(lambda: len(up) == workers)


def test_sigterm_under_load_answers_what_was_accepted_and_exits_0(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path)
    oracle = Oracle(CHECKPOINTS["price"])
    expected = oracle({"area": 100, "rooms": 4})[0]
    stopping = threading.Event()
    lost: list[str] = []

    def client() -> int:
        answered = 0
        with http_client(base_url=server.url, timeout=30) as http:
            while True:
                try:
                    answer = http.post("/predict", json={"model": "price", "instances": [[100, 4]]})
                except httpx.TransportError as error:
                    lost.append(repr(error))
                    return answered
                assert answer.json()["predictions"][0] == pytest.approx(expected, rel=TOLERANCE)
                answered += 1
                if answer.headers.get("connection") == "close":
                    return answered  # the server asks the client to go elsewhere, as readiness asks a load balancer
                if answered == 5:
                    stopping.set()

    try:
        server.start()
        with ThreadPoolExecutor(16) as pool:
            clients = [pool.submit(client) for _ in range(16)]
            assert stopping.wait(30)
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            assert all(future.result() > 0 for future in clients)
        server.ended(0)
        assert not lost
    finally:
        server.kill()


def test_a_killed_main_process_leaves_no_orphan(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path)
    try:
        server.start()
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not server.processes(), lambda: str(server.processes()))
    finally:
        server.kill()
