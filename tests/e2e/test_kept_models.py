"""Served models stay served after a worker's restart, even if the store changes or fails at the same time."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from serving import (
    CHECKPOINTS,
    Oracle,
    Server,
    http_get,
    http_post,
    make_checkpoint,
    make_store,
    metric_sum,
    running,
    wait_until,
)

from models.checkpoint import save_checkpoint
from models.store import Store

ROW = [0.4, -1.1, 2.0, 0.3]


@dataclass(frozen=True)
class Served:
    """A running server, its store, and the path of a copy of the store."""

    server: Server
    store: Store
    copy: Path

    def predict(self, id_: str = "colours") -> Any:
        return http_post(f"{self.server.url}/predict", json={"model": id_, "instances": [ROW]})

    def problems(self) -> dict[str, str]:
        problems: dict[str, str] = http_get(f"{self.server.url}/models").json()["problems"]
        return problems

    def restart_workers(self, pids: list[int]) -> None:
        """Kills processes, and waits until there are as many workers as before."""
        before = len(self.server.worker_pids())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not {*pids} & {*self.server.host_pids(), *self.server.worker_pids()}, self.server.log)
        wait_until(lambda: len(self.server.worker_pids()) == before, self.server.log)
        wait_until(lambda: metric_sum(self.server, "axon_worker_up") == before, self.server.log)

    def replace_api_processes(self) -> None:
        """Kills all API processes, and waits until successors are ready."""
        before = self.server.api_pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len({*self.server.api_pids()} - {*before}) == len(before), self.server.log)
        wait_until(self.server.ready, self.server.log)

    def damage(self, how: Callable[[Store], None]) -> None:
        """Damages the store at once, as far as the server can see.

        The API processes are stopped meanwhile. In the middle of the damage, one model is gone and another is not, and
        that would look like a deletion.
        """
        pids = self.server.api_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            how(self.store)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def repair(self) -> None:
        """Restores the store, and waits until the server has loaded the restored models."""

        def put_back(store: Store) -> None:
            shutil.rmtree(store.root, ignore_errors=True)
            store.root.unlink(missing_ok=True)
            shutil.copytree(self.copy, store.root)

        self.damage(put_back)
        wait_until(lambda: not self.problems(), lambda: str(self.problems()))
        expected = pytest.approx(Oracle(CHECKPOINTS["colours"])(ROW), abs=2e-5)
        wait_until(lambda: self.predict().json().get("probabilities") == [expected], self.server.log)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("kept")
    store = make_store(folder)
    shutil.copytree(store.root, folder / "copy")
    with running(store.root, folder, workers=2) as server:
        yield Served(server, store, folder / "copy")


def spoil_in_place(store: Store) -> None:
    with store.version("colours", 1).path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def truncate(store: Store) -> None:
    os.truncate(store.version("colours", 1).path, 100)


def unlink(store: Store) -> None:
    store.version("colours", 1).path.unlink()


def replace_by_another_models_file(store: Store) -> None:
    shutil.copy(store.version("price", 1).path, store.root / "other")
    path = store.version("colours", 1).path
    path.write_bytes((store.root / "other").read_bytes()[:-1])


def replace_by_a_folder(store: Store) -> None:
    path = store.version("colours", 1).path
    path.unlink()
    path.mkdir()


def move_the_store_away(store: Store) -> None:
    shutil.rmtree(store.root)


def empty_the_store(store: Store) -> None:
    for path in store.root.iterdir():
        shutil.rmtree(path)


def empty_each_model(store: Store) -> None:
    for path in store.root.iterdir():
        shutil.rmtree(path)
        path.mkdir()


def replace_the_store_by_a_file(store: Store) -> None:
    shutil.rmtree(store.root)
    store.root.write_text("not a folder")


DAMAGES = {
    spoil_in_place: "colours@1",
    truncate: "colours@1",
    unlink: "colours@1",
    replace_by_another_models_file: "colours@1",
    replace_by_a_folder: "colours@1",
    move_the_store_away: "",
    empty_the_store: "",
    empty_each_model: "",
    replace_the_store_by_a_file: "",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_was_served_is_served_by_successors_and_the_store_is_told_as_a_problem(
    served: Served, damage: Callable[[Store], None]
) -> None:
    expected = pytest.approx(Oracle(CHECKPOINTS["colours"])(ROW), abs=2e-5)
    try:
        served.damage(damage)
        wait_until(lambda: list(served.problems()) == [DAMAGES[damage]], lambda: str(served.problems()))
        served.restart_workers(served.server.worker_pids())
        for _ in range(20):
            for id_ in ("colours", "colours@1", "colours@latest"):
                answer = served.predict(id_)
                assert answer.status_code == 200, (answer.text, served.server.log())
                assert answer.json()["probabilities"][0] == expected
        assert served.server.ready(), "every prediction is answered"
        assert list(served.problems()) == [DAMAGES[damage]]
        assert metric_sum(served.server, "axon_store_problems") == 1
        said = http_get(f"{served.server.url}/models").text
        assert str(served.store.root.parent) not in said, "clients are shown no path"
    finally:
        served.repair()


@pytest.mark.parametrize(
    "damage",
    [spoil_in_place, unlink, empty_each_model, replace_the_store_by_a_file],
    ids=lambda damage: damage.__name__,
)
def test_what_was_served_is_served_by_the_successor_of_an_api_process(
    served: Served, damage: Callable[[Store], None]
) -> None:
    expected = pytest.approx(Oracle(CHECKPOINTS["colours"])(ROW), abs=2e-5)
    try:
        served.damage(damage)
        wait_until(lambda: list(served.problems()) == [DAMAGES[damage]], lambda: str(served.problems()))
        for _ in range(2):  # a successor leaves as much to its own successor
            served.replace_api_processes()
            for id_ in ("colours", "colours@1", "colours@latest"):
                answer = served.predict(id_)
                assert answer.status_code == 200, (answer.text, served.server.log())
                assert answer.json()["probabilities"][0] == expected
            wait_until(lambda: list(served.problems()) == [DAMAGES[damage]], lambda: str(served.problems()))
        served.restart_workers(served.server.worker_pids())
        assert served.predict().status_code == 200
    finally:
        served.repair()


def test_a_host_that_dies_takes_no_model_with_it(served: Served) -> None:
    try:
        served.damage(move_the_store_away)
        wait_until(lambda: "" in served.problems())
        served.restart_workers(served.server.host_pids()[:1] + served.server.worker_pids())
        for _ in range(20):
            assert served.predict().status_code == 200
    finally:
        served.repair()


def test_what_no_worker_can_load_is_told_everywhere_and_comes_back_with_the_store(served: Served) -> None:
    spare = served.copy.with_name("moved")
    try:
        served.store.root.rename(spare)
        for path in served.server.runtime_dir.glob("*/kept/*"):
            path.unlink()
        served.restart_workers(served.server.worker_pids())
        wait_until(lambda: len(served.problems()) == 4, lambda: str(served.problems()))
        ready = http_get(f"{served.server.url}/health/ready")
        assert ready.status_code == 503
        assert "no worker can load 3 of 3 model versions" in ready.json()["reason"]
        assert "no worker can load it" in served.problems()["colours@1"]
        assert metric_sum(served.server, "axon_store_problems") == 4
        answer = served.predict()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:axon:problem:unavailable")
        assert '"id": "colours@1"' in served.server.log()
        for said in (ready.text, answer.text, http_get(f"{served.server.url}/models").text):
            assert str(served.store.root.parent) not in said
        spare.rename(served.store.root)
        wait_until(served.server.ready, served.server.log)
        assert served.predict().status_code == 200
        wait_until(lambda: not served.problems(), lambda: str(served.problems()))
    finally:
        if spare.exists():
            spare.rename(served.store.root)
        served.repair()


def test_a_worker_that_lacks_a_model_leaves_its_batches_to_another_that_has_it(served: Served) -> None:
    spare = served.copy.with_name("moved")
    try:
        served.store.root.rename(spare)
        for path in served.server.runtime_dir.glob("*/kept/*"):
            path.unlink()
        served.restart_workers(served.server.worker_pids()[:1])

        def is_told() -> bool:
            assert served.predict().status_code == 200  # a worker tells what it lacks once it is asked for it
            return "but others, can load it" in served.problems().get("colours@1", "")

        wait_until(is_told, served.server.log)
        assert served.server.ready()
    finally:
        spare.rename(served.store.root)
        served.repair()


def test_a_file_overwritten_with_its_size_and_time_kept_is_taken_in(served: Served) -> None:
    second = make_checkpoint(CHECKPOINTS["colours"].schema, 16, 16, normalization="batch", seed=7)
    path = served.store.version("colours", 1).path
    save_checkpoint(second, served.copy.with_name("second"))
    content = served.copy.with_name("second").read_bytes()
    stat = path.stat()
    assert len(content) == stat.st_size
    try:
        with path.open("r+b") as file:
            file.write(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        expected = pytest.approx(Oracle(second)(ROW), abs=2e-5)
        wait_until(lambda: served.predict().json()["probabilities"][0] == expected, lambda: str(served.problems()))
        served.restart_workers(served.server.worker_pids())
        assert served.predict().json()["probabilities"][0] == expected
    finally:
        served.repair()
