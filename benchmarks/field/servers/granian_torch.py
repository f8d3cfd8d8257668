"""granian over RSGI, with torch in the handler: one process, a forward pass for each request."""

import os

import numpy as np
import torch

from benchmarks.field.servers import json_codec
from benchmarks.model import make_model

HEADERS = [("content-type", "application/json")]
torch.set_num_threads(1)
model = make_model(os.environ["AXON_BENCH_MODEL"])


async def app(scope: object, protocol: object) -> None:
    """Answers one request."""
    rows = np.array(json_codec.loads(await protocol())["instances"], dtype=np.float32)
    with torch.inference_mode():
        probabilities = model(torch.from_numpy(rows)).softmax(-1).numpy()
    answer = {"predictions": probabilities.argmax(-1), "probabilities": probabilities}
    protocol.response_bytes(200, HEADERS, json_codec.dumps(answer))
