"""The store in a bucket over S3's protocol: moto's server, and a proxy with faults in front of the server."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import httpx
import numpy as np
import pytest
from faulty_proxy import FaultyProxy
from serving import Server, http_client, http_get, wait_until
from small_models import small_model

from models.errors import BucketError, CheckpointError, StoreError
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.open_store import open_store

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-no-text-may-have"
COLD_SECONDS = 5.0
RACE = """
import os, sys
from small_models import small_model
from models.open_store import open_store
children = []
for number in range(4):
    if (child := os.fork()) == 0:
        store = open_store(sys.argv[1])
        for one in range(5):
            version = store.publish("m", small_model(10 * number + one)).version
            store.set_alias("m", f"a{number}-{one}", version)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.fixture
def proxy(s3: int) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3) as proxy:
        yield proxy


@pytest.fixture
def url(s3: int, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the URL of an empty store in a new bucket, behind the proxy."""
    name = f"bucket-{time.time_ns()}"
    with http_client() as client:
        assert client.put(f"http://127.0.0.1:{s3}/{name}").status_code == 200
    for variable, value in {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AXON_STORE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/models"


def test_racing_publishers_get_a_version_each_and_no_alias_is_lost(url):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests", "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", RACE, url], env=environment, timeout=120, check=False).returncode == 0
    store = open_store(url)
    entry = store.entry("m")
    assert entry.versions == tuple(range(1, 21))
    assert sorted(entry.aliases.values()) == list(entry.versions)
    for number in range(4):
        for one in range(5):  # each alias means the model that its process has published
            loaded = store.load(f"m@a{number}-{one}").checkpoint.tensors
            expected = small_model(10 * number + one).tensors
            assert all((loaded[name] == expected[name]).all() for name in expected)


def test_a_large_model_goes_up_in_parts_that_s3_takes(url, tmp_path):
    large = MLPConfig(layer_sizes=(1, 1000, 2500, 1), output="linear")
    tensors = NumpyMLP(large, rng=np.random.default_rng(0)).to_tensors()
    checkpoint = dataclasses.replace(small_model(), config=large, tensors=tensors)
    assert sum(tensor.nbytes for tensor in tensors.values()) > 10_000_000
    published = open_store(url).publish("large", checkpoint)
    loaded = open_store(url, cache=tmp_path / "other").load(str(published)).checkpoint.tensors
    assert all((loaded[name] == tensor).all() for name, tensor in tensors.items())


def test_a_hundred_versions_come_cold_with_one_request_each_and_many_at_a_time(url, proxy, tmp_path, record_property):
    store = open_store(url)
    for seed in range(100):
        store.publish(f"m{seed % 10}", small_model(seed))
    proxy.requests.clear()
    proxy.most_at_once = 0
    cold = open_store(url, cache=tmp_path / "cold")
    begin = time.monotonic()
    places = [(entry.name, version) for entry in cold.entries() for version in entry.versions]
    cold.fetch(places)
    seconds = time.monotonic() - begin
    assert len(places) == 100
    # A listing, manifests, files; the client repeats a request whose connection broke off.
    assert len(set(proxy.requests)) == 1 + 100 + 100
    assert proxy.most_at_once >= 8
    assert all(cold.version(*place).load().checkpoint.config == small_model().config for place in places)
    assert len(set(proxy.requests)) == 1 + 100 + 100
    record_property("seconds", seconds)
    queue = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))  # of processes that want a CPU, for each CPU
    assert seconds < COLD_SECONDS * queue


def test_a_poll_of_an_unchanged_store_is_one_request(url, proxy):
    store = open_store(url)
    for seed in range(3):
        store.publish("m", small_model(seed))
    store.set_alias("m", "production", 1)
    store.entries()
    proxy.requests.clear()
    store.entries()
    assert [method for method, _ in proxy.requests] == ["GET"]


@pytest.mark.parametrize("fault", ["500", "garbage", "half", "cut"])
def test_a_command_names_what_is_wrong_and_changes_nothing(url, proxy, fault):
    store = open_store(url)
    store.publish("m", small_model())
    store.set_alias("m", "production", 1)
    before = store.entries()
    proxy.fault = lambda _method, _path: fault
    for call in (
        store.entries,
        lambda: store.publish("m", small_model(1)),
        lambda: store.set_alias("m", "production", 1),
        lambda: store.delete("m", 1),
    ):
        with pytest.raises(BucketError) as refused:
            call()
        assert SECRET not in str(refused.value)
        assert "AKIA" not in str(refused.value)
    proxy.fault = lambda _method, _path: None
    assert store.entries() == before


@pytest.mark.parametrize("fault", ["500", "garbage", "half", "other bytes", "cut"])
def test_a_file_that_does_not_come_as_it_was_put_is_refused_by_name(url, proxy, tmp_path, fault):
    store = open_store(url)
    store.publish("m", small_model())
    cold = open_store(url, cache=tmp_path / "cold")
    proxy.fault = lambda _method, path: fault if "/files/" in path else None
    for read in (cold.version("m", 1).load, cold.version("m", 1).read_header):
        with pytest.raises(CheckpointError, match="m@1"):
            read()
    assert not [path for path in (tmp_path / "cold/files").iterdir() if path.is_file()]
    proxy.fault = lambda _method, _path: None
    assert cold.load("m").digest == store.load("m").digest


def test_a_write_that_the_bucket_has_taken_counts_although_the_answer_is_lost(url, s3, proxy):
    store = open_store(url)
    store.publish("m", small_model())
    lost = []

    def fault(method: str, path: str) -> str | None:
        if method == "PUT" and "/models/m/" in path and len(lost) < 2:
            lost.append(path)
            with http_client() as client:  # it arrives, and the answer does not
                client.get(f"http://127.0.0.1:{s3}/")
            return "half"
        return None

    proxy.fault = fault
    assert store.publish("m", small_model(1)).version == 2
    store.set_alias("m", "production", 2)
    assert store.entry("m").versions == (1, 2)
    assert store.entry("m").aliases == {"production": 2}


def test_a_server_answers_through_every_fault_of_its_bucket_and_a_restart(url, proxy, tmp_path):
    publisher = open_store(url, cache=tmp_path / "publisher")
    publisher.publish("m", small_model(0))
    server = Server(url, tmp_path, store_cache=tmp_path / "cache", reload_seconds=0.2, api_processes=2)
    server.start()
    try:
        with closing(_Client(server.url)) as client:
            for number, fault in enumerate(["500", "garbage", "half", "cut", "slow"], start=2):
                version = publisher.publish("m", small_model(number)).version
                wait_until(lambda version=version: client.version == version, server.log)
                proxy.fault = lambda _method, _path, fault=fault: fault
                if fault == "slow":  # is no fault, only late
                    proxy.requests.clear()
                    wait_until(lambda: len(proxy.requests) >= 3, server.log)
                else:
                    wait_until(lambda: "" in _problems(server), server.log)
                    wait_until(lambda: "\naxon_store_problems 1" in http_get(f"{server.url}/metrics").text, server.log)
                    assert server.ready()
                proxy.fault = lambda _method, _path: None
                wait_until(lambda: not _problems(server), server.log)

            # A version whose file is wrong is named, and the one before is served.
            proxy.fault = lambda method, path: "other bytes" if method == "GET" and "/files/" in path else None
            bad = publisher.publish("m", small_model(20))
            wait_until(lambda: f"{bad}" in _problems(server), server.log)
            assert "other bytes than its manifest names" in _problems(server)[f"{bad}"]
            assert client.version == bad.version - 1
            proxy.fault = lambda _method, _path: None
            wait_until(lambda: client.version == bad.version, server.log)
            wait_until(lambda: not _problems(server), server.log)
            publisher.delete("m", 1)
            assert client.failures == []
            last = client.version

        proxy.fault = lambda _method, _path: "cut"
        logs = server.log()
        server.stop()
        server.start()
        with closing(_Client(server.url)) as client:
            wait_until(lambda: client.version == last, server.log)
            assert "" in _problems(server)
        proxy.fault = lambda _method, _path: None
        wait_until(lambda: not _problems(server), server.log)
        assert SECRET not in (logs := logs + server.log())
        assert "AKIA" not in logs
    finally:
        server.stop()


def test_a_server_whose_bucket_never_answers_is_up_and_not_ready_with_the_reason(url, proxy, tmp_path):
    proxy.fault = lambda _method, _path: "cut"
    server = Server(url, tmp_path, store_cache=tmp_path / "cache", reload_seconds=0.2)
    server.ready = lambda: _is_live(server)
    server.start()
    try:
        wait_until(lambda: "no model: the bucket cannot be reached" in _readiness(server), server.log)
        proxy.fault = lambda _method, _path: None
        open_store(url, cache=tmp_path / "publisher").publish("m", small_model())
        wait_until(lambda: '"ready"' in _readiness(server), server.log)
    finally:
        server.stop()


def test_wrong_settings_are_named_before_the_start(url, tmp_path, monkeypatch):
    for store, reason in {
        "s3://key:secret@bucket/x": "credentials belong into environment variables",
        "http://example.org/models": "is not a store",
        "s3://": "is not the URL of a store",
    }.items():
        environment = {**os.environ, "AXON_STORE": store, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 2, ran.stderr
        assert reason in ran.stderr
        assert "secret@" not in ran.stderr
        with pytest.raises(StoreError, match=reason):
            open_store(store)


class _Client:
    """A client that asks for predictions all the time, and notes every answer that is none."""

    def __init__(self, url: str) -> None:
        self.version: int | None = None
        self.failures: list[str] = []
        self._url = url
        self._stop = Event()
        self._thread = Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        with http_client(base_url=self._url) as client:
            while not self._stop.wait(0.01):
                try:
                    answer = client.post("/predict", json={"model": "m", "instances": [[0.5]]})
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                else:
                    self.version = answer.json()["version"]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def _problems(server: Server) -> dict[str, str]:
    return http_get(f"{server.url}/models").json()["problems"]


def _readiness(server: Server) -> str:
    return http_get(f"{server.url}/health/ready").text


def _is_live(server: Server) -> bool:
    try:
        return http_get(f"{server.url}/health/live").status_code == 200
    except httpx.HTTPError:
        return False
