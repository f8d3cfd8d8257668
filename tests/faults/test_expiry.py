"""Expired requests get a 504 on time, in every stage; rows of clients that left get no forward pass."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from crowd import Crowd, totals_agree
from faulty_server import FaultyServer
from poison import SLOW, SLOW_SECONDS
from process_tree import ProcessTree
from serving import Server, http_get, http_post, metric_sum, running, wait_until

from models.store import Store

pytestmark = pytest.mark.faults

SLACK_SECONDS = 0.4  # tolerance for a busy machine
ROW = [100, 3]
BODY = {"model": "price", "instances": [ROW]}


def ask(server: Server, body: dict[str, Any], deadline: str | None = None) -> httpx.Response:
    headers = {} if deadline is None else {"X-Request-Timeout-Seconds": deadline}
    return http_post(f"{server.url}/predict", json=body, headers=headers, timeout=60)


def assert_deadline_exceeded(answer: httpx.Response, deadline: float) -> None:
    """Fails unless the answer is a 504 that came at the deadline."""
    assert answer.status_code == 504, answer.text
    assert answer.json()["type"] == "urn:axon:problem:deadline-exceeded"
    assert deadline <= answer.elapsed.total_seconds() < deadline + SLACK_SECONDS


def leave_waiting(server: Server, requests: int, rows: int) -> list[socket.socket]:
    """Sends requests on new connections without reading the answers."""
    body = orjson.dumps({"model": "price", "instances": [ROW] * rows})
    streams = []
    for _ in range(requests):
        stream = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        stream.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        streams.append(stream)
    http_get(f"{server.url}/health/live")  # by now the event loop has read the requests
    return streams


def test_a_deadline_covers_the_queue_by_header_by_default_and_by_the_maximum(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, timeout_seconds=0.6, max_timeout_seconds=1.2, hang_seconds=60) as server:
        [worker] = ProcessTree.of(server).workers
        os.kill(worker, signal.SIGSTOP)
        assert_deadline_exceeded(ask(server, BODY, "0.2"), 0.2)
        assert_deadline_exceeded(ask(server, BODY), 0.6)
        assert_deadline_exceeded(ask(server, BODY, "1000"), 1.2)
        os.kill(worker, signal.SIGCONT)
        assert ask(server, BODY).status_code == 200
        for nonsense in ("0", "-1", "nan", "inf", "soon", ""):
            assert ask(server, BODY, nonsense).status_code == 422


def test_a_deadline_covers_the_forward(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, FaultyServer) as server, ThreadPoolExecutor(2) as pool:
        slow = BODY | {"instances": [[SLOW, 3]]}
        late = pool.submit(ask, server, slow, "0.3")
        assert_deadline_exceeded(late.result(), 0.3)
        assert ask(server, slow, str(3 * SLOW_SECONDS)).status_code == 200


def test_rows_whose_deadline_passed_or_whose_client_left_cost_no_forward(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, hang_seconds=60) as server, ThreadPoolExecutor(30) as pool:
        [worker] = ProcessTree.of(server).workers
        os.kill(worker, signal.SIGSTOP)
        sent = leave_waiting(server, requests=1, rows=1)  # already on its way to the worker
        left = leave_waiting(server, requests=20, rows=100)
        expired = [pool.submit(ask, server, BODY | {"instances": [ROW] * 100}, "0.3") for _ in range(20)]
        for future in expired:
            assert_deadline_exceeded(future.result(), 0.3)
        assert metric_sum(server, "axon_queue_rows") <= 2000, "what has expired leaves the queue"
        for (
            stream
        ) in left:  # with a reset: a client that only half-closes may wait for the answer (docs/decisions/0018)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
        wanted = pool.submit(ask, server, BODY)
        http_get(f"{server.url}/health/live")
        os.kill(worker, signal.SIGCONT)
        assert wanted.result().status_code == 200
        for stream in sent:
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")
            stream.close()
        wait_until(lambda: metric_sum(server, "axon_queue_rows") == 0, server.log)
        wait_until(lambda: metric_sum(server, "axon_batch_rows_sum") >= 2)
        assert metric_sum(server, "axon_batch_rows_sum") == 2, "one row was under way, one was wanted"


def test_a_crowd_that_cannot_be_served_in_time_is_told_in_time(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, hang_seconds=60) as server:
        [worker] = ProcessTree.of(server).workers
        with Crowd(server, deadline_seconds=0.4) as crowd:
            crowd.warm()
            for _ in range(5):
                os.kill(worker, signal.SIGSTOP)
                crowd.run_for(0.7)
                os.kill(worker, signal.SIGCONT)
                crowd.warm()
            report = crowd.stop()
        report.check(504, 429)  # 429: a request that cannot be answered in time is not accepted
        assert sum(n for (_, status), n in report.statuses.items() if status != "200") >= 5 * 64
        totals_agree(server, report)
        # Every answer took a forward pass; of the others, only requests in flight when the worker stopped did.
        wait_until(lambda: metric_sum(server, "axon_batch_rows_sum") >= report.rows)
        forwarded = metric_sum(server, "axon_batch_rows_sum")
        assert report.rows <= forwarded <= report.rows + 5 * 64 * 33


def test_an_answer_that_comes_in_time_is_not_held_back(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server:
        began = time.monotonic()
        for _ in range(20):
            assert ask(server, BODY, "30").status_code == 200
        assert time.monotonic() - began < 5
