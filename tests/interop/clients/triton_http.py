"""Triton's HTTP client: `triton_http.py ADDRESS`."""

import sys

import numpy as np
import tritonclient.http as triton
from reports import MODELS, columns, matrix, report, tensor
from tritonclient.utils import InferenceServerException

DATATYPES = {"f": "FP32", "d": "FP64", "O": "BYTES"}


def tensor_input(name, array, *, binary=True):
    given = triton.InferInput(name, list(array.shape), DATATYPES[array.dtype.char])
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def inputs_of(model, *, binary=True):
    if model == "visits":
        return [tensor_input(name, array, binary=binary) for name, array in columns(model).items()]
    return [tensor_input("input", matrix(model), binary=binary)]


def outputs_of(result):
    return {
        output["name"]: tensor(output["datatype"], result.as_numpy(output["name"]))
        for output in result.get_response()["outputs"]
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
    report("unknown model ready", client.is_model_ready("nobody"))
    report("unknown version ready", client.is_model_ready("late", "7"))
    report("server", client.get_server_metadata())
    for model in MODELS:
        report(f"metadata of {model}", client.get_model_metadata(model))
        report(f"config of {model}", client.get_model_config(model))
    report("metadata of a version", client.get_model_metadata("late", "1"))
    report("index", client.get_model_repository_index())


def infer(client):
    for model in MODELS:
        report(f"binary {model}", outputs_of(client.infer(model, inputs_of(model))))
    for model in ("colours", "price", "late"):
        names = ["predictions"] if model == "price" else ["predictions", "probabilities"]
        json = client.infer(model, inputs_of(model, binary=False), outputs=asked(*names, binary_data=False))
        report(f"json {model}", outputs_of(json))
    mixed = [*asked("predictions", binary_data=False), *asked("probabilities", binary_data=True)]
    report("mixed", outputs_of(client.infer("colours", inputs_of("colours"), outputs=mixed)))
    report("double", outputs_of(client.infer("colours", [tensor_input("input", matrix("colours", np.float64))])))
    by_column = [tensor_input(name, array) for name, array in columns("colours").items()]
    report("by column", outputs_of(client.infer("colours", by_column[::-1])))
    flat = [tensor_input(name, array[:, 0]) for name, array in columns("colours").items()]
    report("by flat column", outputs_of(client.infer("colours", flat)))
    only = client.infer("colours", inputs_of("colours"), outputs=asked("probabilities"))
    report("one output", outputs_of(only))
    version = client.infer("late", inputs_of("late"), model_version="1")
    report("version", [version.get_response()["model_version"], outputs_of(version)])
    classes = client.infer("colours", inputs_of("colours"), outputs=asked("probabilities", class_count=2))
    report("classes", outputs_of(classes)["probabilities"])
    identified = client.infer("colours", inputs_of("colours"), request_id="mine, ünïque", priority=3)
    report("id", [identified.get_response()["id"], identified.get_response()["model_name"]])
    for algorithm in ("gzip", "deflate"):
        packed = client.infer(
            "colours",
            inputs_of("colours"),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        report(algorithm, outputs_of(packed))
    later = [client.async_infer("colours", inputs_of("colours"), request_id=str(i)) for i in range(20)]
    found = [request.get_result() for request in later]
    report("async", [[result.get_response()["id"], outputs_of(result)] for result in found])


def fail(client):
    numbers = inputs_of("colours")
    failure("unknown model", lambda: client.infer("nobody", numbers))
    failure("unknown version", lambda: client.infer("late", inputs_of("late"), model_version="7"))
    failure("unknown output", lambda: client.infer("colours", numbers, outputs=asked("logits")))
    failure("wrong name", lambda: client.infer("visits", [tensor_input("nobody", matrix("colours")[:, :1])]))
    failure("wrong width", lambda: client.infer("colours", [tensor_input("input", matrix("colours")[:, :3])]))
    words = np.array([[b"a", b"b", b"c", b"d"]], dtype=object)
    failure("words", lambda: client.infer("colours", [tensor_input("input", words)]))
    gaps = np.full((2, 4), np.nan, dtype=np.float32)
    failure("gaps", lambda: client.infer("colours", [tensor_input("input", gaps)]))
    shared = triton.InferInput("input", [1, 4], "FP32")
    shared.set_shared_memory("region", 16)
    failure("shared memory", lambda: client.infer("colours", [shared]))
    failure("deadline", lambda: client.infer("colours", numbers, timeout=1))
    failure("metadata of nobody", lambda: client.get_model_metadata("nobody"))
    failure("config of nobody", lambda: client.get_model_config("nobody"))
    failure("load with a config", lambda: client.load_model("colours", config="{}"))
    failure("load with a file", lambda: client.load_model("colours", config="{}", files={"file:1/model": b"x"}))


def manage(client):
    client.load_model("price")
    report("loaded", client.is_model_ready("price"))
    failure("load of nobody", lambda: client.load_model("nobody"))
    statistics = client.get_inference_statistics("colours")
    report("statistics", statistics)
    report("all statistics", sorted(entry["name"] for entry in client.get_inference_statistics()["model_stats"]))
    client.unload_model("price")
    report("unloaded model ready", client.is_model_ready("price"))
    failure("unloaded", lambda: client.infer("price", inputs_of("price")))
    report("index without a model", client.get_model_repository_index())
    client.load_model("price")
    report("loaded again", outputs_of(client.infer("price", inputs_of("price"))))


with triton.InferenceServerClient(sys.argv[1]) as client:
    describe(client)
    infer(client)
    fail(client)
    manage(client)
