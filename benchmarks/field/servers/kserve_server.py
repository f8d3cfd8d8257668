"""KServe's Python server, v1 protocol: `kserve_server.py PORT`. Its default logs halve its speed."""

import json
import os
import sys
import tempfile
from pathlib import Path

PORT = int(sys.argv[1])
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
from kserve import Model, ModelServer  # noqa: E402

from benchmarks.model import make_model  # noqa: E402


class MLP(Model):
    """The model."""

    def __init__(self) -> None:
        super().__init__("mlp")
        torch.set_num_threads(1)
        self.model = make_model(os.environ["AXON_BENCH_MODEL"])
        self.ready = True

    async def predict(self, payload: dict, headers: object = None, response_headers: object = None) -> dict:
        """Answers one request."""
        with torch.inference_mode():
            probabilities = self.model(torch.tensor(payload["instances"])).softmax(-1)
        return {"predictions": probabilities.argmax(-1).tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    server = ModelServer(
        http_port=PORT,
        enable_grpc=False,
        workers=1,
        enable_docs_url=False,
        enable_latency_logging=False,
        access_log_format=None,
    )
    server.start([MLP()])
