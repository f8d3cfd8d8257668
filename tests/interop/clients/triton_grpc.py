"""Triton's gRPC client: `triton_grpc.py ADDRESS`."""

import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from reports import MODELS, columns, matrix, report, tensor
from tritonclient.utils import InferenceServerException

DATATYPES = {"f": "FP32", "d": "FP64", "O": "BYTES"}


def tensor_input(name, array):
    given = triton.InferInput(name, list(array.shape), DATATYPES[array.dtype.char])
    given.set_data_from_numpy(array)
    return given


def inputs_of(model):
    arrays = columns(model) if model == "visits" else {"input": matrix(model)}
    return [tensor_input(name, array) for name, array in arrays.items()]


def outputs_of(result):
    return {
        output.name: tensor(output.datatype, result.as_numpy(output.name)) for output in result.get_response().outputs
    }


def asked(*names, **options):
    return [triton.InferRequestedOutput(name, **options) for name in names]


def failure(call, action):
    try:
        action()
    except InferenceServerException as error:
        report(call, {"status": error.status(), "message": error.message()})
    else:
        report(call, None)


def describe(client):
    report("live", client.is_server_live())
    report("ready", client.is_server_ready())
    report("model ready", client.is_model_ready("colours"))
    report("version ready", client.is_model_ready("late", "2"))
    failure("unknown model ready", lambda: report("is it ready", client.is_model_ready("nobody")))
    report("server", client.get_server_metadata(as_json=True))
    for model in MODELS:
        report(f"metadata of {model}", client.get_model_metadata(model, as_json=True))
        report(f"config of {model}", client.get_model_config(model, as_json=True))
    report("index", client.get_model_repository_index(as_json=True))


def infer(client):
    for model in MODELS:
        report(f"raw {model}", outputs_of(client.infer(model, inputs_of(model))))
    report("double", outputs_of(client.infer("colours", [tensor_input("input", matrix("colours", np.float64))])))
    by_column = [tensor_input(name, array) for name, array in columns("colours").items()]
    report("by column", outputs_of(client.infer("colours", by_column[::-1])))
    only = client.infer("colours", inputs_of("colours"), outputs=asked("probabilities"))
    report("one output", outputs_of(only))
    version = client.infer("late", inputs_of("late"), model_version="1")
    report("version", [version.get_response().model_version, outputs_of(version)])
    classes = client.infer("colours", inputs_of("colours"), outputs=asked("probabilities", class_count=2))
    report("classes", outputs_of(classes)["probabilities"])
    identified = client.infer("colours", inputs_of("colours"), request_id="mine, ünïque", client_timeout=60)
    report("id", [identified.get_response().id, identified.get_response().model_name])
    for algorithm in ("gzip", "deflate"):
        report(algorithm, outputs_of(client.infer("colours", inputs_of("colours"), compression_algorithm=algorithm)))
    answers = queue.Queue()
    for i in range(20):
        client.async_infer(
            "colours", inputs_of("colours"), lambda result, error: answers.put((result, error)), request_id=str(i)
        )
    found = [answers.get(timeout=60) for _ in range(20)]
    report("async", [[result.get_response().id, outputs_of(result)] for result, error in found if error is None])


def fail(client):
    numbers = inputs_of("colours")
    failure("unknown model", lambda: client.infer("nobody", numbers))
    failure("unknown version", lambda: client.infer("late", inputs_of("late"), model_version="7"))
    failure("unknown output", lambda: client.infer("colours", numbers, outputs=asked("logits")))
    failure("wrong width", lambda: client.infer("colours", [tensor_input("input", matrix("colours")[:, :3])]))
    words = np.array([[b"a", b"b", b"c", b"d"]], dtype=object)
    failure("words", lambda: client.infer("colours", [tensor_input("input", words)]))
    shared = triton.InferInput("input", [1, 4], "FP32")
    shared.set_shared_memory("region", 16)
    failure("shared memory", lambda: client.infer("colours", [shared]))
    failure("metadata of nobody", lambda: client.get_model_metadata("nobody"))


def manage(client):
    client.load_model("price")
    report("loaded", client.is_model_ready("price"))
    failure("load of nobody", lambda: client.load_model("nobody"))
    report("statistics", client.get_inference_statistics("colours", as_json=True))


with triton.InferenceServerClient(sys.argv[1]) as client:
    describe(client)
    infer(client)
    fail(client)
    manage(client)
