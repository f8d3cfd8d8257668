"""BentoML: a batchable service. A row of an answer is [class, probability, …].

One array is the answer that the dispatcher splits fastest; a list of objects measured 30 % slower. `max_latency_ms` is
not a waiting time but the latency above which the service refuses requests; with 50 it answers 503 under load.
"""

import os

import bentoml
import numpy as np
import torch

from benchmarks.model import make_model


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 1024},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class MLP:
    """The service."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.model = make_model(os.environ["AXON_BENCH_MODEL"])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=1024, max_latency_ms=10_000, route="/predict")
    @torch.inference_mode()
    def predict(self, instances: np.ndarray) -> np.ndarray:
        """Maps (rows, features) to (rows, 1 + classes)."""
        probabilities = self.model(torch.as_tensor(instances, dtype=torch.float32)).softmax(-1)
        return torch.cat([probabilities.argmax(-1, keepdim=True).float(), probabilities], -1).numpy()
