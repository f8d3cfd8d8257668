"""The Open Inference Protocol over gRPC: a real server, and a client of other people (grpcio)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from grpc_client import DTYPES, FIELDS, INFERENCE, Client, GrpcServer, grpc, message_class, raw_texts, tensor, texts_of
from serving import CHECKPOINTS, ROOT, Oracle, http_client, http_get, make_store, metric_sum, running, wait_until

from models.store import Store
from service.grpc.messages import POOL

COLOURS, PRICE, MIXED = (Oracle(CHECKPOINTS[name]) for name in ("colours", "price", "mixed"))
LABELS = ["red", "green", "blue"]
ROWS = np.array([[0.5, -1.0, 2.0, 0.25], [1.5, 0.0, -2.0, 4.0], [3.0, 1.0, 1.0, -4.0]])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServer]:
    folder = tmp_path_factory.mktemp("grpc")
    store = make_store(folder)
    kind: Any = GrpcServer
    with running(store.root, folder, kind, max_body_bytes=4_000_000, max_request_rows=20_000, access_log=True) as found:
        assert isinstance(found, GrpcServer)
        yield found
        assert "Traceback" not in found.log(), found.log()


@pytest.fixture(scope="module")
def client(server: GrpcServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


def refused(code: str, words: str) -> Any:
    """Returns a context in which a call is refused."""
    return pytest.raises(grpc.RpcError, match=rf"(?s)StatusCode\.{code}.*{re.escape(words)}")


def raw_rows(rows: Any, datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    """Returns the arguments of `infer` for rows as one raw tensor."""
    matrix = np.asarray(rows, DTYPES[datatype])
    return {"raw": [matrix.tobytes()], **more}


def check_colours(answer: Any, rows: Any, *, is_raw: bool = True) -> None:
    """Compares predictions and probabilities with torch."""
    expected = np.array([COLOURS(list(map(float, row))) for row in rows])
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("predictions", "BYTES", [len(rows)]),
        ("probabilities", "FP32", [len(rows), 3]),
    ]
    if is_raw:
        texts = texts_of(answer.raw_output_contents[0])
        numbers = np.frombuffer(answer.raw_output_contents[1], "<f4").reshape(len(rows), 3)
    else:
        assert not answer.raw_output_contents
        texts = [text.decode() for text in answer.outputs[0].contents.bytes_contents]
        numbers = np.array(answer.outputs[1].contents.fp32_contents).reshape(len(rows), 3)
    np.testing.assert_allclose(numbers, expected, rtol=1e-4, atol=1e-6)
    assert texts == [LABELS[best] for best in expected.argmax(axis=1)]


def test_the_server_describes_itself_and_its_models(client: Client) -> None:
    assert client.call("ServerLive").live
    assert client.call("ServerReady").ready
    assert client.call("ServerMetadata").name == "axon"
    assert client.call("ModelReady", name="price").ready
    assert client.call("ModelReady", name="price", version="1").ready
    assert not client.call("ModelReady", name="nobody").ready
    metadata = client.call("ModelMetadata", name="mixed")
    assert [(given.name, given.datatype, list(given.shape)) for given in metadata.inputs] == [
        ("age", "FP32", [-1, 1]),
        ("city", "BYTES", [-1, 1]),
    ]
    assert list(metadata.versions) == ["1"]
    config = client.call("ModelConfig", name="price").config
    assert (config.name, config.max_batch_size, config.input[0].dims[0]) == ("price", 20_000, 2)
    index = client.call("RepositoryIndex").models
    assert {(model.name, model.version, model.state) for model in index} == {
        (name, "1", "READY") for name in CHECKPOINTS
    }


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BOOL"])
def test_each_datatype_of_numbers_is_converted_exactly(client: Client, datatype: str) -> None:
    rows = np.abs(ROWS).round().astype(DTYPES[datatype])
    answer = client.infer("colours", tensor("input", datatype, 3, 4), raw=[rows.tobytes()])
    check_colours(answer, rows)
    if datatype in FIELDS:
        contents = {FIELDS[datatype]: rows.ravel().tolist()}
        typed = client.infer("colours", tensor("input", datatype, 3, 4, contents=contents))
        check_colours(typed, rows, is_raw=False)


def test_a_repeated_request_is_answered_by_its_own_numbers(client: Client) -> None:
    """Checks that the numbers of each request are read, while the bytes before the numbers are known."""
    for position in range(20):
        rows = ROWS + position / 8
        for row in rows:
            check_colours(client.infer("colours", tensor("x", "FP32", 1, 4), **raw_rows([row])), [row])
        check_colours(client.infer("colours", tensor("x", "FP64", 3, 4), **raw_rows(rows, "FP64")), rows)


def test_columns_come_by_name_with_texts(client: Client) -> None:
    ages, cities = [30.0, 41.5], ["Oslo", "Lima"]
    expected = [MIXED([age, city]) for age, city in zip(ages, cities, strict=True)]
    raw = client.infer(
        "mixed",
        tensor("city", "BYTES", 2, 1),
        tensor("age", "FP64", 2),
        raw=[raw_texts(cities), np.array(ages).tobytes()],
    )
    typed = client.infer(
        "mixed",
        tensor("age", "FP32", 2, contents={"fp32_contents": ages}),
        tensor("city", "BYTES", 2, contents={"bytes_contents": [city.encode() for city in cities]}),
    )
    found = np.frombuffer(raw.raw_output_contents[1], "<f4").reshape(2, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(np.array(typed.outputs[1].contents.fp32_contents).reshape(2, 2), expected, rtol=1e-4)
    assert texts_of(raw.raw_output_contents[0]) == [text.decode() for text in typed.outputs[0].contents.bytes_contents]


def test_outputs_classes_and_id_are_as_asked(client: Client) -> None:
    expected = COLOURS(list(ROWS[0]))
    order = sorted(range(3), key=lambda class_: -expected[class_])
    for is_raw in (True, False):
        given = tensor("input", "FP64", 1, 4)
        more: dict[str, Any] = {"raw": [ROWS[0].tobytes()]}
        if not is_raw:
            given["contents"], more = {"fp64_contents": list(ROWS[0])}, {}
        answer = client.infer(
            "colours",
            given,
            id="the id",
            outputs=[{"name": "probabilities", "parameters": {"classification": {"int64_param": 2}}}],
            **more,
        )
        assert (answer.id, answer.model_name, answer.model_version) == ("the id", "colours", "1")
        [output] = answer.outputs
        assert (output.datatype, list(output.shape)) == ("BYTES", [1, 2])
        found = (
            texts_of(answer.raw_output_contents[0])
            if is_raw
            else [text.decode() for text in output.contents.bytes_contents]
        )
        assert [text.split(":")[1:] for text in found] == [[str(class_), LABELS[class_]] for class_ in order[:2]]
        assert [float(text.split(":")[0]) for text in found] == pytest.approx(
            [expected[class_] for class_ in order[:2]], rel=1e-4
        )
    swapped = client.infer(
        "colours",
        tensor("input", "FP64", 1, 4),
        raw=[ROWS[0].tobytes()],
        outputs=[{"name": "probabilities"}, {"name": "predictions"}],
    )
    assert [output.name for output in swapped.outputs] == ["probabilities", "predictions"]
    assert np.frombuffer(swapped.raw_output_contents[0], "<f4") == pytest.approx(expected, rel=1e-4)
    assert texts_of(swapped.raw_output_contents[1]) == [LABELS[order[0]]]
    price = client.infer("price", tensor("input", "FP32", 1, 2), raw=[np.array([100, 3], np.float32).tobytes()])
    assert np.frombuffer(price.raw_output_contents[0], "<f4") == pytest.approx(PRICE([100, 3]), rel=1e-5)


@pytest.mark.parametrize("is_raw", [True, False])
@pytest.mark.parametrize("compression", ["NoCompression", "Gzip", "Deflate"])
def test_large_messages_are_answered_row_by_row(client: Client, *, is_raw: bool, compression: str) -> None:
    rows = np.random.default_rng(0).normal(size=(20_000, 4)).round(2)
    given = tensor("input", "FP64", 20_000, 4)
    more: dict[str, Any] = {"raw_input_contents": [rows.tobytes()]} if is_raw else {}
    if not is_raw:
        given["contents"] = {"fp64_contents": rows.ravel()}
    request = message_class("inference.ModelInferRequest")(model_name="colours", inputs=[given], **more)
    answer = client.method("ModelInfer")(request, timeout=60, compression=grpc.Compression[compression])
    numbers = (
        np.frombuffer(answer.raw_output_contents[1], "<f4")
        if is_raw
        else np.array(answer.outputs[1].contents.fp32_contents)
    ).reshape(20_000, 3)
    assert numbers.sum(axis=1) == pytest.approx(1, abs=1e-4)
    for row in (0, 1, 9_999, 19_999):
        assert numbers[row] == pytest.approx(COLOURS(list(rows[row])), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("datatype", ["INT64", "UINT32", "BYTES", "BOOL"])
def test_large_typed_contents_are_read_in_steps(client: Client, datatype: str) -> None:
    rng = np.random.default_rng(0)
    count = 16_000
    ages = np.abs(rng.integers(0, 90, count))
    cities = [("Rome", "Oslo", "Lima")[pick] for pick in rng.integers(0, 3, count)]
    given = {"int64_contents": ages}
    kind = "INT64"
    if datatype == "UINT32":
        given, kind = {"uint_contents": ages}, "UINT32"
    if datatype == "BOOL":
        with refused("INVALID_ARGUMENT", "Row 0, column 'age'"):
            client.infer(
                "mixed",
                tensor("age", "BOOL", count, contents={"bool_contents": [True] * count}),
                tensor("city", "BYTES", count, contents={"bytes_contents": [city.encode() for city in cities]}),
            )
        return
    answer = client.infer(
        "mixed",
        tensor("age", kind, count, contents=given),
        tensor("city", "BYTES", count, contents={"bytes_contents": [city.encode() for city in cities]}),
    )
    numbers = np.array(answer.outputs[1].contents.fp32_contents).reshape(count, 2)
    for row in (0, 8_000, 15_999):
        assert numbers[row] == pytest.approx(MIXED([float(ages[row]), cities[row]]), rel=1e-4)


@pytest.mark.parametrize(
    ("inputs", "more", "code", "words"),
    [
        ([], {}, "INVALID_ARGUMENT", "no input tensor"),
        ([tensor("x", "FP32", 1, 4)], {"raw": [b"1234"]}, "INVALID_ARGUMENT", "4 bytes were sent where shape"),
        ([tensor("x", "FP32", 1, 4)], {"raw": [b"", b""]}, "INVALID_ARGUMENT", "one for each input"),
        (
            [tensor("x", "FP32", 1, 4, contents={"fp32_contents": [1, 2, 3, 4]})],
            {"raw": [bytes(16)]},
            "INVALID_ARGUMENT",
            "both raw_input_contents and contents",
        ),
        (
            [tensor("x", "FP32", 1, 4, contents={"fp64_contents": [1, 2, 3, 4]})],
            {},
            "INVALID_ARGUMENT",
            "fp64_contents are sent, and FP32 has fp32_contents",
        ),
        ([tensor("x", "FP32", 1, 4, contents={"fp32_contents": [1]})], {}, "INVALID_ARGUMENT", "data has 1 elements"),
        ([tensor("x", "FP16", 1, 4, contents={"fp32_contents": [1] * 4})], {}, "INVALID_ARGUMENT", "send raw contents"),
        ([tensor("x", "INT8", 1, 4, contents={"int_contents": [300] * 4})], {}, "INVALID_ARGUMENT", "beyond the range"),
        ([tensor("x", "FP99", 1, 4)], {"raw": [bytes(16)]}, "INVALID_ARGUMENT", "is not one of"),
        ([tensor("x", "FP32", 2**40, 2**40)], {"raw": [bytes(16)]}, "INVALID_ARGUMENT", "too many elements"),
        ([tensor("x", "FP32", -1, 4)], {"raw": [bytes(16)]}, "INVALID_ARGUMENT", "whole numbers from 1 on"),
        ([tensor("x", "FP32", 1, 4)] * 2, {"raw": [bytes(16)] * 2}, "INVALID_ARGUMENT", "is no column"),
        (
            [tensor("x", "FP32", 1, 4, parameters={"shared_memory_region": {"string_param": "a"}})],
            {},
            "INVALID_ARGUMENT",
            "shared_memory_region is not supported",
        ),
        (
            [tensor("x", "FP32", 1, 4)],
            {"raw": [bytes(16)], "outputs": [{"name": "no"}]},
            "INVALID_ARGUMENT",
            "no output",
        ),
        ([tensor("x", "FP32", 1, 3)], {"raw": [bytes(12)]}, "INVALID_ARGUMENT", "Row 0"),
    ],
)
def test_a_faulty_request_gets_invalid_argument(
    client: Client, inputs: list[dict[str, Any]], more: dict[str, Any], code: str, words: str
) -> None:
    with refused(code, words):
        client.infer("colours", *inputs, **more)


def test_each_refusal_has_its_code(client: Client) -> None:
    row = raw_rows([ROWS[0]])
    with refused("NOT_FOUND", "There is no model 'nobody'"):
        client.infer("nobody", tensor("x", "FP32", 1, 4), **row)
    with refused("NOT_FOUND", ""):
        client.infer("colours", tensor("x", "FP32", 1, 4), model_version="9", **row)
    with refused("RESOURCE_EXHAUSTED", "the limit is 4,000,000"):
        client.infer("colours", tensor("x", "FP32", 300_000, 4), raw=[bytes(4_800_000)])
    with refused("RESOURCE_EXHAUSTED", "More than 20,000 rows"):
        client.infer("colours", tensor("x", "FP32", 30_000, 4), raw=[bytes(480_000)])
    with refused("UNIMPLEMENTED", "no such method"):
        client.channel.unary_unary(f"/{INFERENCE}/Nothing")(b"", timeout=5)
    with refused("INVALID_ARGUMENT", "is not a valid ModelInferRequest"):
        client.method("ModelInfer")(b"\xff\xff", timeout=5)
    bomb = message_class("inference.ModelInferRequest")(raw_input_contents=[bytes(50_000_000)])
    with refused("RESOURCE_EXHAUSTED", "after its decompression"):
        client.method("ModelInfer")(bomb, timeout=30, compression=grpc.Compression.Gzip)


def test_the_request_id_comes_back(client: Client) -> None:
    request = message_class("inference.ServerLiveRequest")()
    for name in ("ServerLive", "ModelInfer"):
        call = client.method(name).future(request, timeout=5, metadata=[("x-request-id", "mine-1")])
        assert call.exception() is None or call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert ("x-request-id", "mine-1") in [(entry.key, entry.value) for entry in call.trailing_metadata()]


def watched_health(client: Client) -> Any:
    """Begins a watch of the server's health; returns the call."""
    watch = client.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_class("grpc.health.v1.HealthCheckResponse").FromString,
    )
    return watch(message_class("grpc.health.v1.HealthCheckRequest")(), timeout=60)


def test_health_and_reflection_are_the_standard_services(client: Client, server: GrpcServer) -> None:
    check = client.method("Check", "grpc.health.v1.Health")
    kind = message_class("grpc.health.v1.HealthCheckRequest")
    assert check(kind(), timeout=5).status == check(kind(service=INFERENCE), timeout=5).status == 1
    with refused("NOT_FOUND", ""):
        check(kind(service="other"), timeout=5)
    watching = watched_health(client)
    assert next(watching).status == 1
    watching.cancel()
    for version in ("v1", "v1alpha"):
        package = f"grpc.reflection.{version}"
        ask = client.channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(f"{package}.ServerReflectionResponse").FromString,
        )
        question = message_class(f"{package}.ServerReflectionRequest")
        listed, file, nothing = ask(
            iter(
                [
                    question(list_services=""),
                    question(file_containing_symbol=INFERENCE),
                    question(file_containing_symbol="no.such.Symbol"),
                ]
            ),
            timeout=5,
        )
        assert INFERENCE in [service.name for service in listed.list_services_response.service]
        assert b"ModelInferRequest" in file.file_descriptor_response.file_descriptor_proto[0]
        assert nothing.error_response.error_code == 5


def test_many_calls_share_a_connection(client: Client) -> None:
    method = client.method("ModelInfer")
    rows = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    calls = [
        method.future(
            message_class("inference.ModelInferRequest")(
                model_name="colours",
                id=str(number),
                inputs=[tensor("x", "FP32", 1, 4)],
                raw_input_contents=[row.tobytes()],
            ),
            timeout=60,
        )
        for number, row in enumerate(rows)
    ]
    for number, (call, row) in enumerate(zip(calls, rows, strict=True)):
        answer = call.result()
        assert answer.id == str(number)
        check_colours(answer, [row])


def test_a_deadline_and_a_cancelled_call_free_the_queue(server: GrpcServer, client: Client) -> None:
    [worker] = server.worker_pids()
    check_colours(client.infer("colours", tensor("x", "FP32", 1, 4), **raw_rows([ROWS[0]])), [ROWS[0]])
    before = metric_sum(server, "axon_requests_total")
    os.kill(worker, signal.SIGSTOP)
    try:
        with refused("DEADLINE_EXCEEDED", ""):
            client.infer("colours", tensor("x", "FP32", 1, 4), timeout=0.3, **raw_rows([ROWS[0]]))
        request = message_class("inference.ModelInferRequest")(
            model_name="colours", inputs=[tensor("x", "FP32", 1, 4)], raw_input_contents=[bytes(16)]
        )
        calls = [client.method("ModelInfer").future(request, timeout=60) for _ in range(20)]
        wait_until(lambda: metric_sum(server, "axon_queue_rows") > 0)
        for call in calls:
            call.cancel()
        wait_until(lambda: metric_sum(server, "axon_queue_rows") == 0)
        wait_until(lambda: metric_sum(server, "axon_requests_total") == before + 21)
        counted = http_get(f"{server.url}/metrics").text
        cancelled = re.findall(r'^axon_requests_total\{.*status="499".*\} (\S+)$', counted, re.MULTILINE)
        # grpcio cancels a call at its deadline, so that the first one may count too.
        assert sum(map(float, cancelled)) in (20, 21), cancelled
        with refused("DEADLINE_EXCEEDED", ""):  # the parameter of the protocol, in microseconds
            client.infer(
                "colours",
                tensor("x", "FP32", 1, 4),
                parameters={"timeout": {"int64_param": 200_000}},
                **raw_rows([ROWS[0]]),
            )
    finally:
        os.kill(worker, signal.SIGCONT)
    check_colours(client.infer("colours", tensor("x", "FP32", 1, 4), **raw_rows([ROWS[0]])), [ROWS[0]])


def test_http_1_and_noise_get_no_answer(server: GrpcServer, client: Client) -> None:
    for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(100), b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=10) as stream:
            stream.sendall(noise)
            received = b""
            while part := stream.recv(1000):
                received += part
            assert b"this port speaks HTTP/2 alone" in received
    assert client.call("ServerLive").live


@pytest.mark.slow
def test_the_readiness_of_a_version_is_the_same_in_all_spellings_and_protocols(tmp_path: Path) -> None:
    store, kind = make_store(tmp_path), cast("Any", GrpcServer)
    for _ in range(2):
        store.publish("colours", CHECKPOINTS["colours"])
    with running(store.root, tmp_path, kind) as server, server.client() as client:

        def statuses(version: str) -> set[int]:
            paths = (f"colours@{version}/ready", f"colours/versions/{version}/ready")
            found = {http_get(f"{server.url}/v2/models/{path}").status_code for path in paths}
            is_ready = [
                client.call("ModelReady", name="colours", version=version).ready,
                client.call("ModelReady", name=f"colours@{version}").ready,
            ]
            assert is_ready == [found == {200}] * 2
            return found

        expected = {"3": 200, "latest": 200, "2": 503, "99": 404, "staging": 404, "-": 404}
        for version, status in expected.items():
            assert statuses(version) == {status}, version
        client.infer("colours", tensor("x", "FP32", 1, 4), model_version="2", **raw_rows([ROWS[0]]))
        assert statuses("2") == {200}


KEYS = {scope: f"axon_grpc-{scope}-secret" for scope in ("predict", "read", "manage")}


@pytest.mark.slow
def test_keys_come_as_metadata(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    entries = " ".join(
        f"{scope}-only:{scope}:{hashlib.sha256(secret.encode()).hexdigest()}" for scope, secret in KEYS.items()
    )
    kind: Any = GrpcServer
    with running(store.root, tmp_path, kind, api_keys=entries) as server, server.client() as client:
        assert client.call("ServerLive").live, "probes need no key"
        assert client.method("Check", "grpc.health.v1.Health")(
            message_class("grpc.health.v1.HealthCheckRequest")(), timeout=5
        )
        with refused("UNAUTHENTICATED", "An API key is needed"):
            client.infer("colours", tensor("x", "FP32", 1, 4), **raw_rows([ROWS[0]]))
        with refused("UNAUTHENTICATED", "not known"):
            client.call("ServerMetadata", metadata=[("x-api-key", "axon_wrong")])
        with refused("PERMISSION_DENIED", "lacks the scope predict"):
            client.infer(
                "colours", tensor("x", "FP32", 1, 4), metadata=[("x-api-key", KEYS["read"])], **raw_rows([ROWS[0]])
            )
        with refused("PERMISSION_DENIED", "lacks the scope manage"):
            client.call("RepositoryModelUnload", model_name="price", metadata=[("x-api-key", KEYS["read"])])
        with refused("INVALID_ARGUMENT", "more than once"):
            client.call("ServerMetadata", metadata=[("x-api-key", KEYS["read"])] * 2)
        answer = client.infer(
            "colours",
            tensor("x", "FP32", 1, 4),
            metadata=[("authorization", f"Bearer {KEYS['predict']}")],
            **raw_rows([ROWS[0]]),
        )
        check_colours(answer, [ROWS[0]])
        manage = [("authorization", f"Bearer {KEYS['manage']}")]
        for name in ({"model_name": "price"}, {"repository_name": "price"}):  # Triton's field, and KServe's
            assert client.call("RepositoryModelUnload", metadata=manage, **name).isUnloaded
            assert not client.call("ModelReady", name="price", metadata=manage).ready
            assert client.call("RepositoryModelLoad", metadata=manage, **name).isLoaded
            assert client.call("ModelReady", name="price", metadata=manage).ready
        with refused("INVALID_ARGUMENT", "models come from the store alone"):
            client.call(
                "RepositoryModelLoad",
                model_name="price",
                parameters={"config": {"string_param": "{}"}},
                metadata=manage,
            )


@pytest.mark.slow
def test_a_key_may_do_over_grpc_what_it_may_do_over_http(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    kind: Any = GrpcServer
    entries = " ".join(
        f"{scope}-only:{scope}:{hashlib.sha256(secret.encode()).hexdigest()}" for scope, secret in KEYS.items()
    )
    calls: list[tuple[str, dict[str, Any], str, str]] = [
        ("ServerMetadata", {}, "GET", "/v2"),
        ("ModelReady", {"name": "price"}, "GET", "/v2/models/price/ready"),
        ("ModelMetadata", {"name": "price"}, "GET", "/v2/models/price"),
        ("ModelConfig", {"name": "price"}, "GET", "/v2/models/price/config"),
        ("ModelStatistics", {"name": "price"}, "GET", "/v2/models/price/stats"),
        ("RepositoryIndex", {}, "POST", "/v2/repository/index"),
        ("RepositoryModelLoad", {"model_name": "price"}, "POST", "/v2/repository/models/price/load"),
        ("RepositoryModelUnload", {"model_name": "price"}, "POST", "/v2/repository/models/price/unload"),
    ]
    read, managing = {"read", "manage"}, ("RepositoryModelLoad", "RepositoryModelUnload")
    allowed = {name: {"manage"} if name in managing else read for name, *_ in calls}
    with (
        running(store.root, tmp_path, kind, api_keys=entries) as server,
        server.client() as client,
        http_client() as http,
    ):
        for scope, secret in KEYS.items():
            for name, fields, method, path in calls:
                status = http.request(method, server.url + path, headers={"x-api-key": secret}).status_code
                assert status == (200 if scope in allowed[name] else 403), (scope, path)
                if scope in allowed[name]:
                    client.call(name, metadata=[("x-api-key", secret)], **fields)
                else:
                    with refused("PERMISSION_DENIED", "lacks the scope"):
                        client.call(name, metadata=[("x-api-key", secret)], **fields)


def clients_without_pause(server: GrpcServer, count: int, stop: threading.Event) -> Any:
    """Starts clients that call without a pause; each returns the number of its calls and the errors."""
    request = message_class("inference.ModelInferRequest")(
        model_name="colours",
        inputs=[tensor("x", "FP32", 1, 4)],
        raw_input_contents=[ROWS[0].astype(np.float32).tobytes()],
    )

    def run(_: int) -> tuple[int, list[Any]]:
        calls, errors = 0, []
        with server.client() as client:
            method = client.method("ModelInfer")
            while not stop.is_set():
                try:
                    answer = method(request, timeout=60)
                    check_colours(answer, [ROWS[0]])
                    calls += 1
                except grpc.RpcError as error:
                    errors.append(error)
                    break
        return calls, errors

    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(run, number) for number in range(count)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="takes openssl, to make certificates")
def test_tls_is_spoken_with_the_certificate_of_http(store: Store, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=axon", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def renew() -> Any:
        files = ["-keyout", str(tmp_path / "new-key"), "-out", str(tmp_path / "new-cert")]
        subprocess.run([*command, *names, *files], check=True, capture_output=True)
        (tmp_path / "new-key").replace(key)
        (tmp_path / "new-cert").replace(certificate)
        return grpc.ssl_channel_credentials(certificate.read_bytes())

    class TlsServer(GrpcServer):
        def ready(self) -> bool:
            return "model ready" in self.log()

    credentials = renew()
    server = TlsServer(store.root, tmp_path, tls_certificate=certificate, tls_key=key)
    try:
        server.start()
        with server.client(credentials=credentials) as client:
            wait_until(lambda: bool(client.call("ServerReady").ready))
            check_colours(client.infer("colours", tensor("x", "FP32", 1, 4), **raw_rows([ROWS[0]])), [ROWS[0]])
            rows = np.random.default_rng(0).normal(size=(20_000, 4))
            answer = client.infer("colours", tensor("x", "FP64", 20_000, 4), **raw_rows(rows, "FP64"))
            assert len(answer.raw_output_contents[1]) == 20_000 * 3 * 4
        with server.client() as plain, pytest.raises(grpc.RpcError):
            plain.call("ServerLive", timeout=5)
        renewed = renew()

        def accepts() -> bool:
            with server.client(credentials=renewed) as client:
                try:
                    return bool(client.call("ServerLive", timeout=5).live)
                except grpc.RpcError:
                    return False

        wait_until(accepts, server.log)
        [api] = server.api_pids()
        os.kill(api, signal.SIGKILL)
        with server.client(credentials=renewed) as client:
            inputs = tensor("x", "FP32", 1, 4)
            check_colours(client.infer("colours", inputs, **raw_rows([ROWS[0]]), timeout=60), [ROWS[0]])
        server.stop()
        assert "Traceback" not in server.log()
    finally:
        server.kill()


@pytest.mark.slow
def test_a_taken_port_ends_the_start_with_one_sentence(store: Store, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = GrpcServer(store.root, tmp_path)
        for grpc_port, words in ((port, f"AXON_GRPC_PORT: cannot listen on 127.0.0.1:{port}"), (server.port, "differ")):
            environment = {**server.environment, "AXON_GRPC_PORT": str(grpc_port)}
            ended = subprocess.run(
                [sys.executable, "-m", "service"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
            )
            assert ended.returncode != 0
            assert words in ended.stderr
            assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_watch_of_health_ends_as_unavailable_where_the_server_stops(store: Store, tmp_path: Path) -> None:
    server = GrpcServer(store.root, tmp_path)
    try:
        server.start()
        with server.client() as client:
            watching = watched_health(client)
            assert next(watching).status == 1
            server.stop()
            with pytest.raises(grpc.RpcError) as ended:
                list(watching)
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
            assert "about to stop" in ended.value.details()  # type: ignore[attr-defined]
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("api_processes", [1, 2])
def test_a_drain_loses_no_call(store: Store, tmp_path: Path, api_processes: int) -> None:
    """Lets 64 clients call until no client can connect. grpcio's own server loses most of the last calls."""
    server = GrpcServer(store.root, tmp_path, api_processes=api_processes)
    try:
        server.start()
        stop = threading.Event()
        pool, running_clients = clients_without_pause(server, 64, stop)
        with pool:
            try:
                wait_until(lambda: metric_sum(server, "axon_requests_total") > 500)
                server.stop()
            finally:
                stop.set()
        results = [client.result() for client in running_clients]
        assert all(calls for calls, _ in results), "each client was served"
        errors = [error for _, errors in results for error in errors]
        for error in errors:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
            assert "failed to connect" in error.details(), error  # never sent
        assert "Traceback" not in server.log()
    finally:
        server.kill()


@pytest.mark.slow
def test_the_death_of_a_worker_loses_no_call(store: Store, tmp_path: Path) -> None:
    server = GrpcServer(store.root, tmp_path, workers=2)
    try:
        server.start()
        stop = threading.Event()
        pool, running_clients = clients_without_pause(server, 16, stop)
        with pool:
            try:
                for killed in range(3):
                    goal = metric_sum(server, "axon_requests_total") + 200
                    wait_until(lambda goal=goal: metric_sum(server, "axon_requests_total") > goal)  # type: ignore[misc]
                    os.kill(server.worker_pids()[killed % 2], signal.SIGKILL)
            finally:
                stop.set()
        for client in running_clients:
            calls, errors = client.result()
            assert not errors
            assert calls
        server.stop()
    finally:
        server.kill()


def test_the_table_of_protocols_names_each_method(client: Client) -> None:
    page = (ROOT / "docs/protocols.md").read_text()
    [row] = [line for line in page.splitlines() if INFERENCE in line and line.startswith("|")]
    listed = set(re.findall(r"`(\w+)`", row))
    assert listed == set(POOL.FindServiceByName(INFERENCE).methods_by_name)
    for name in listed:
        call = client.method(name).future(message_class(f"inference.{name}Request")(), timeout=10)
        call.exception()
        assert call.code() not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL), name
