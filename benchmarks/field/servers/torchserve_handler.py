"""TorchServe: a handler with one forward pass per batch.

The handler returns bytes: TorchServe would write objects with `json.dumps(indent=2)`, which uses Python's slow encoder.
"""

import os

import orjson
import torch

from benchmarks.model import make_model


class Handler:
    """The handler."""

    def initialize(self, context: object) -> None:
        """Loads the model, once per worker."""
        torch.set_num_threads(1)
        self.model = make_model(os.environ["AXON_BENCH_MODEL"])

    @torch.inference_mode()
    def handle(self, data: list[dict], context: object) -> list[bytes]:
        """Answers one batch."""
        inputs = [torch.tensor(_instances(request.get("body") or request.get("data"))) for request in data]
        outputs = self.model(torch.cat(inputs)).softmax(-1).split([len(x) for x in inputs])
        for i in range(len(outputs)):
            context.set_response_content_type(i, "application/json")
        return [orjson.dumps({"predictions": y.argmax(-1).tolist(), "probabilities": y.tolist()}) for y in outputs]


def _instances(body: object) -> list[list[float]]:
    return (orjson.loads(body) if isinstance(body, bytes | bytearray) else body)["instances"]
