"""Ray Data with a torch model, in the style of the documentation of Ray: `ray_torch.py WEIGHTS SOURCE OUT SCRATCH`.

`benchmarks.score` starts this file in an environment with Ray, and counts the CPU time of all its processes.
"""

import sys
from pathlib import Path

import numpy as np
import ray
import ray.data
import torch
from torch import nn

COLUMNS = [f"x{i}" for i in range(30)]
LABELS = np.array(["no", "yes"])
BATCH_ROWS = 1 << 14


class Network:
    """The network 30-128-64-2 of an actor."""

    def __init__(self, weights: str) -> None:
        torch.set_num_threads(1)
        self.module = nn.Sequential(
            nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2), nn.Softmax(dim=1)
        )
        self.module.load_state_dict(torch.load(weights, weights_only=True))
        self.module.eval()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the answers to a batch, with the rows' `id`."""
        rows = torch.from_numpy(np.stack([batch[name] for name in COLUMNS], axis=1))
        with torch.inference_mode():
            probabilities = self.module(rows).numpy()
        return {
            "id": batch["id"],
            "prediction": LABELS[probabilities.argmax(axis=1)],
            **{f"probability {label}": probabilities[:, place] for place, label in enumerate(LABELS)},
        }


def main() -> None:
    """Answers a Parquet file with one actor and writes the answers to a folder."""
    weights, source, out, scratch = sys.argv[1:]
    ray.init(
        address="local",
        num_cpus=2,  # the actor, and a task that reads or writes
        object_store_memory=1_000_000_000,
        include_dashboard=False,
        logging_level="warning",
        log_to_driver=False,
        _temp_dir=scratch,
    )
    try:
        rows = ray.data.read_parquet(source, columns=["id", *COLUMNS])
        answers = rows.map_batches(
            Network,
            fn_constructor_args=(weights,),
            batch_size=BATCH_ROWS,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        answers.write_parquet(Path(out).absolute().as_uri())
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
