"""granian over RSGI, with ONNX Runtime in the handler: one process, which does not load torch."""

import os

import numpy as np
import onnxruntime
import orjson

HEADERS = [("content-type", "application/json")]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["AXON_BENCH_ONNX"], options, providers=["CPUExecutionProvider"])


async def app(scope: object, protocol: object) -> None:
    """Answers one request."""
    rows = np.array(orjson.loads(await protocol())["instances"], dtype=np.float32)
    (probabilities,) = session.run(["probabilities"], {"rows": rows})
    answer = {"predictions": probabilities.argmax(-1), "probabilities": probabilities}
    protocol.response_bytes(200, HEADERS, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))
