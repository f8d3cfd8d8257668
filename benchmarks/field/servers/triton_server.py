"""NVIDIA Triton through nvidia-pytriton, on the CPU: `triton_server.py HTTP_PORT GRPC_PORT`.

Batches of 64 make the server slower.
"""

import os
import sys
import sysconfig

# Triton's Python stub loads the first libpython that it finds, which has to be that of this interpreter.
os.environ["LD_LIBRARY_PATH"] = f"{sysconfig.get_config_var('LIBDIR')}:{os.environ.get('LD_LIBRARY_PATH', '')}"

import numpy as np
import torch
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

from benchmarks.model import LAYER_SIZES, make_model

if __name__ == "__main__":
    name = os.environ["AXON_BENCH_MODEL"]
    sizes = LAYER_SIZES[name]
    torch.set_num_threads(1)
    model = make_model(name)

    @batch
    @torch.inference_mode()
    def infer(x: np.ndarray) -> list[np.ndarray]:
        """Answers one batch."""
        probabilities = model(torch.from_numpy(np.ascontiguousarray(x))).softmax(-1)
        return [probabilities.argmax(-1, keepdim=True).numpy(), probabilities.numpy()]

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(sys.argv[1]),
        grpc_address="127.0.0.1",
        grpc_port=int(sys.argv[2]),
        allow_metrics=False,
        log_verbose=0,
        exit_on_error=True,
    )
    # Without a token, as Triton itself; perf_analyzer asks for the statistics.
    with Triton(config=config, security_config=TritonSecurityConfig(restricted_endpoints=[])) as triton:
        triton.bind(
            model_name="mlp",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.float32, shape=(sizes[0],))],
            outputs=[
                Tensor(name="predictions", dtype=np.int64, shape=(1,)),
                Tensor(name="probabilities", dtype=np.float32, shape=(sizes[-1],)),
            ],
            config=ModelConfig(max_batch_size=1024, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()
