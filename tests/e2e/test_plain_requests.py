"""Requests that a client repeats on one connection: each gets the same answer as alone, and the same refusals."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import CHECKPOINTS, Oracle, Server, http_get, make_store, metric_sum, running, wait_until

from service.access import new_key

SECRET, KEY = new_key("alice", "predict,read")
OTHER, OTHER_KEY = new_key("bob", "predict")
TOLERANCE = 4e-5  # float32, in a network with folded standardisation


class Connection:
    """A connection of a client that sends each request in one piece."""

    def __init__(self, server: Server) -> None:
        self._stream = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self._file = self._stream.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._stream.close()

    def ask(self, body: object, *lines: str) -> tuple[int, dict[str, str], Any]:
        """Posts a request; returns status, headers and document of the answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = ["POST /predict HTTP/1.1", "Host: x", f"Content-Length: {len(content)}", *lines, "", ""]
        self._stream.sendall("\r\n".join(head).encode() + content)
        return self.read()

    def read(self) -> tuple[int, dict[str, str], Any]:
        """Reads an answer."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(": ")
            headers[name] = value.rstrip()
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the three models, with cross-origin requests allowed for one site."""
    folder = tmp_path_factory.mktemp("served")
    with running(make_store(folder).root, folder, cors_origins="https://a.example", access_log=True) as server:
        yield server


def row(number: int) -> list[float]:
    return [round(number * (i + 1) / 7 % 3 - 1, 4) for i in range(4)]


def test_a_repeated_request_is_answered_in_the_same_way_each_time(served: Server) -> None:
    body = {"model": "colours", "instances": [row(1)]}
    with Connection(served) as connection:
        answers = [connection.ask(body, "Origin: https://a.example") for _ in range(8)]
    first_status, first_headers, first = answers[0]
    assert first_status == 200
    ids = [headers.pop("x-request-id") for _, headers, _ in answers]
    assert len(set(ids)) == len(ids)
    assert first_headers["access-control-allow-origin"] == "https://a.example"
    for status, headers, document in answers[1:]:
        assert (status, document) == (200, first)
        assert headers.keys() == first_headers.keys()
    wait_until(lambda: all(made in served.log() for made in ids), served.log)
    lines = [json.loads(line) for line in served.log().splitlines() if any(made in line for made in ids)]
    assert [(line["model"], line["status"], line["rows"], line["client"]) for line in lines] == [
        ("colours@1", 200, 1, "127.0.0.1")
    ] * len(ids)


def test_the_answers_of_many_clients_are_those_of_torch(served: Server) -> None:
    oracle = Oracle(CHECKPOINTS["colours"])
    before = metric_sum(served, "axon_requests_total"), metric_sum(served, "axon_rows_total")

    def ask(client: int) -> float:
        """Returns the largest difference from torch in the answers of one client."""
        largest = 0.0
        with Connection(served) as connection:
            for number in range(40):
                cells = row(100 * client + number)
                status, headers, document = connection.ask(
                    {"model": "colours", "instances": [cells]}, f"X-Request-ID: {client}-{number}"
                )
                assert (status, headers["x-request-id"]) == (200, f"{client}-{number}")
                [answer] = document["probabilities"]
                largest = max(largest, *(abs(a - b) for a, b in zip(answer, oracle(cells), strict=True)))
        return largest

    with ThreadPoolExecutor(16) as clients:
        assert max(clients.map(ask, range(16))) < TOLERANCE
    wait_until(
        lambda: (
            (metric_sum(served, "axon_requests_total"), metric_sum(served, "axon_rows_total"))
            == (before[0] + 640, before[1] + 640)
        )
    )


def test_what_follows_a_plain_request_on_its_connection_may_be_anything(served: Server) -> None:
    good = {"model": "colours", "instances": [row(1)]}
    with Connection(served) as connection:
        for _ in range(3):
            assert connection.ask(good)[0] == 200
        status, _, document = connection.ask({"model": "colours", "instances": [[1, 2, "3", 4]]})
        assert (status, document["errors"][0]["column"]) == (422, "x2")
        assert connection.ask(b'{"model": "colours", "instances": [[1, 2')[0] == 422
        assert connection.ask({"model": "nobody", "instances": [[1]]})[0] == 404
        status, _, document = connection.ask({"model": "colours", "instances": [row(1), row(2), row(3)]})
        assert (status, len(document["predictions"])) == (200, 3)
        status, _, document = connection.ask({"model": "mixed", "instances": [{"age": 40, "city": "Oslo"}]})
        assert (status, document["model"]) == (200, "mixed")
        assert connection.ask({"model": "mixed", "instances": [[True, "Oslo"]]})[0] == 422
        assert connection.ask(good, "X-Request-Timeout-Seconds: 1e-9")[0] == 504
        assert connection.ask(good, "X-Request-Timeout-Seconds: 1e-9")[0] == 504
        assert connection.ask(good, "X-Request-Timeout-Seconds: 1e-9")[0] == 504, "its head is known by now"
        assert connection.ask(good)[0] == 200


def test_a_bad_row_among_the_requests_of_a_turn_fails_alone(served: Server) -> None:
    def ask(client: int) -> list[int]:
        cells = [1.0, 2.0, 3.0, "four" if client % 4 == 0 else 4.0]
        with Connection(served) as connection:
            return [connection.ask({"model": "colours", "instances": [cells]})[0] for _ in range(30)]

    with ThreadPoolExecutor(16) as clients:
        for client, statuses in enumerate(clients.map(ask, range(16))):
            assert set(statuses) == {422 if client % 4 == 0 else 200}


def test_a_known_head_opens_nothing_without_a_valid_key(tmp_path: Path) -> None:
    body = {"model": "colours", "instances": [row(1)]}
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{OTHER_KEY}\n")
    with (
        running(make_store(tmp_path).root, tmp_path, api_keys_file=keys) as server,
        Connection(server) as connection,
    ):
        for _ in range(4):
            assert connection.ask(body, f"X-API-Key: {SECRET}")[0] == 200
        assert connection.ask(body, f"X-API-Key: {OTHER}")[0] == 200
        assert connection.ask(body, f"X-API-Key: {SECRET[:-1]}x")[0] == 401
        assert connection.ask(body, "X-API-Key: x")[0] == 401
        assert connection.ask(body, f"X-API-Key: {SECRET}", f"X-API-Key: {SECRET}")[0] == 400
        assert connection.ask(body)[0] == 401
        keys.write_text(f"{OTHER_KEY}\n")
        wait_until(lambda: connection.ask(body, f"X-API-Key: {SECRET}")[0] == 401)
        assert connection.ask(body, f"X-API-Key: {OTHER}")[0] == 200
        log = server.log()
        assert not re.search("axon_[A-Za-z0-9_-]{30}", log), "no secret is in the log"
        assert http_get(f"{server.url}/health/ready").status_code == 200
