"""The Open Inference Protocol on a running server: routes, answers equal to torch, keys, deadlines and counts."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from infer_bodies import InferAnswer, binary_tensor, element_bytes, read_answer, tensor, with_bytes
from serving import CHECKPOINTS, Oracle, Server, http_client, make_store, running, wait_until

from models.store import Store
from service.access import new_key

TOLERANCE = 4e-5  # float32, in a network with folded standardisation
COLOURS = "/v2/models/colours"
ORACLES = {name: Oracle(checkpoint) for name, checkpoint in CHECKPOINTS.items()}
LENGTH = "Inference-Header-Content-Length"
BINARY = {"binary_data_output": True}
PROBABILITIES = {"name": "probabilities"}


def row(number: int) -> list[float]:
    return [round(number * (i + 1) / 7 % 3 - 1, 4) for i in range(4)]


def document(rows: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"inputs": [tensor("input", "FP32", (len(rows), 4), [cell for row in rows for cell in row])], **more}


def binary_body(rows: list[list[float]], datatype: str = "FP64", **more: Any) -> tuple[bytes, int]:
    part = element_bytes(datatype, [cell for row in rows for cell in row])
    given = binary_tensor("input", datatype, (len(rows), len(rows[0])), len(part))
    return with_bytes({"inputs": [given], **more}, part)


def ask(server: Server, path: str, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.url}{path}", content=content, headers=names, timeout=30, verify=False)


def infer(server: Server, body: tuple[bytes, int] | dict[str, Any], path: str = COLOURS, **headers: str) -> InferAnswer:
    content, length = body if isinstance(body, tuple) else (json.dumps(body).encode(), None)
    more = {} if length is None else {LENGTH.replace("-", "_"): str(length)}
    answer = ask(server, f"{path}/infer", content, **more, **headers)
    assert answer.status_code == 200, answer.text
    return read_answer(answer.content, answer.headers)


def check_error(answer: httpx.Response, status: int | None = None) -> str:
    """Checks that an answer is an error of the protocol, and returns its text."""
    assert answer.status_code == status or (status is None and 400 <= answer.status_code < 500), answer.text
    assert answer.headers["content-type"] == "application/json"
    [(key, text)] = answer.json().items()
    assert key == "error"
    assert type(text) is str
    assert text
    return text


def check_colours(answer: InferAnswer, rows: list[list[float]]) -> None:
    """Compares an answer with torch's."""
    expected = [ORACLES["colours"](row) for row in rows]
    np.testing.assert_allclose(answer.outputs["probabilities"].rows, expected, rtol=0, atol=TOLERANCE)
    labels = CHECKPOINTS["colours"].schema.target.labels  # type: ignore[union-attr]
    assert answer.outputs["predictions"].values == [labels[int(np.argmax(row))] for row in expected]


ROUTES = [
    ("GET", "/v2", 200), ("GET", "/v2/", 200), ("GET", "/v2/health/live", 200), ("GET", "/v2/health/ready", 200),
    ("GET", "/v2/models", 200), ("GET", COLOURS, 200), ("GET", f"{COLOURS}/versions/1", 200),
    ("GET", f"{COLOURS}/versions/latest", 200), ("GET", f"{COLOURS}/ready", 200), ("GET", f"{COLOURS}/config", 200),
    ("GET", f"{COLOURS}/versions/1/ready", 200), ("GET", f"{COLOURS}/versions/1/config", 200),
    ("GET", f"{COLOURS}/stats", 200), ("GET", f"{COLOURS}/versions/1/stats", 200), ("GET", "/v2/models/stats", 200),
    ("POST", "/v2/repository/index", 200), ("POST", "/v2/repository/models/colours/load", 200),
    ("GET", "/v2/models/nobody", 404), ("GET", f"{COLOURS}/versions/2", 404), ("GET", f"{COLOURS}/versions/x@y", 404),
    ("GET", "/v2/models/nobody/stats", 404), ("GET", "/v2/models/nobody/config", 404), ("GET", "/v2/nothing", 404),
    ("GET", f"{COLOURS}/versions/1/nothing", 404), ("POST", "/v2/repository/models/nobody/load", 404),
    ("POST", "/v2/repository/models/nobody/unload", 404), ("POST", "/v2/repository/models/colours@1/unload", 404),
    ("POST", "/v2/models/nobody/infer", 404), ("POST", f"{COLOURS}/versions/9/infer", 404),
    ("POST", f"{COLOURS}%0a/infer", 404), ("POST", f"{COLOURS}/infer/", 404), ("GET", "/v2/models/%2e%2e/config", 404),
    ("POST", COLOURS, 405), ("GET", f"{COLOURS}/infer", 405), ("PUT", f"{COLOURS}/infer", 405),
    ("DELETE", f"{COLOURS}/versions/1/infer", 405), ("POST", f"{COLOURS}/ready", 405), ("POST", "/v2", 405),
    ("GET", "/v2/repository/index", 405), ("GET", "/v2/repository/models/colours/load", 405),
    ("PATCH", "/v2/models", 405), ("POST", "/v2/health/ready", 405),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), ROUTES)
def test_each_route_answers_in_the_protocols_own_form(server: Server, method: str, path: str, status: int) -> None:
    body = document([row(1)]) if "infer" in path else {} if method == "POST" else None
    answer = httpx.request(method, f"{server.url}{path}", json=body, verify=False)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    if status >= 400:
        if path == f"{COLOURS}/infer" and method != "POST":
            assert answer.headers["allow"] == "POST"
        check_error(answer, status)


def test_descriptions_are_those_of_the_checkpoint(server: Server) -> None:
    def get(path: str) -> Any:
        return httpx.get(f"{server.url}{path}", verify=False).json()

    assert get("/v2")["name"] == "axon"
    assert set(get("/v2/models")["models"]) == set(CHECKPOINTS)
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"ready": True}
    assert get(f"{COLOURS}/ready") == {"name": "colours", "ready": True}
    found = get(COLOURS)
    assert (found["name"], found["versions"]) == ("colours", ["1"])
    assert [(i["datatype"], i["shape"]) for i in found["inputs"]] == [("FP32", [-1, 4])]
    assert {(o["name"], o["datatype"], *o["shape"]) for o in found["outputs"]} == {
        ("predictions", "BYTES", -1), ("probabilities", "FP32", -1, 3),
    }  # fmt: skip
    mixed = {(i["name"], i["datatype"], *i["shape"]) for i in get("/v2/models/mixed")["inputs"]}
    assert mixed == {("age", "FP32", -1, 1), ("city", "BYTES", -1, 1)}
    config = get(f"{COLOURS}/config")
    assert config["max_batch_size"] == 500
    assert [(i["name"], i["data_type"], i["dims"]) for i in config["input"]] == [("input", "TYPE_FP32", [4])]
    index = httpx.post(f"{server.url}/v2/repository/index", json={"ready": True}, verify=False).json()
    assert {(entry["name"], entry["version"], entry["state"]) for entry in index} == {
        (name, "1", "READY") for name in CHECKPOINTS
    }


@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("path", [COLOURS, f"{COLOURS}/versions/1", f"{COLOURS}/versions/latest"])
def test_answers_are_those_of_torch_in_every_form(server: Server, rows: int, path: str) -> None:
    cells = [row(number) for number in range(rows)]
    raw = element_bytes("FP32", [cell for row in cells for cell in row]), 0
    for body in (document(cells), binary_body(cells), document(cells, parameters=BINARY), raw):
        for headers in ({}, {"Accept_Encoding": "gzip"}, {"Accept_Encoding": "identity"}):
            check_colours(infer(server, body, path, **headers), cells)
    nested = {"inputs": [tensor("x", "FP64", (rows, 4), cells)], "id": "né"}
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}, {"name": "predictions"}]
    answer = infer(server, {**nested, "outputs": outputs}, path)
    assert list(answer.outputs) == ["probabilities", "predictions"]
    assert answer.document["id"] == "né"
    for texts, cells_ in zip(answer.outputs["probabilities"].rows, cells, strict=True):
        expected = ORACLES["colours"](cells_)
        assert [int(text.split(":")[1]) for text in texts] == np.argsort(expected)[::-1][:2].tolist()
    named = [tensor(f"x{i}", "FP32", (rows, 1), [[row[i]] for row in cells]) for i in (2, 0, 3, 1)]
    check_colours(infer(server, {"inputs": named}, path), cells)


def test_regressors_and_mixed_columns_answer_too(server: Server) -> None:
    rows: list[list[Any]] = [[70.5, 3], [81.25, 2]]
    answer = infer(server, binary_body(rows, "FP32", parameters=BINARY), "/v2/models/price")
    expected = [value for row in rows for value in ORACLES["price"](row)]
    np.testing.assert_allclose(answer.outputs["predictions"].values, expected, rtol=0, atol=90 * TOLERANCE)
    part = element_bytes("BYTES", ["Oslo", "Lima"])
    inputs = [binary_tensor("city", "BYTES", (2,), len(part)), tensor("age", "INT16", (2, 1), [40, 41])]
    answer = infer(server, with_bytes({"inputs": inputs}, part), "/v2/models/mixed")
    expected = [ORACLES["mixed"](row) for row in ([40, "Oslo"], [41, "Lima"])]
    np.testing.assert_allclose(answer.outputs["probabilities"].rows, expected, rtol=0, atol=TOLERANCE)


GOOD = tensor("x", "FP32", (1, 4), row(1))
SHARED = {"shared_memory_region": "x", "shared_memory_byte_size": 16}
DEEP = "[" * 40_000 + "]" * 40_000
BAD: list[Any] = [
    b"", b"null", b"[]", b"{", b"\xff", DEEP.encode(), {}, {"inputs": []}, {"inputs": {}}, {"inputs": [1]},
    {"inputs": [GOOD, GOOD]}, {"inputs": [GOOD], "id": 7}, {"inputs": [GOOD], "id": "x" * 2000},
    b'{"inputs":[{"name":"\\ud800","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
    b'{"id":"\\udfff","inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}',
    b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":' + DEEP.encode() + b"}]}",
    *({"inputs": [{**GOOD, "shape": shape}]} for shape in (
        None, 4, "14", [], [4], [0, 4], [-1, 4], [2**63, 4], [2**64, 2**64], [1.0, 4], [True, 4], [1, 4, 1], [[1], 4],
        [4, 1], [2, 4], [1, 4.5], [1, None],
    )),
    *({"inputs": [{**GOOD, "datatype": name}]} for name in (None, 1, "", "fp32", "BF16", "FP8", "STRING", ["FP32"])),
    *({"inputs": [{**GOOD, "data": data}]} for data in (
        None, {}, "1234", [], [1, 2, 3], [1, 2, 3, 4, 5], [[1, 2], [3, 4]], [[1, 2, 3, 4], []], [1, 2, 3, [4]],
        [1, 2, 3, "4"], [1, 2, 3, True], [1, 2, 3, None], [1, 2, 3, 1e39], [{}, {}, {}, {}], [[[1, 2, 3, 4]]],
    )),
    {"inputs": [{**GOOD, "name": ""}]}, {"inputs": [{**GOOD, "name": 5}]}, {"inputs": [{**GOOD, "more": 5}]},
    {"inputs": [{**GOOD, "parameters": SHARED}]}, {"inputs": [GOOD], "parameters": SHARED},
    {"inputs": [GOOD], "outputs": [{"name": "predictions", "parameters": SHARED}]},
    {"inputs": [binary_tensor("x", "FP32", (1, 4), size) for size in (16,)]},
    {"inputs": [binary_tensor("x", "FP32", (1, 4), 0)]}, {"inputs": [binary_tensor("x", "FP32", (1, 4), -16)]},
    {"inputs": [{**GOOD, "parameters": {"binary_data_size": 16}}]}, {"inputs": [{**GOOD, "parameters": []}]},
    *({"inputs": [GOOD], "outputs": outputs} for outputs in (
        {}, [1], [{}], [{"name": "other"}], [{"name": "predictions"}] * 2, [{"name": "predictions"}] * 99,
        [{"name": "predictions", "parameters": {"classification": 1}}],
        [{"name": "probabilities", "parameters": {"classification": -1}}],
        [{"name": "probabilities", "parameters": {"classification": True}}],
        [{"name": "probabilities", "parameters": {"binary_data": 1}}],
    )),
    *({"inputs": [GOOD], "parameters": {"timeout": timeout}} for timeout in (-1, "1", True, [])),
    {"inputs": [GOOD], "parameters": {"binary_data_output": "true"}}, {"inputs": [GOOD], "parameters": [1]},
]  # fmt: skip


def test_malformed_requests_get_400_and_harm_nothing(server: Server) -> None:
    workers = server.worker_pids()
    for body in BAD:
        check_error(ask(server, f"{COLOURS}/infer", body), 400)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        for length in (len(content), max(0, len(content) - 1), len(content) // 2):
            if length:
                check_error(ask(server, f"{COLOURS}/infer", content, **{LENGTH: str(length)}))
        large = content + b" " * 70_000  # read in steps
        check_error(ask(server, f"{COLOURS}/infer", large), 400)
        check_error(ask(server, f"{COLOURS}/infer", large, **{LENGTH: str(len(large))}), 400)
    check_colours(infer(server, document([row(1)])), [row(1)])
    assert server.worker_pids() == workers


def test_sizes_that_lie_get_400(server: Server) -> None:
    body, length = binary_body([row(1), row(2)])
    for given in (
        "",
        "-1",
        "+5",
        "0x10",
        "1e2",
        str(len(body) + 1),
        "9" * 30,
        "٣",
        f"{length} x",
        "5, 6",
        str(length - 1),
    ):
        headers = [(LENGTH.encode(), given.encode())]
        answer = httpx.post(f"{server.url}{COLOURS}/infer", content=body, headers=headers, verify=False)
        check_error(answer, 400)
    twice = [(LENGTH, str(length)), (LENGTH, str(length))]
    check_error(httpx.post(f"{server.url}{COLOURS}/infer", content=body, headers=twice, verify=False), 400)
    for size in (0, 1, 63, 65, 2**31, 2**63, -1, 64.0, True):
        part = element_bytes("FP64", row(1) + row(2))
        content, at = with_bytes({"inputs": [binary_tensor("x", "FP64", (2, 4), size)]}, part)  # type: ignore[arg-type]
        check_error(ask(server, f"{COLOURS}/infer", content, **{LENGTH: str(at)}), 400)
    for raw in (b"", b"x", bytes(15), bytes(17)):
        check_error(ask(server, f"{COLOURS}/infer", raw, **{LENGTH: "0"}), 400)
    check_error(ask(server, "/v2/models/mixed/infer", bytes(16), **{LENGTH: "0"}), 400)
    check_error(ask(server, f"{COLOURS}/infer", bytes(16 * 501), **{LENGTH: "0"}), 413)
    check_error(ask(server, f"{COLOURS}/infer", bytes(200_016), **{LENGTH: "0"}), 413)


def test_bodies_and_answers_are_compressed_both_ways_within_the_limit(server: Server) -> None:
    rows = [row(number) for number in range(400)]
    body, length = binary_body(rows, parameters=BINARY)
    for coding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        headers = {"Content-Encoding": coding, LENGTH: str(length), "Accept-Encoding": coding}
        answer = ask(server, f"{COLOURS}/infer", packed, **headers)
        assert answer.status_code == 200, answer.text
        check_colours(read_answer(answer.content, answer.headers), rows)
        text = ask(
            server, f"{COLOURS}/infer", gzip.compress(json.dumps(document(rows)).encode()), Content_Encoding="gzip"
        )
        check_colours(read_answer(text.content, text.headers), rows)
        bomb = gzip.compress(bytes(50_000_000)) if coding == "gzip" else zlib.compress(bytes(50_000_000))
        for given in ("0", "40"):
            check_error(ask(server, f"{COLOURS}/infer", bomb, Content_Encoding=coding, **{LENGTH: given}), 413)
        check_error(ask(server, f"{COLOURS}/infer", packed[:-9], Content_Encoding=coding, **{LENGTH: str(length)}), 400)
    check_error(ask(server, f"{COLOURS}/infer", body, Content_Encoding="br", **{LENGTH: str(length)}), 415)


def test_a_deadline_is_that_of_the_parameter_or_the_header(server: Server) -> None:
    parameters = {"timeout": 0.001}  # microseconds
    for body in (document([row(1)], parameters=parameters), document([row(1)] * 300, parameters=parameters)):
        for _ in range(3):  # the third time by the lane
            check_error(ask(server, f"{COLOURS}/infer", body), 504)
    for _ in range(3):
        check_error(ask(server, f"{COLOURS}/infer", document([row(1)]), X_Request_Timeout_Seconds="1e-9"), 504)
    check_error(ask(server, f"{COLOURS}/infer", document([row(1)]), X_Request_Timeout_Seconds="soon"), 400)
    for microseconds in (0, 20_000_000, 10**30):
        check_colours(infer(server, document([row(1)], parameters={"timeout": microseconds})), [row(1)])


def test_plain_requests_and_usual_ones_get_the_same_bytes(server: Server) -> None:
    bodies: list[tuple[bytes, int | None]] = [
        (json.dumps(document([row(number)], **more)).encode(), None)
        for number, more in enumerate(({}, {"id": "a"}, {"parameters": BINARY}, {"parameters": BINARY, "id": ""}))
    ]
    bodies += [binary_body([row(5)]), binary_body([row(6)], id="7"), (element_bytes("FP32", row(7)), 0)]
    predictions = {"name": "predictions", "parameters": {"binary_data": True}}
    bodies += [binary_body([row(8)], outputs=outputs) for outputs in ([predictions], [PROBABILITIES, predictions])]
    with http_client(base_url=server.url) as client:
        for body, length in bodies:
            headers = {} if length is None else {LENGTH: str(length)}
            answers = [client.post(f"{COLOURS}/infer", content=body, headers=headers) for _ in range(5)]
            usual = client.post(f"{COLOURS}/infer", content=body, headers={**headers, "TE": "trailers"})
            answers.append(usual)
            assert {answer.status_code for answer in answers} == {200}
            assert {answer.content for answer in answers} == {usual.content}
            assert {answer.headers.get(LENGTH) for answer in answers} == {usual.headers.get(LENGTH)}
            read_answer(usual.content, usual.headers)


def test_many_clients_of_all_protocols_get_their_own_answers(server: Server) -> None:
    before = statistics(server)

    def client(number: int) -> None:
        with http_client(base_url=server.url) as connection:
            for turn in range(12):
                cells = [row(1000 * number + turn)]
                if number % 4 == 0:
                    found = connection.post("/predict", json={"model": "colours", "instances": cells}).json()
                    np.testing.assert_allclose(
                        found["probabilities"], [ORACLES["colours"](cells[0])], rtol=0, atol=TOLERANCE
                    )
                    continue
                if number % 8 == 5 and turn % 4 == 3:  # fails alone among the requests that share its batch
                    check_error(connection.post(f"{COLOURS}/infer", json=document(cells, outputs=[{"name": "x"}])), 400)
                    continue
                id_ = f"{number}-{turn}"
                more = [{}, {"id": id_}, {"parameters": BINARY}, {"parameters": BINARY, "id": id_}][turn % 4]
                body, length = binary_body(cells, **more) if number % 2 else (json.dumps(document(cells, **more)), None)
                headers = {} if length is None else {LENGTH: str(length)}
                answer = connection.post(f"{COLOURS}/infer", content=body, headers=headers)
                assert answer.status_code == 200, answer.text
                found = read_answer(answer.content, answer.headers)
                assert found.document.get("id") == more.get("id")
                check_colours(found, cells)

    with ThreadPoolExecutor(64) as clients:
        list(clients.map(client, range(64)))
    check_error(ask(server, f"{COLOURS}/infer", document([[1, 2, 3, 1e39]])), 400)
    refused = 8 * 3
    expected = succeeded(before) + 64 * 12 - refused
    wait_until(lambda: succeeded(statistics(server)) == expected)
    after = statistics(server)
    assert after["inference_count"] == before["inference_count"] + 64 * 12 - refused
    assert after["inference_stats"]["fail"]["count"] == before["inference_stats"]["fail"]["count"] + 1 + refused
    assert before["execution_count"] < after["execution_count"] <= before["execution_count"] + 64 * 12
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]


def succeeded(found: dict[str, Any]) -> int:
    """Returns the number of requests that were answered."""
    return int(found["inference_stats"]["success"]["count"])


def statistics(server: Server) -> dict[str, Any]:
    [found] = httpx.get(f"{server.url}{COLOURS}/stats", verify=False).json()["model_stats"]
    return dict(found)


SECRETS = {scope: new_key(scope, scope) for scope in ("predict", "read", "manage")}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key for each scope, behind a proxy that adds a prefix, with two API processes."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "keys").write_text("".join(f"{key}\n" for _, key in SECRETS.values()))
    store = make_store(folder)
    with running(
        store.root, folder, api_keys_file=folder / "keys", api_processes=2, workers=2, root_path="/axon"
    ) as server:
        yield server


SCOPES = [
    ("GET", "/v2/health/live", None), ("GET", "/v2/health/ready", None), ("GET", "/v2", "read"),
    ("GET", COLOURS, "read"), ("GET", f"{COLOURS}/stats", "read"), ("POST", f"{COLOURS}/infer", "predict"),
    ("POST", "/v2/repository/models/price/load", "manage"), ("POST", "/v2/repository/models/nobody/unload", "manage"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "scope"), SCOPES)
def test_each_route_takes_a_key_of_its_scope(locked: Server, method: str, path: str, scope: str | None) -> None:
    body = document([row(1)]) if "infer" in path else {} if method == "POST" else None

    def status(**headers: str) -> int:
        answer = httpx.request(method, f"{locked.url}{path}", json=body, headers=headers, verify=False)
        if answer.status_code >= 400:
            check_error(answer, answer.status_code)
        return answer.status_code

    if scope is None:
        assert status() == 200
        return
    assert status() == status(Authorization="Bearer axon_guess") == status(Authorization="Basic YTpi") == 401
    for other, (secret, _) in SECRETS.items():
        found = status(Authorization=f"Bearer {secret}")
        assert found == status(**{"X-API-Key": secret})
        allowed = {scope} | ({"manage"} if scope == "read" else set())
        assert found in (({200, 404}) if other in allowed else {403})


def test_models_are_unloaded_and_loaded_on_all_processes(locked: Server) -> None:
    secret = {scope: {"X-API-Key": secret} for scope, (secret, _) in SECRETS.items()}

    def statuses() -> set[int]:
        """Returns the statuses of requests on many connections, which both processes take."""
        found = set()
        for _ in range(12):
            answer = ask(locked, f"{COLOURS}/infer", document([row(1)]), **secret["predict"])
            ready = httpx.get(f"{locked.url}{COLOURS}/ready", headers=secret["read"], verify=False)
            if answer.status_code != 200:
                assert "colours" in check_error(answer, answer.status_code)
            found |= {answer.status_code, ready.status_code}
        return found

    def repository(what: str, body: Any = None) -> httpx.Response:
        path = f"/v2/repository/{what}"
        return httpx.post(f"{locked.url}{path}", json=body or {}, headers=secret["manage"], timeout=30, verify=False)

    for _ in range(2):
        assert statuses() == {200}
        assert repository("models/colours/unload").status_code == 200
        wait_until(lambda: statuses() == {503}, lambda: str(statuses()))
        states = {entry["name"]: entry["state"] for entry in repository("index").json()}
        assert states == {"colours": "UNAVAILABLE", "price": "READY", "mixed": "READY"}
        assert repository("models/colours/load").status_code == 200
        wait_until(lambda: statuses() == {200}, lambda: str(statuses()))
    for parameters in ({"config": "{}"}, {"file:1/model.pt": "AAAA"}):
        assert "not supported" in check_error(repository("models/colours/load", {"parameters": parameters}), 400)
    assert statuses() == {200}


def test_versions_of_a_model_answer_by_number(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("colours", CHECKPOINTS["colours"])
    store.publish("colours", CHECKPOINTS["price"])
    with running(store.root, tmp_path) as server:
        assert httpx.get(f"{server.url}{COLOURS}", verify=False).json()["versions"] == ["1", "2"]
        check_colours(infer(server, document([row(1)]), f"{COLOURS}/versions/1"), [row(1)])
        for path in (COLOURS, f"{COLOURS}/versions/2", f"{COLOURS}/versions/latest"):
            answer = infer(server, binary_body([[70.0, 3.0]]), path)
            assert answer.document["model_version"] == "2"
            assert list(answer.outputs) == ["predictions"]
        check_error(ask(server, f"{COLOURS}/versions/2/infer", document([row(1)])), 400)
