"""Steps of small networks, by NumPy's calls and by torch's: where one overtakes the other.

    python -m benchmarks.training.small_steps

`training/engines/small_pass.py` takes its limit from here.
"""

from __future__ import annotations

import time
from unittest.mock import patch

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.training.contestants import plain_config
from training.engines import trainer as trainer_module
from training.engines.engine import Matrices
from training.engines.trainer import Trainer

_STEPS = 200
_ROUNDS = 5


def main() -> None:
    """Prints the CPU microseconds of a step for each width and batch size."""
    torch.set_num_threads(1)
    print(f"{'width':>6}{'batch':>7}{'cells':>9}  {'BatchNorm':<10}{'NumPy':>8}{'torch':>8}  NumPy over torch")
    with threadpool_limits(limits=1):
        for normalization in ("batch", "none"):
            for width in (16, 64, 128, 256):
                for batch in (32, 128, 512):
                    ways = [_trainer(width, batch, normalization, by_numpy=by_numpy) for by_numpy in (True, False)]
                    times = np.median([[_microseconds(way) for way in ways] for _ in range(_ROUNDS)], axis=0)
                    cells = f"{width:>6}{batch:>7}{width * batch:>9}  {normalization:<10}"
                    print(f"{cells}{times[0]:>8.0f}{times[1]:>8.0f}  {times[1] / times[0]:.2f} ×", flush=True)


def _trainer(width: int, batch: int, normalization: str, *, by_numpy: bool) -> Trainer:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((_STEPS * batch, 16), dtype=np.float32), rng.integers(3, size=_STEPS * batch)
    dropout = 0.2 if normalization == "batch" else 0.0
    config = plain_config(
        hidden_sizes=(width, width), normalization=normalization, dropout=dropout, batch_size=batch, epochs=100
    )
    data = Matrices(x=x, y=y, validation_x=x[:1], validation_y=y[:1])
    with patch.object(trainer_module, "is_small", lambda config, rows: by_numpy):
        return Trainer(config, config.architecture(in_features=16, out_features=3), data, device=torch.device("cpu"))


def _microseconds(trainer: Trainer) -> float:
    begun = time.process_time()
    trainer.epoch()
    return (time.process_time() - begun) / _STEPS * 1e6


if __name__ == "__main__":
    main()
