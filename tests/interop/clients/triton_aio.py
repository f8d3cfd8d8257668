"""Triton's HTTP client for asyncio: `triton_aio.py ADDRESS`."""

import asyncio
import sys

import tritonclient.http.aio as triton
from reports import MODELS, columns, matrix, report, tensor
from tritonclient.utils import InferenceServerException


def inputs_of(model):
    arrays = columns(model) if model == "visits" else {"input": matrix(model)}
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, list(array.shape), "BYTES" if array.dtype == object else "FP32"))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def outputs_of(result):
    return {
        output["name"]: tensor(output["datatype"], result.as_numpy(output["name"]))
        for output in result.get_response()["outputs"]
    }


async def main(address):
    async with triton.InferenceServerClient(address) as client:
        report("live", await client.is_server_live())
        report("ready", await client.is_server_ready())
        report("model ready", await client.is_model_ready("colours"))
        report("server", await client.get_server_metadata())
        report("metadata", await client.get_model_metadata("colours"))
        report("config", await client.get_model_config("colours"))
        many = await asyncio.gather(
            *(client.infer(model, inputs_of(model), request_id=f"{model} {i}") for i in range(10) for model in MODELS)
        )
        report("many", [[result.get_response()["id"], outputs_of(result)] for result in many])
        for algorithm in ("gzip", "deflate"):
            packed = await client.infer(
                "colours",
                inputs_of("colours"),
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            report(algorithm, outputs_of(packed))
        try:
            await client.infer("nobody", inputs_of("colours"))
        except InferenceServerException as error:
            report("unknown model", {"status": error.status(), "message": error.message()})


asyncio.run(main(sys.argv[1]))
