"""Ray Serve: one replica that batches requests: `ray_app.py PROXY_PORT`, 0 for any port."""

import os
import signal
import sys
import tempfile

import orjson
import ray
import torch
from pydantic import BaseModel
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.model import make_model
from benchmarks.process import free_port


class PredictRequest(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 1})
class MLP:
    """The replica. With the default of 5 ongoing requests there would never be a batch."""

    def __init__(self, model: str) -> None:
        torch.set_num_threads(1)
        self.model = make_model(model)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def infer(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Joins requests, computes one forward pass, and splits the answers again."""
        with torch.inference_mode():
            return list(self.model(torch.cat(inputs)).softmax(-1).split([len(x) for x in inputs]))

    async def __call__(self, request: Request) -> Response:
        """Answers one request."""
        body = PredictRequest.model_validate_json(await request.body())
        probabilities = await self.infer(torch.tensor(body.instances))
        answer = {"predictions": probabilities.argmax(-1).tolist(), "probabilities": probabilities.tolist()}
        return Response(orjson.dumps(answer), media_type="application/json")


if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        logging_level="warning",
        object_store_memory=256 * 2**20,
        _temp_dir=f"{tempfile.gettempdir()}/r",  # short, since the paths of sockets below it are long
        log_to_driver=False,
    )
    logging = {"log_level": "WARNING", "enable_access_log": False}
    port = int(sys.argv[1]) or free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=logging)
    serve.run(MLP.options(logging_config=logging).bind(os.environ["AXON_BENCH_MODEL"]), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
