"""One of KServe's clients: `kserve_clients.py v1|v2|grpc ADDRESS`."""

import asyncio
import logging
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from reports import MODELS, columns, matrix, report, tensor

logging.disable(logging.ERROR)  # the gRPC client logs each error that this script asks for


def request(model, arrays, *, binary, outputs=None):
    """Returns a request, with the tensors as bytes or as lists."""
    inputs = []
    for name, array in arrays.items():
        inputs.append(InferInput(name, list(array.shape), "BYTES" if array.dtype == object else "FP32"))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    asked = [RequestedOutput(name, {"binary_data": binary}) for name in outputs] if outputs else None
    return InferRequest(model, inputs, request_id="mine", request_outputs=asked)


def arrays_of(model):
    return columns(model) if model == "visits" else {"input": matrix(model)}


def outputs_of(response):
    return {output.name: tensor(output.datatype, output.as_numpy()) for output in response.outputs}


async def failure(call, action):
    try:
        await action
    except httpx.HTTPStatusError as error:
        report(call, {"status": error.response.status_code, "message": str(error)})
    except grpc.RpcError as error:
        report(call, {"status": error.code().name, "message": error.details()})
    else:
        report(call, None)


async def rest_v2(url):
    async with InferenceRESTClient(RESTConfig(protocol="v2", verify=False)) as client:
        report("live", await client.is_server_live(url))
        report("ready", await client.is_server_ready(url))
        report("model ready", await client.is_model_ready(url, "colours"))
        report("unknown model ready", await client.is_model_ready(url, "nobody"))
        for model in MODELS:
            found = await client.infer(url, request(model, arrays_of(model), binary=True), model_name=model)
            report(f"binary {model}", [found.id, outputs_of(found)])
        for model in ("colours", "price", "late"):
            names = ["predictions"] if model == "price" else ["predictions", "probabilities"]
            asked = request(model, arrays_of(model), binary=False, outputs=names)
            report(f"json {model}", outputs_of(await client.infer(url, asked, model_name=model)))
        both = request("colours", arrays_of("colours"), binary=True, outputs=["predictions", "probabilities"])
        report("binary both ways", outputs_of(await client.infer(url, both, model_name="colours")))
        numbers = request("colours", arrays_of("colours"), binary=True)
        await failure("unknown model", client.infer(url, numbers, model_name="nobody"))
        narrow = request("colours", {"input": np.zeros((2, 3), np.float32)}, binary=False)
        await failure("wrong width", client.infer(url, narrow, model_name="colours"))


async def rest_v1(url):
    async with InferenceRESTClient(RESTConfig(protocol="v1", verify=False)) as client:
        report("model ready", await client.is_model_ready(url, "colours"))
        for model, given in MODELS.items():
            report(f"{model}", await client.infer(url, {"instances": given["rows"]}, model_name=model))
        await failure("unknown model", client.infer(url, {"instances": [[1, 2]]}, model_name="nobody"))


async def by_grpc(address):
    async with InferenceGRPCClient(address) as client:
        report("live", await client.is_server_live())
        report("ready", await client.is_server_ready())
        report("model ready", await client.is_model_ready("colours"))
        for model in MODELS:
            raw = await client.infer(request(model, arrays_of(model), binary=True))
            report(f"raw {model}", [raw.id, outputs_of(raw)])
            typed = await client.infer(request(model, arrays_of(model), binary=False))
            report(f"typed {model}", [typed.id, outputs_of(typed)])
        await failure("unknown model", client.infer(request("nobody", arrays_of("colours"), binary=True)))
        narrow = request("colours", {"input": np.zeros((2, 3), np.float32)}, binary=False)
        await failure("wrong width", client.infer(narrow))


protocol, address = sys.argv[1:]
client = {"v1": rest_v1, "v2": rest_v2, "grpc": by_grpc}[protocol]
asyncio.run(client(address if protocol == "grpc" else f"http://{address}"))
