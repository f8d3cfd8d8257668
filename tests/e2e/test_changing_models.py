"""Split aliases and shadows on a real server with two API processes: all doors, sticky values, and true counts."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from grpc_client import GrpcServer, tensor
from serving import CHECKPOINTS, Oracle, http_client, http_get, http_post, make_checkpoint, running, wait_until

from models.alias_target import Split
from models.columns.schema import CategoricalColumn, ClassTarget, Schema
from models.store import Store
from training.cli import main

COLOURS = CHECKPOINTS["colours"]
OTHER = make_checkpoint(COLOURS.schema, 16, 16, normalization="batch", seed=7)
ROW = [0.4, -1.1, 2.0, 0.3]
VALUES = [f"user-{number}" for number in range(12)]
STICKY = "X-Axon-Sticky"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("changing") / "store")
    store.publish("colours", COLOURS)
    store.publish("colours", OTHER)
    store.set_alias("colours", "default", 1)
    store.split("colours", "p", {1: 50, 2: 50})
    store.publish("counted", COLOURS)  # for the test of the metrics alone, whose counts are all its own
    store.publish("counted", OTHER)
    store.split("counted", "p", {1: 50, 2: 50})
    for seed, towns in enumerate([("Lima", "Rome"), ("Lima", "Rome", "Oslo")]):
        city = CategoricalColumn(name="city", categories=towns, unknown="ignore")
        schema = Schema(columns=(city,), target=COLOURS.schema.target)
        store.publish("towns", make_checkpoint(schema, 4, seed=seed))
    store.split("towns", "p", {1: 90, 2: 10})
    return store


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServer]:
    kind: Any = GrpcServer
    folder = tmp_path_factory.mktemp("server")
    with running(store.root, folder, kind, api_processes=2, default_model="colours@p") as found:
        assert isinstance(found, GrpcServer)
        yield found
        assert "Traceback" not in found.log(), found.log()


def refresh(server: GrpcServer) -> None:
    """Waits until all API processes have read the store."""
    state = http_post(f"{server.url}/models/refresh").json()
    assert state["problems"] == {}


def versions_by_value(server: GrpcServer, model: str = "colours@p") -> dict[str, int]:
    with http_client(base_url=server.url) as client:
        body = {"model": model, "instances": [ROW]}
        return {
            value: client.post("/predict", json=body, headers={STICKY: value}).json()["version"] for value in VALUES
        }


def test_reasons_come_from_the_version_that_answers_the_client(server: GrpcServer) -> None:
    refresh(server)
    chosen = versions_by_value(server)
    assert set(chosen.values()) == {1, 2}
    with http_client(base_url=server.url) as client:

        def version_of(headers: dict[str, str]) -> int:
            answer = client.post("/models/colours@p/explain", json={"instances": [ROW]}, headers=headers)
            assert answer.status_code == 200, answer.text
            return int(answer.json()["version"])

        assert {value: version_of({STICKY: value}) for value in VALUES} == chosen
        assert len({version_of({}) for _ in range(6)}) == 1


def test_the_example_of_a_version_names_the_version_unless_the_name_does(server: GrpcServer) -> None:
    refresh(server)
    for id_, model in (("towns@1", "towns@1"), ("towns@2", "towns"), ("towns", "towns")):
        example = http_get(f"{server.url}/models/{id_}").json()["example"]
        assert example["model"] == model
        answer = http_post(f"{server.url}/predict", json=example)
        assert (answer.status_code, answer.json()["version"]) == (200, 1 if id_ == "towns@1" else 2)


Ask = Callable[[GrpcServer, str, str | None], Any]


def post(server: GrpcServer, path: str, content: bytes | str, sticky: str | None, **headers: str) -> bytes:
    given = headers | ({STICKY: sticky} if sticky is not None else {})
    answer = http_post(f"{server.url}{path}", content=content, headers=given)
    assert answer.status_code == 200, answer.text
    return answer.content


def json_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    return post(server, "/predict", json.dumps({"model": f"colours@{alias}", "instances": [ROW]}), sticky)


def rows_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    """Asks with so many rows that the body is read in steps."""
    return post(server, "/predict", json.dumps({"model": f"colours@{alias}", "instances": [ROW] * 900}), sticky)


def csv_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    text = "x0,x1,x2,x3\n" + ",".join(map(str, ROW)) + "\n"
    return post(server, f"/predict?model=colours@{alias}", text, sticky, **{"Content-Type": "text/csv"})


def arrow_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    table = pa.table({f"x{i}": [cell] for i, cell in enumerate(ROW)})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
    return post(server, f"/predict?model=colours@{alias}", out.getvalue(), sticky, **kind)


def oip_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": ROW}
    return post(server, f"/v2/models/colours/versions/{alias}/infer", json.dumps({"inputs": [tensor]}), sticky)


def oip_binary_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    given = {"name": "input", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [given]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return post(
        server, f"/v2/models/colours/versions/{alias}/infer", head + np.float32(ROW).tobytes(), sticky, **length
    )


def tf_serving_door(server: GrpcServer, alias: str, sticky: str | None) -> bytes:
    place = f"versions/{alias}" if alias.isdigit() else f"labels/{alias}"
    return post(server, f"/v1/models/colours/{place}:predict", json.dumps({"instances": [ROW]}), sticky)


def grpc_door(server: GrpcServer, alias: str, sticky: str | None) -> Any:
    metadata = [] if sticky is None else [(STICKY.lower(), sticky)]
    with server.client() as client:
        answer = client.infer(
            "colours",
            tensor("input", "FP32", 1, 4),
            raw=[np.float32(ROW).tobytes()],
            model_version=alias,
            metadata=metadata,
        )
    return answer.SerializeToString()


DOORS = [json_door, rows_door, csv_door, arrow_door, oip_door, oip_binary_door, tf_serving_door, grpc_door]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_sticky_value_means_one_version_through_each_door(server: GrpcServer, door: Ask) -> None:
    versions = versions_by_value(server)
    assert set(versions.values()) == {1, 2}
    expected = {version: door(server, str(version), None) for version in (1, 2)}
    assert expected[1] != expected[2]
    for value, version in versions.items():
        assert door(server, "p", value) == expected[version], value
    assert {door(server, "p", None) for _ in range(12)} == set(expected.values()), "without a value, both answer"


def test_mlflow_asks_the_split_default_model(server: GrpcServer) -> None:
    body = json.dumps({"inputs": [ROW]})
    kind = {"Content-Type": "application/json"}
    by_version: dict[int, set[bytes]] = {1: set(), 2: set()}
    for value, version in versions_by_value(server).items():
        by_version[version].add(post(server, "/invocations", body, value, **kind))
    assert [len(answers) for answers in by_version.values()] == [1, 1]


def test_a_value_stays_over_connections_processes_and_a_restart(
    store: Store, server: GrpcServer, tmp_path: Path
) -> None:
    first = versions_by_value(server)
    for _ in range(5):  # new connections, which go to both processes
        assert versions_by_value(server) == first
    with running(store.root, tmp_path) as other:
        assert versions_by_value(other) == first  # type: ignore[arg-type]


def test_the_lane_takes_split_requests_and_sticky_values(server: GrpcServer) -> None:
    """Checks plain requests on one connection, with known heads, with and without the header."""
    versions = versions_by_value(server)
    with http_client(base_url=server.url) as client:
        body = {"model": "colours@p", "instances": [ROW]}
        counts = Counter(client.post("/predict", json=body).json()["version"] for _ in range(200))
        assert abs(counts[1] - 100) <= 3, "the sequence of one process is nearly exact"
        for _ in range(3):
            for value in VALUES:
                answer = client.post("/predict", json=body, headers={STICKY: value})
                assert answer.json()["version"] == versions[value]
        # A request that leaves the lane, because of its two rows, keeps its value.
        two = {"model": "colours@p", "instances": [ROW, ROW]}
        for value in VALUES * 2:
            assert client.post("/predict", json=two, headers={STICKY: value}).json()["version"] == versions[value]


def test_all_lists_show_the_split(server: GrpcServer) -> None:
    document = http_get(f"{server.url}/models").json()
    [entry] = [model for model in document["models"] if model["name"] == "colours"]
    assert entry["aliases"] == {"default": 1, "p": {"weights": {"1": 50, "2": 50}}}
    assert (entry["shadows"], document["problems"]) == ({}, {})
    detail = http_get(f"{server.url}/models/colours@p").json()
    assert (detail["aliases"], detail["version"]) == (entry["aliases"], 2)
    status = http_get(f"{server.url}/v1/models/colours/labels/p").json()["model_version_status"]
    assert [(version["version"], version["state"]) for version in status] == [("1", "AVAILABLE"), ("2", "AVAILABLE")]
    assert http_get(f"{server.url}/v2/models/colours/versions/p/ready").json() == {"name": "colours", "ready": True}
    assert http_get(f"{server.url}/v2/models/colours/versions/p").status_code == 200
    with server.client() as client:
        assert client.call("ModelReady", name="colours", version="p").ready


def test_the_metrics_show_the_shares(server: GrpcServer) -> None:
    def counts() -> dict[str, float]:
        text = http_get(f"{server.url}/metrics").text
        found = re.findall(r'^axon_requests_total\{model="counted",status="200",version="(\d)"\} (\S+)$', text, re.M)
        return {version: float(number) for version, number in found}

    with http_client(base_url=server.url) as client:
        for _ in range(100):
            client.post("/predict", json={"model": "counted@p", "instances": [ROW]})
    wait_until(lambda: sum(counts().values()) == 100, lambda: str(counts()))
    assert all(abs(counts()[version] - 50) <= 2 for version in "12")


def test_the_commands_change_a_running_server(
    store: Store, server: GrpcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--store", str(store.root))

    def answering() -> set[int]:
        with http_client(base_url=server.url) as client:
            body = {"model": "colours@cli", "instances": [ROW]}
            answers = [client.post("/predict", json=body).json() for _ in range(20)]
        return {answer.get("version", 0) for answer in answers}

    assert main(["split", "colours", "1=95", "2=5", "--alias", "cli", *at]) == 0
    assert capsys.readouterr().out == "colours@cli is colours@1 (95 %) and colours@2 (5 %)\n"
    wait_until(lambda: answering() == {1, 2})
    assert main(["split", "colours", "1=95", "2=6", "--alias", "cli", *at]) == 2
    assert "add up to 101" in capsys.readouterr().err
    assert store.entry("colours").aliases["cli"] == Split.of({1: 95, 2: 5})
    assert main(["promote", "colours@2", "--alias", "cli", *at]) == 0
    wait_until(lambda: answering() == {2})
    capsys.readouterr()
    assert main(["rollback", "colours", "--alias", "cli", *at]) == 0
    assert capsys.readouterr().out.startswith("colours@cli is colours@1 (95 %) and colours@2 (5 %), and was colours@2")
    wait_until(lambda: answering() == {1, 2})
    assert main(["alias", "colours", "cli", "--remove", *at]) == 0
    refresh(server)
    for faulty in ("1", "1=x", "one=5", "1=50=2"):
        assert main(["split", "colours", faulty, "--alias", "cli", *at]) == 2, faulty
    assert main(["list", *at]) == 0
    assert "p → 1 (50 %) 2 (50 %)" in capsys.readouterr().out


# ---- shadows


def shadow_rows(server: Any, model: str = "colours") -> dict[str, dict[str, Any]]:
    shadows: dict[str, dict[str, Any]] = http_get(f"{server.url}/models/{model}").json()["shadows"]
    return shadows


def total(server: Any, alias: str, model: str = "colours") -> int:
    return sum(shadow_rows(server, model)[alias]["rows"].values())


def test_a_shadow_counts_what_an_oracle_counts_and_changes_no_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[round(float(cell), 4) for cell in row] for row in rng.normal(0, 2, (60, 4))]
    oracles = Oracle(COLOURS), Oracle(OTHER)
    answers = [[np.array(oracle(row)) for row in rows] for oracle in oracles]
    agreeing = sum(int(one.argmax() == other.argmax()) for one, other in zip(*answers, strict=True))
    difference = sum(float(np.abs(one - other).max()) for one, other in zip(*answers, strict=True))
    assert 0 < agreeing < len(rows)
    store = Store(tmp_path / "store")
    for checkpoint in (COLOURS, OTHER):
        store.publish("colours", checkpoint)
    for alias in ("plain", "s"):
        store.set_alias("colours", alias, 1)
    store.set_shadow("colours", "s", 2)
    with running(store.root, tmp_path) as server:

        def ask_all(alias: str) -> list[bytes]:
            with http_client(base_url=server.url) as client:
                bodies = [{"model": f"colours@{alias}", "instances": [row]} for row in rows]
                return [client.post("/predict", json=body).content for body in bodies]

        assert ask_all("s") == ask_all("plain")
        wait_until(lambda: total(server, "s") == len(rows), lambda: str(shadow_rows(server)))
        after = shadow_rows(server)["s"]
        assert after["rows"] == {"agree": agreeing, "differ": len(rows) - agreeing, "failed": 0, "dropped": 0}
        assert (after["version"], after["share"], after["state"], after["reason"]) == (2, 100, "ready", None)
        assert difference_sum(server) == pytest.approx(difference, abs=1e-3)
        store.remove_shadow("colours", "s")
        wait_until(lambda: shadow_rows(server) == {})


def ask_and_has_shadow(server: Any, alias: str, row: Any = ROW, model: str = "colours") -> bool:
    """Sends a row, and returns True once nothing of a shadow in all processes is under way and some was counted."""
    assert http_post(f"{server.url}/predict", json={"model": f"{model}@{alias}", "instances": [row]}).is_success
    return alias in shadow_rows(server, model) and total(server, alias, model) >= 1


def difference_sum(server: Any) -> float:
    text = http_get(f"{server.url}/metrics").text
    return sum(map(float, re.findall(r"^axon_shadow_difference_sum\{.*\} (\S+)$", text, re.M)))


def test_series_of_a_shadow_end_with_its_version(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for checkpoint in (COLOURS, OTHER, COLOURS):
        store.publish("colours", checkpoint)
    store.set_alias("colours", "default", 1)
    store.set_shadow("colours", "default", 2)

    def series(server: Any) -> set[str]:
        text = http_get(f"{server.url}/metrics").text
        return set(re.findall(r'^axon_shadow_rows_total\{.*shadow="(\d+)"', text, re.M))

    with running(store.root, tmp_path) as server:
        wait_until(lambda: ask_and_has_shadow(server, "default"))
        assert series(server) == {"2"}
        store.set_shadow("colours", "default", 3)
        store.delete("colours", 2)
        wait_until(lambda: ask_and_has_shadow(server, "default") and series(server) == {"3"})


def test_a_row_with_a_category_that_one_version_knows_is_split_like_any_other(server: GrpcServer) -> None:
    body = {"model": "towns@p", "instances": [["Oslo"]]}
    with http_client(base_url=server.url) as client:  # one connection, so one API process
        versions = Counter(client.post("/predict", json=body).json()["version"] for _ in range(200))
    assert versions[2] in range(17, 24)


def test_a_shadow_with_other_categories_encodes_the_rows_itself(tmp_path: Path) -> None:
    """Checks a shadow with a town of its own and another order of categories against torch."""
    mixed = CHECKPOINTS["mixed"]
    towns = CategoricalColumn(name="city", categories=("Lima", "Paris", "Rome", "Oslo"))
    schema = Schema(columns=(mixed.schema.columns[0], towns), target=ClassTarget(name="buys", labels=("yes", "no")))
    shadow = make_checkpoint(schema, 8, seed=3)
    store = Store(tmp_path / "store")
    store.publish("mixed", mixed)
    store.publish("mixed", shadow)
    store.set_alias("mixed", "default", 1)
    store.set_shadow("mixed", "default", 2)
    rows = [[age, town] for age in range(20, 60, 2) for town in ("Rome", "Oslo", "Lima")]
    agreeing = sum(
        (("no", "yes")[int(np.argmax(one(row)))] == ("yes", "no")[int(np.argmax(other(row)))])
        for one, other in [(Oracle(mixed), Oracle(shadow))]
        for row in rows
    )
    with running(store.root, tmp_path) as server:
        wait_until(lambda: ask_and_has_shadow(server, "default", rows[0], "mixed"))
        wait_until(lambda: settled(server))
        before = shadow_rows(server, "mixed")["default"]["rows"]
        with http_client(base_url=server.url) as client:
            for row in rows:  # in the lane
                assert client.post("/predict", json={"model": "mixed", "instances": [row]}).is_success
            assert client.post("/predict", json={"model": "mixed", "instances": rows}).is_success  # and beside it
        wait_until(lambda: total(server, "default", "mixed") - sum(before.values()) >= 2 * len(rows))
        after = shadow_rows(server, "mixed")["default"]["rows"]
        assert after["agree"] - before["agree"] == 2 * agreeing
        assert (after["failed"], after["dropped"]) == (0, 0)


def settled(server: Any) -> bool:
    """Returns True if no rows are on their way to the shadow: as many were counted as were sent."""
    text = http_get(f"{server.url}/metrics").text
    sent = sum(map(float, re.findall(r"^axon_rows_total\{.*\} (\S+)$", text, re.M)))
    return total(server, "default", "mixed") == sent


def test_a_shadow_that_fits_no_row_is_named_and_answers_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("colours", COLOURS)
    store.publish("colours", CHECKPOINTS["mixed"])
    store.set_alias("colours", "default", 1)
    with running(store.root, tmp_path) as server:
        body = {"model": "colours", "instances": [ROW]}
        plain = http_post(f"{server.url}/predict", json=body).content
        store.set_shadow("colours", "default", 2)
        wait_until(lambda: ask_and_has_shadow(server, "default"))
        assert http_post(f"{server.url}/predict", json=body).content == plain
        wait_until(lambda: shadow_rows(server)["default"]["rows"]["failed"] >= 1)
        found = shadow_rows(server)["default"]
        assert found["state"] == "failing"
        assert "do not fit" in found["reason"]
        for _ in range(30):
            assert http_post(f"{server.url}/predict", json=body).content == plain
        wait_until(lambda: total(server, "default") >= 31)
        lines = [line for line in server.log().splitlines() if '"shadow failed"' in line]
        assert len(lines) == 1, "once a minute, and not for each request"
        assert "colours@2" in lines[0]


def test_a_shadow_that_cannot_be_loaded_leaves_the_server_ready(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("colours", COLOURS)
    path = store.publish("colours", OTHER).path
    store.set_alias("colours", "default", 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    store.set_shadow("colours", "default", 2)
    with running(store.root, tmp_path) as server:
        assert http_post(f"{server.url}/predict", json={"model": "colours", "instances": [ROW]}).is_success
        document = http_get(f"{server.url}/models").json()
        assert "colours@2" in document["problems"]
        assert document["models"][0]["shadows"]["default"]["state"] == "not loaded"
        assert re.search(r"^axon_store_problems 1\.0$", http_get(f"{server.url}/metrics").text, re.M)
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: server.worker_pids() not in ([], [worker]) and server.ready())


def test_a_share_of_the_requests_is_copied(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for checkpoint in (COLOURS, OTHER):
        store.publish("colours", checkpoint)
    store.set_alias("colours", "default", 1)
    store.set_shadow("colours", "default", 2, 20)
    with running(store.root, tmp_path) as server, http_client(base_url=server.url) as client:
        for _ in range(200):
            assert client.post("/predict", json={"model": "colours", "instances": [ROW]}).is_success
        wait_until(lambda: total(server, "default") >= 39)
        assert total(server, "default") <= 41


def test_the_shadow_command_sets_and_removes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--store", str(store.root))
    assert main(["shadow", "colours@latest", "--alias", "p", "--share", "20", *at]) == 0
    assert capsys.readouterr().out == "colours@p has the shadow colours@2, for 20 % of the requests\n"
    assert main(["shadow", "colours", "--alias", "p", "--remove", *at]) == 0
    assert capsys.readouterr().out == "colours@p has no shadow\n"
    for wrong in (["colours"], ["colours@9"], ["colours@1", "--share", "0"], ["colours", "--remove"]):
        assert main(["shadow", *wrong, *at]) == 2, wrong
