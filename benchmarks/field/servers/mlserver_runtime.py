"""MLServer: a runtime over its NumPy codec; MLServer batches the requests."""

import os

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.model import make_model


class MLP(MLModel):
    """The runtime."""

    async def load(self) -> bool:
        """Loads the model, once."""
        torch.set_num_threads(1)
        self.model = make_model(os.environ["AXON_BENCH_MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one batch."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        with torch.inference_mode():
            probabilities = self.model(torch.as_tensor(rows, dtype=torch.float32)).softmax(-1)
        outputs = [
            NumpyCodec.encode_output("predictions", probabilities.argmax(-1).numpy()),
            NumpyCodec.encode_output("probabilities", probabilities.numpy()),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
