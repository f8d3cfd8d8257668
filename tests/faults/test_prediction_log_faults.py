"""The log of predictions when processes die, the disk is full, and the folder is gone: no request suffers."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from pathlib import Path

import httpx
import pytest
from serving import CHECKPOINTS, Oracle, Server, http_client, metric_sum, running, wait_until
from tiny_disk import has_namespaces

from models.prediction_log.folder import SPOOLS, parquet_files, spools
from models.prediction_log.parquet_files import read_parquet
from models.prediction_log.reading import read_log
from models.store import Store

pytestmark = pytest.mark.faults
ROW = [0.5, -1.0, 2.0, 0.25]
LAST_SECONDS = 1.0


def ask(client: httpx.Client, server: Server, request_id: str, **more: object) -> dict[str, object]:
    body = {"model": "colours", "instances": [ROW]} | more
    answer = client.post(f"{server.url}/predict", json=body, headers={"X-Request-ID": request_id})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids_in(folder: Path) -> list[str]:
    return [one for rows in read_log(folder) for one in rows.request_ids]


def fill(path: Path) -> None:
    """Fills a disk with one file."""
    with path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(500)):
            pass


def test_kill_9_loses_at_most_the_last_second_and_leaves_no_torn_file(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    expected = Oracle(CHECKPOINTS["colours"])(ROW)
    answered: dict[str, float] = {}
    ended: dict[str, float] = {}
    for run in range(2):
        settings = {"prediction_log": folder, "prediction_log_seconds": 1, "api_processes": 2}
        server = Server(store.root, tmp_path, **settings)
        try:
            server.start()

            def crowd(worker: int, server: Server = server, run: int = run) -> None:
                with http_client() as client:
                    for at in range(100_000):
                        try:
                            ask(client, server, f"{run}-{worker}-{at}")
                        except (httpx.HTTPError, AssertionError):
                            return
                        answered[f"{run}-{worker}-{at}"] = time.monotonic()

            threads = [threading.Thread(target=crowd, args=(worker,)) for worker in range(3)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(parquet_files(folder)) >= 2 * (run + 1), server.log)  # noqa: B023
            time.sleep(0.7)
            killed_at = time.monotonic()
            server.kill()  # all processes at once, with SIGKILL
            for thread in threads:
                thread.join()
            ended |= {one: killed_at for one in answered if one.startswith(f"{run}-")}
        finally:
            server.kill()
    found = ids_in(folder)
    assert len(found) == len(set(found))
    lost = [ended[one] - answered[one] for one in answered.keys() - set(found)]
    assert all(before <= LAST_SECONDS for before in lost), sorted(lost)[-5:]
    with running(store.root, tmp_path, prediction_log=folder):  # which converts what the dead have left
        wait_until(lambda: not spools(folder))
    assert sorted(ids_in(folder)) == sorted(found)
    for path in parquet_files(folder):
        for answers in read_parquet(path).answers:
            assert answers.tolist() == pytest.approx(expected, rel=1e-4)
    assert not list(folder.rglob("*.new"))


def test_a_full_disk_stops_the_log_and_not_the_service(store: Store, tmp_path: Path) -> None:
    if not has_namespaces():
        pytest.skip("needs unshare and mount namespaces")
    folder = tmp_path / "disk"
    folder.mkdir()
    server = Server(store.root, tmp_path, prediction_log=folder / "log", prediction_log_seconds=600)
    script = 'mount -t tmpfs -o size=300k none "$0" && exec "$@"'
    try:
        server.start(prefix=("unshare", "-rm", "sh", "-c", script, str(folder)))
        [pid] = server.api_pids()
        disk = Path(f"/proc/{pid}/root{folder}")
        with http_client() as client:
            ask(client, server, "before")
            wait_until(lambda: "before" in ids_in(disk / "log"))
            fill(disk / "filler")
            sent = 0
            while not metric_sum(server, "axon_prediction_log_stopped"):
                ask(client, server, f"full-{sent}", instances=[ROW] * 50)
                sent += 1
            for at in range(30):
                ask(client, server, f"more-{at}", instances=[ROW] * 50)
            lines = [json.loads(line) for line in server.log().splitlines()]
            [line] = [line for line in lines if line["event"] == "the log of predictions is not written"]
            assert line["reason"] == "No space left on device"
            assert "before" in ids_in(disk / "log")
            (disk / "filler").unlink()

            def written_again() -> bool:
                ask(client, server, "after")
                return "after" in ids_in(disk / "log")

            wait_until(written_again, server.log)
            text = client.get(f"{server.url}/metrics").text
            assert 'axon_prediction_log_stopped{process="api-0"} 0.0' in text
            assert 'axon_prediction_log_rows_total{outcome="failed",process="api-0"} 0.0' not in text
        server.stop()
    finally:
        server.kill()


def test_a_removed_folder_stops_the_log_until_it_is_back(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with running(store.root, tmp_path, prediction_log=folder) as server, http_client() as client:
        ask(client, server, "before")
        wait_until(lambda: "before" in ids_in(folder))
        shutil.rmtree(folder)

        def stopped() -> bool:
            ask(client, server, "lost")
            return bool(metric_sum(server, "axon_prediction_log_stopped"))

        wait_until(stopped, server.log)
        assert not folder.exists()
        folder.mkdir()

        def written_again() -> bool:
            ask(client, server, "after")
            return (folder / SPOOLS).exists() and "after" in ids_in(folder)

        wait_until(written_again, server.log)
        assert server.log().count("the log of predictions is not written") == 1
