"""Changes of a store that is being served.

After any change of the store, served versions stay served, bad ones are named, good ones go live, and no request fails.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import pytest
import safetensors.numpy
from crowd import Crowd, Report, queries_of, totals_agree
from footprint import Footprint, wait_for_footprint
from peak_memory import PeakMemory
from protocol_queries import CODECS
from serving import (
    CHECKPOINTS,
    Oracle,
    Server,
    http_client,
    http_get,
    http_post,
    make_checkpoint,
    metric_sum,
    running,
    wait_until,
)
from warm_server import warm_up

from models.checkpoint import METADATA_KEY, _canonical, _digest, save_checkpoint
from models.errors import AxonError
from models.store import Store

pytestmark = pytest.mark.faults

P99_SECONDS = 1.0
MIB = 1 << 20
ROW = [0.4, -1.1, 2.0, 0.3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root")


def checkpoint_file(store: Store, name: str, version: int) -> Path:
    """Returns the path of a version's checkpoint."""
    return store.version(name, version).path


def put(store: Store, name: str, version: int, content: bytes) -> Path:
    """Adds a version as any program might: a folder renamed into place, with any file content."""
    staging = store.root / f".staging-{name}-{version}"
    staging.mkdir(parents=True)
    (staging / "model.safetensors").write_bytes(content)
    (store.root / name).mkdir(exist_ok=True)
    staging.rename(store.root / name / str(version))
    return checkpoint_file(store, name, version)


def listing(server: Server) -> dict[str, Any]:
    """Returns the document of `GET /models`."""
    document: dict[str, Any] = http_get(f"{server.url}/models").json()
    return document


def signed(header: Mapping[str, Any], tensors: dict[str, Any]) -> bytes:
    """Returns a checkpoint's bytes with a correct digest, even if the rest is wrong."""
    text = _canonical({**header, "digest": _digest(header, tensors)})
    return safetensors.numpy.save(tensors, metadata={METADATA_KEY: text})


def bad_files() -> Iterator[tuple[str, bytes]]:
    """Yields invalid checkpoint files, each with a word of the expected reason."""
    rng = random.Random(0)
    checkpoint = CHECKPOINTS["price"]
    tensors = {name: np.array(tensor) for name, tensor in checkpoint.tensors.items()}
    sound = signed(checkpoint.header(), tensors)
    yield "truncated", b""
    yield "truncated", sound[:5]
    yield "truncated", sound[:300]
    yield "truncated", sound[:-1]
    yield "truncated", sound[: len(sound) // 2] + b"\0" * 0
    flipped = 0
    while flipped < 20:
        at = rng.randrange(len(sound))
        altered = bytearray(sound)
        altered[at] ^= 1 << rng.randrange(8)
        if bytes(altered) != sound and not sound[at : at + 1].isspace():
            flipped += 1
            yield "", bytes(altered)
    yield "not a safetensors file", b"\x89PNG\r\n\x1a\n" + rng.randbytes(2_000)
    yield "safetensors", pickle.dumps({"weights": [1.0, 2.0]})
    yield "safetensors", b'{"model": "price"}'
    yield "not one that Axon wrote", safetensors.numpy.save(tensors)
    yield "not one that Axon wrote", safetensors.numpy.save(tensors, metadata={METADATA_KEY: "{}"})
    yield "upgrade Axon", signed(checkpoint.header() | {"format_version": 99}, tensors)
    first = next(iter(tensors))
    yield "inconsistent", signed(checkpoint.header(), tensors | {first: tensors[first][:, :-1].copy()})
    yield "inconsistent", signed(checkpoint.header(), tensors | {first: tensors[first].astype(np.float64)})
    yield "inconsistent", signed(checkpoint.header(), tensors | {first: np.full_like(tensors[first], np.nan)})
    yield "inconsistent", signed(checkpoint.header(), {name: tensors[name] for name in list(tensors)[1:]})
    wider = CHECKPOINTS["colours"].schema.to_dict()
    yield "inconsistent", signed(checkpoint.header() | wider, tensors)


@contextmanager
def crowd_beside(server: Server, **settings: Any) -> Iterator[Report]:
    """Runs a crowd beside the block; every answer has to be 200 and correct."""
    with Crowd(server, pause_seconds=0.05, **settings) as crowd:
        crowd.warm()
        yield crowd.report
        crowd.warm()
        report = crowd.stop()
    print(report)  # noqa: T201
    report.check()
    assert report.percentile(99) < P99_SECONDS, str(report)


class Followers:
    """Clients of one model during changes.

    Each answer must be torch's for one of the expected versions, and no client gets an older version than before.

    Args:
        server: server to ask.
        model: id to ask for.
        oracles: expected versions with their oracles, in the order of their appearance.
        statuses: other allowed statuses.
    """

    def __init__(self, server: Server, model: str, oracles: list[tuple[int, Oracle]], *statuses: int) -> None:
        self._server = server
        self._body = {"model": model, "instances": [ROW]}
        self._answers = [(version, oracle(ROW)) for version, oracle in oracles]
        self._statuses = {200, *statuses}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._follow, name=f"follower-{n}") for n in range(4)]
        self.seen: Counter[tuple[int, int]] = Counter()  # number of answers by status and index of the oracle
        self.faults: list[str] = []

    def saw(self, status: int, which: int = -1) -> None:
        """Waits until some client gets another answer with this status from this oracle."""
        before = self.seen[status, which]
        wait_until(lambda: self.seen[status, which] > before or bool(self.faults), lambda: f"{self.seen} {self.faults}")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if error is None:
            assert not self.faults, self.faults[:10]

    def _follow(self) -> None:
        at = 0
        with http_client(base_url=self._server.url, timeout=60) as client:
            while not self._stop.is_set() and len(self.faults) < 100:
                try:
                    answer = client.post("/predict", json=self._body)
                except httpx.TransportError as error:
                    self.faults.append(repr(error))
                    continue
                if answer.status_code not in self._statuses:
                    self.faults.append(f"{answer.status_code}: {answer.text}")
                elif answer.status_code != 200:
                    self.seen[answer.status_code, -1] += 1
                else:
                    found = self._which(answer.json(), at)
                    if found is None:
                        self.faults.append(f"after {at}: {answer.text}")
                    else:
                        at = found
                        self.seen[200, at] += 1

    def _which(self, document: dict[str, Any], at: int) -> int | None:
        """Returns the index, from `at` on, of the oracle that gives an answer, or None."""
        for which, (version, expected) in enumerate(self._answers[at:], start=at):
            ours = document["probabilities"][0]
            if document["version"] == version and ours == pytest.approx(expected, abs=2e-5):
                return which
        return None


def colours(seed: int) -> Any:
    """Makes a model for the columns of `colours` with its own weights."""
    return make_checkpoint(CHECKPOINTS["colours"].schema, 8, seed=seed)


def test_bad_versions_are_named_and_what_was_served_stays_served(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server:
        before = warm_up(server)
        with crowd_beside(server) as report:
            expected = {}
            for version, (reason, content) in enumerate(bad_files(), start=2):
                put(store, "price", version, content)
                expected[f"price@{version}"] = reason
            wait_until(lambda: listing(server)["problems"].keys() == expected.keys(), lambda: str(listing(server)))
            document = listing(server)
            for id_, reason in expected.items():
                assert reason in document["problems"][id_], (id_, document["problems"][id_])
                assert len(document["problems"][id_]) < 2_000
                assert f'"id": "{id_}"' in server.log()
                answer = http_post(f"{server.url}/predict", json={"model": id_, "instances": [[100, 3]]})
                assert answer.status_code == 503, answer.text
            assert metric_sum(server, "axon_store_problems") == len(expected)
            [price] = [model for model in document["models"] if model["name"] == "price"]
            assert price["version"] == 1
            # Each is logged once, and not again whenever the server looks at the store.
            logged = server.log().count('"event": "store problem"')
            answers = report.answers
            wait_until(lambda: report.answers > answers + 2_000)
            assert server.log().count('"event": "store problem"') == logged
            for version in range(2, len(expected) + 2):
                shutil.rmtree(store.root / "price" / str(version))
            wait_until(lambda: metric_sum(server, "axon_store_problems") == 0, lambda: str(listing(server)))
            good = store.publish("price", CHECKPOINTS["price"]).version
            wait_until(lambda: any(model["version"] == good for model in listing(server)["models"]))
        wait_for_footprint(server, before)


def test_what_is_no_file_in_a_checkpoints_place_is_named(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server, crowd_beside(server):
        places = [store.root / "mixed" / str(version) / "model.safetensors" for version in range(2, 8)]
        for place in places:
            place.parent.mkdir()
        places[0].mkdir()
        os.mkfifo(places[1])
        places[2].symlink_to("/dev/zero")
        places[3].symlink_to(tmp_path / "nothing")
        places[4].symlink_to(places[4])
        expected = {f"mixed@{version}" for version in range(2, 8)}
        wait_until(lambda: listing(server)["problems"].keys() == expected, lambda: str(listing(server)))
        assert {model["version"] for model in listing(server)["models"]} == {1}


def test_a_file_that_is_larger_than_its_header_says_costs_no_memory(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server, crowd_beside(server):
        sound = checkpoint_file(store, "price", 1).read_bytes()
        with PeakMemory([*server.worker_pids(), *server.api_pids()]) as peak:
            place = put(store, "price", 2, sound)
            place = put(store, "price", 3, sound)
            with place.open("r+b") as file:
                file.truncate(2 << 30)  # a sparse file: all but the beginning is a hole
            wait_until(lambda: "price@3" in listing(server)["problems"], lambda: str(listing(server)))
            assert peak.growth() < 256 * MIB


def test_a_version_written_in_place_goes_live_once_it_is_whole(store: Store, tmp_path: Path) -> None:
    second = colours(seed=2)
    save_checkpoint(second, tmp_path / "second")
    content = (tmp_path / "second").read_bytes()
    oracles = [(1, Oracle(CHECKPOINTS["colours"])), (2, Oracle(second))]
    with (
        running(store.root, tmp_path) as server,
        crowd_of_others(server),
        Followers(server, "colours", oracles) as seen,
    ):
        place = put(store, "colours", 2, b"")
        with place.open("r+b", buffering=0) as file:
            for at in range(0, len(content), len(content) // 8 + 1):
                file.write(content[at : at + len(content) // 8 + 1])
                if file.tell() < len(content):
                    wait_until(lambda: "truncated" in listing(server)["problems"].get("colours@2", ""))
                    seen.saw(200, 0)
        seen.saw(200, 1)
        wait_until(lambda: not listing(server)["problems"], lambda: str(listing(server)))


@contextmanager
def crowd_of_others(server: Server) -> Iterator[None]:
    """Runs clients of the models that do not change."""
    queries = [query for client in range(16) for query in queries_of(client, CODECS[0]) if query.model != "colours"]
    stop, faults, n = threading.Event(), [], Counter[str]()

    def ask() -> None:
        with http_client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                for query in queries:
                    answer = client.post("/predict", content=query.body)
                    fault = query.fault_in(answer.content) if answer.status_code == 200 else answer.text
                    n[query.model] += 1
                    if fault is not None:
                        faults.append(fault)
                        return

    threads = [threading.Thread(target=ask, name=f"other-{i}") for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not faults, faults
    assert n.keys() == {"price", "mixed"}


@pytest.mark.parametrize(("api_processes", "workers"), [(1, 1), (2, 2)])
def test_new_versions_go_live_one_after_the_other_and_no_request_fails(
    store: Store, tmp_path: Path, api_processes: int, workers: int
) -> None:
    checkpoints = [CHECKPOINTS["colours"], *(colours(seed) for seed in range(2, 12))]
    oracles = [(version, Oracle(checkpoint)) for version, checkpoint in enumerate(checkpoints, start=1)]
    with running(store.root, tmp_path, api_processes=api_processes, workers=workers) as server:
        before = warm_up(server)
        with crowd_of_others(server), Followers(server, "colours", oracles) as seen:
            for which, checkpoint in enumerate(checkpoints[1:], start=1):
                assert store.publish("colours", checkpoint).version == which + 1
                seen.saw(200, which)
                if which > 2:
                    store.delete("colours", which - 2)
        wait_for_footprint(server, before)


def test_a_model_that_is_deleted_or_renamed_is_gone_for_its_clients_alone(store: Store, tmp_path: Path) -> None:
    oracles = [(1, Oracle(CHECKPOINTS["colours"]))]
    with (
        running(store.root, tmp_path) as server,
        crowd_of_others(server),
        Followers(server, "colours", oracles, 404) as old,
        Followers(server, "renamed", oracles, 404) as new,
    ):
        old.saw(200, 0)
        new.saw(404)
        (store.root / "colours").rename(store.root / "renamed")
        old.saw(404)
        new.saw(200, 0)
        (store.root / "renamed").rename(store.root / "colours")
        old.saw(200, 0)
        new.saw(404)
        shutil.rmtree(store.root / "colours")
        old.saw(404)
        store.publish("colours", CHECKPOINTS["colours"])
        old.saw(200, 0)
        wait_until(lambda: not listing(server)["problems"], lambda: str(listing(server)))


def test_a_version_that_is_replaced_under_its_number(store: Store, tmp_path: Path) -> None:
    second = colours(seed=2)
    save_checkpoint(second, tmp_path / "second")
    oracles = [(1, Oracle(CHECKPOINTS["colours"])), (1, Oracle(second))]
    place = checkpoint_file(store, "colours", 1)
    with (
        running(store.root, tmp_path) as server,
        crowd_of_others(server),
        Followers(server, "colours", oracles) as seen,
    ):
        (tmp_path / "bad").write_bytes((tmp_path / "second").read_bytes()[:-100])
        (tmp_path / "bad").replace(place)
        wait_until(lambda: "colours@1" in listing(server)["problems"], lambda: str(listing(server)))
        seen.saw(200, 0)
        (tmp_path / "second").replace(place)
        seen.saw(200, 1)
        wait_until(lambda: not listing(server)["problems"], lambda: str(listing(server)))
        place.unlink()  # the model is in memory, and its folder still exists
        wait_until(lambda: "colours@1" in listing(server)["problems"], lambda: str(listing(server)))
        seen.saw(200, 1)


def test_a_worker_that_restarts_while_a_version_is_bad_serves_what_was_served(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path) as server:
        with Crowd(server, pause_seconds=0.05) as crowd:
            crowd.warm()
            put(store, "colours", 2, b"half")
            wait_until(lambda: "colours@2" in listing(server)["problems"])
            [worker] = server.worker_pids()
            os.kill(worker, 9)
            crowd.warm()
            report = crowd.stop()
        report.check()
        totals_agree(server, report)


@pytest.mark.parametrize("what", ["the aliases", "the folder"])
def test_a_store_that_cannot_be_read_any_more_leaves_all_served(store: Store, tmp_path: Path, what: str) -> None:
    store.set_alias("colours", "default", 1)
    with running(store.root, tmp_path) as server, crowd_beside(server) as report:
        if what == "the aliases":
            (store.root / "colours" / "aliases.json").write_bytes(b'{"default": ')
            problem = "colours"
        else:
            store.root.rename(tmp_path / "elsewhere")
            problem = ""
        wait_until(lambda: problem in listing(server)["problems"], lambda: str(listing(server)))
        assert metric_sum(server, "axon_store_problems") >= 1
        answers = report.answers
        wait_until(lambda: report.answers > answers + 2_000)
        assert len(listing(server)["models"]) == 3
        if what == "the aliases":
            store_aliases = store.root / "colours" / "aliases.json"
            store_aliases.write_text(json.dumps({"default": 1}))
        else:
            (tmp_path / "elsewhere").rename(store.root)
        wait_until(lambda: not listing(server)["problems"], lambda: str(listing(server)))


@as_root
def test_a_read_only_store_serves_and_shows_what_is_published_elsewhere(store: Store, tmp_path: Path) -> None:
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    server = Server(store.root, tmp_path)
    try:
        server.start(prefix=("unshare", "--mount", "sh", "-c", script, str(store.root)))
        assert server.process is not None
        inside = Path(f"/proc/{server.process.pid}/root{store.root}")
        with pytest.raises(OSError, match="Read-only"):
            (inside / "touched").touch()
        oracles = [(1, Oracle(CHECKPOINTS["colours"])), (2, Oracle(colours(seed=2)))]
        with crowd_of_others(server), Followers(server, "colours", oracles) as seen:
            seen.saw(200, 0)
            store.publish("colours", colours(seed=2))
            seen.saw(200, 1)
        assert not listing(server)["problems"]
        server.stop()
    finally:
        server.kill()


@as_root
def test_a_full_disk_takes_no_version_and_loses_none(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(store.root, copy)
    script = 'mount -t tmpfs -o size=1m none "$0" && cp -a "$1/." "$0" && shift && exec "$@"'
    server = Server(store.root, tmp_path)
    try:
        server.start(prefix=("unshare", "--mount", "sh", "-c", script, str(store.root), str(copy)))
        assert server.process is not None
        full = Store(Path(f"/proc/{server.process.pid}/root{store.root}"))
        oracles = [(1, Oracle(CHECKPOINTS["colours"])), (2, Oracle(colours(seed=2)))]
        with crowd_of_others(server), Followers(server, "colours", oracles) as seen:
            seen.saw(200, 0)
            _fill(full.root / "ballast")
            with pytest.raises(AxonError, match="No space left"):
                full.publish("colours", colours(seed=2))
            assert full.entry("colours").versions == (1,)
            seen.saw(200, 0)
            assert not listing(server)["problems"]
            (full.root / "ballast").unlink()
            assert full.publish("colours", colours(seed=2)).version == 2
            seen.saw(200, 1)
        server.stop()
    finally:
        server.kill()


@as_root
def test_a_full_disk_under_the_metrics_costs_nobody_an_answer(store: Store, tmp_path: Path) -> None:
    # Metrics are memory-mapped files: a page for which the disk has no space raises SIGBUS.
    script = 'mount -t tmpfs -o size=32m none "$0" && exec "$@"'
    server = Server(store.root, tmp_path)
    try:
        server.start(prefix=("unshare", "--mount", "sh", "-c", script, str(server.runtime_dir)))
        assert server.process is not None
        inside = Path(f"/proc/{server.process.pid}/root{server.runtime_dir}")
        before = {*server.worker_pids(), *server.api_pids()}
        with crowd_beside(server):
            _fill(inside / "ballast")
            for seed in range(2, 40):  # each version has new labels in the metric files
                store.publish("extra", make_checkpoint(CHECKPOINTS["colours"].schema, 4, seed=seed))
                version = seed - 1
                wait_until(lambda v=version: _version_of(server, "extra") == v, server.log)  # type: ignore[misc]
                answer = http_post(f"{server.url}/predict", json={"model": "extra", "instances": [ROW]})
                assert answer.status_code == 200, answer.text
        assert {*server.worker_pids(), *server.api_pids()} == before, server.log()
        (inside / "ballast").unlink()
        server.stop()
    finally:
        server.kill()


def _version_of(server: Server, name: str) -> int | None:
    return next((model["version"] for model in listing(server)["models"] if model["name"] == name), None)


def _fill(ballast: Path) -> None:
    """Fills a small file system completely."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


@pytest.mark.parametrize("log", ["/dev/full", "a pipe whose reader has gone"])
def test_a_log_that_cannot_be_written_costs_nobody_an_answer(store: Store, tmp_path: Path, log: str) -> None:
    script = 'exec "$@" 2>/dev/full' if log == "/dev/full" else '{ "$@" 2>&1 >&3 | true; } 3>&1'
    server = Server(store.root, tmp_path, access_log=True)
    try:
        server.start(prefix=("sh", "-c", script, "sh"))
        with crowd_beside(server):
            put(store, "price", 2, b"bad")
            wait_until(lambda: "price@2" in listing(server)["problems"], lambda: str(listing(server)))
            # A 500 is logged with its traceback, and the failing log must not disturb that answer either.
            assert (
                http_post(f"{server.url}/predict", json={"model": "price@2", "instances": [[1, 2]]}).status_code == 503
            )
    finally:
        server.kill()


def test_1000_versions_cost_little_time_and_memory(store: Store, tmp_path: Path) -> None:
    began = time.monotonic()
    with running(store.root, tmp_path) as server:
        plain_start, plain = time.monotonic() - began, Footprint.of(server)
    content = checkpoint_file(store, "colours", 1).read_bytes()
    for version in range(2, 1_001):
        put(store, "colours", version, content)
    began = time.monotonic()
    with running(store.root, tmp_path, model_cache=64) as server:
        start, footprint = time.monotonic() - began, Footprint.of(server)
        assert start < plain_start + 5
        assert footprint.memory < plain.memory + 64 * MIB, f"{plain} against {footprint}"
        with crowd_beside(server):
            seconds = []
            for version in random.Random(0).sample(range(1, 1_001), 200):
                asked = time.monotonic()
                document = listing(server)
                seconds.append(time.monotonic() - asked)
                query = queries_of(version % 64, CODECS[0])[0]
                body = json.loads(query.body) | {"model": f"colours@{version}"}
                answer = http_post(f"{server.url}/predict", json=body)
                assert answer.status_code == 200, answer.text
                assert answer.json()["version"] == version
                assert query.fault_in(answer.content) is None
            assert max(len(model["versions"]) for model in document["models"]) == 1_000
            print(  # noqa: T201
                f"start {start:.2f} s against {plain_start:.2f} s; {footprint} against {plain}; /models "
                f"{np.median(seconds) * 1000:.1f} ms"
            )
            assert np.median(seconds) < 0.2
            newest = store.publish("colours", CHECKPOINTS["colours"]).version
            assert newest == 1_001
            wait_until(lambda: _version_of(server, "colours") == newest)
        assert Footprint.of(server).memory < plain.memory + 128 * MIB
