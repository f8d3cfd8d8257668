"""KServe's Python server: `kserve_server.py HTTP_PORT [GRPC_PORT]`. Its default logs halve its speed."""

import json
import os
import sys
import tempfile
from pathlib import Path

PORT, GRPC_PORT = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
_QUIET = {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
_LOG = Path(tempfile.gettempdir(), "kserve-log.json")
_LOG.write_text(
    json.dumps(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stderr": {"class": "logging.StreamHandler"}},
            "loggers": dict.fromkeys(("kserve", "kserve.trace", "uvicorn", "uvicorn.access"), _QUIET),
        }
    )
)
# KServe reads the command line when it is imported.
sys.argv[1:] = ["--log_config_file", str(_LOG), "--enable_latency_logging", "false"]

import torch  # noqa: E402
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer  # noqa: E402

from benchmarks.model import make_model  # noqa: E402


class MLP(Model):
    """The model."""

    def __init__(self) -> None:
        super().__init__("mlp")
        torch.set_num_threads(1)
        self.model = make_model(os.environ["AXON_BENCH_MODEL"])
        self.ready = True

    async def predict(
        self, payload: dict | InferRequest, headers: object = None, response_headers: object = None
    ) -> dict | InferResponse:
        """Answers one request of the v1 protocol, or one over gRPC."""
        if isinstance(payload, InferRequest):
            return self._infer(payload)
        with torch.inference_mode():
            probabilities = self.model(torch.tensor(payload["instances"])).softmax(-1)
        return {"predictions": probabilities.argmax(-1).tolist(), "probabilities": probabilities.tolist()}

    def _infer(self, request: InferRequest) -> InferResponse:
        with torch.inference_mode():
            probabilities = self.model(torch.tensor(request.inputs[0].as_numpy())).softmax(-1)
        outputs = []
        for name, datatype, values in (
            ("predictions", "INT64", probabilities.argmax(-1)),
            ("probabilities", "FP32", probabilities),
        ):
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values.numpy(), binary_data=True)
            outputs.append(output)
        return InferResponse(request.id, self.name, outputs)


if __name__ == "__main__":
    server = ModelServer(
        http_port=PORT,
        grpc_port=GRPC_PORT or 0,
        enable_grpc=GRPC_PORT is not None,
        workers=1,
        enable_docs_url=False,
        enable_latency_logging=False,
        access_log_format=None,
    )
    server.start([MLP()])
