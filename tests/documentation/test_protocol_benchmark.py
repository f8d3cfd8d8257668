"""The benchmark of the protocols: its messages are the protocol's, and its load generators count failures."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest

from benchmarks.infer_messages import INFER, read_infer_response, write_infer_request
from benchmarks.load import Load, drive
from benchmarks.perf_analyzer import read_report
from benchmarks.wire import BinaryWire, Message, open_inference

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
messages = pytest.importorskip("tritonclient.grpc.service_pb2")


def test_a_request_over_grpc_is_the_protocols() -> None:
    request = messages.ModelInferRequest.FromString(write_infer_request("mlp", "input", ROWS))
    assert request == messages.ModelInferRequest(
        model_name="mlp",
        inputs=[messages.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[2, 3])],
        raw_input_contents=[ROWS.tobytes()],
    )


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_over_grpc_is_read_in_both_forms(raw: bool) -> None:
    tensor = messages.ModelInferResponse.InferOutputTensor
    answer = messages.ModelInferResponse(
        model_name="mlp",
        id="mine",
        outputs=[
            tensor(name="predictions", datatype="BYTES", shape=[2]),
            tensor(name="probabilities", datatype="FP32", shape=[2, 3]),
        ],
    )
    if raw:
        answer.raw_output_contents.extend([b"\x01\0\0\0a\x01\0\0\0b", ROWS.tobytes()])
    else:
        answer.outputs[0].contents.bytes_contents.extend([b"a", b"b"])
        answer.outputs[1].contents.fp32_contents.extend(ROWS.ravel().tolist())
    found = read_infer_response(answer.SerializeToString())
    assert list(found) == ["probabilities"]
    np.testing.assert_array_equal(found["probabilities"], ROWS)


def test_the_parts_of_a_binary_message_are_found_by_their_sizes() -> None:
    wire = BinaryWire("input")
    request = wire.encode(ROWS.tolist())
    length = int(request.headers["inference-header-content-length"])
    [tensor] = json.loads(request.body[:length])["inputs"]
    assert tensor["parameters"]["binary_data_size"] == len(request.body) - length == ROWS.nbytes
    np.testing.assert_array_equal(np.frombuffer(request.body[length:], "<f4").reshape(tensor["shape"]), ROWS)
    outputs = [
        {"name": "predictions", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}},
        {"name": "probabilities", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    assert wire.decode(Message(head + bytes(16) + ROWS.tobytes(), headers)) == ROWS.tolist()
    assert json.loads(open_inference("input").encode(ROWS.tolist()).body)["inputs"][0]["data"] == ROWS.ravel().tolist()


def test_the_report_of_perf_analyzer_is_read() -> None:
    report = """
Request concurrency: 8
  Client:
    Request count: 7903
    Throughput: 1.01844e+06 infer/sec
    Avg latency: 1877 usec (standard deviation 913 usec)
    p50 latency: 1713 usec
    p99 latency: 4254 usec
  Server:
    Inference count: 7909
    Successful request count: 7909
"""
    found = read_report(report, 100)
    assert (found.requests, found.per_second, found.p50, found.p99) == (7903, 10184.4, 0.001713, 0.004254)
    with pytest.raises(RuntimeError, match="other lines"):
        read_report(report.replace("p99", "p98"), 100)


@contextmanager
def _grpc_server(*, fails: bool) -> Iterator[int]:
    """Runs a gRPC server that sends messages back, or refuses each; yields its port."""
    ports: list[int] = []
    started, stop = threading.Event(), threading.Event()

    async def answer(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if fails:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        return message

    async def serve() -> None:
        _, service, method = INFER.split("/")
        server = grpc.aio.server()
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        started.set()
        while not stop.is_set():
            await asyncio.sleep(0.02)
        await server.stop(None)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield ports[0]
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["h2load", "python"])
@pytest.mark.parametrize("fails", [False, True])
def test_each_driver_of_grpc_counts_failures(
    driver: str, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driver == "python":
        monkeypatch.setattr(shutil, "which", lambda name: None)  # as where h2load is not installed
    elif shutil.which("h2load") is None:
        pytest.skip("h2load is not installed")
    with _grpc_server(fails=fails) as port:
        message = Message(write_infer_request("mlp", "input", ROWS), {})
        url = f"http://127.0.0.1:{port}{INFER}"
        load = Load(url, message, 2, connections=3, grpc=True, answer_bytes=len(message.body))
        found = drive(driver, load, 0.4, tmp_path)
    assert found.answers > 0
    assert found.failed == (found.answers if fails else 0)
    assert 0 < found.p50 <= found.p99
