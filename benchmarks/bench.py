"""`make bench`: Axon beside FastAPI, LitServe and two ceilings, in one run: same model, same payload, checked answers.

Axon is measured through each of its protocols: `/predict` with JSON and with Arrow, the Open Inference Protocol with
JSON, with binary tensors and over gRPC. A bare `grpc.aio` server that sends each message back is gRPC's ceiling.

Each round starts every server anew, in another order, checks its answers against torch, and loads it. A ratio is the
median over rounds of the ratio within a round, because the speed of a shared machine drifts. CPU seconds are those of a
server's whole process tree.

`--scaling` measures Axon alone, with one and two API processes and workers. `--cuda` measures Axon, FastAPI and
LitServe on a GPU, and Axon on the CPU beside them. `--before TREE` adds the Axon of another working tree (`git worktree
add`) to the run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.core import CORE, CUDA, FASTAPI_CUDA, PROTOCOLS, SCALING, axon
from benchmarks.goals import CORE_GOALS
from benchmarks.measure import WORKLOADS
from benchmarks.rounds import add_options, run

CUDA_WORKLOADS = ("tab-64", "mnist-64", "mnist-1", "bulk-8", "wide-64", "wide-1", "wide-bulk-8")
CPU_WORKLOADS = [name for name, workload in WORKLOADS.items() if workload.model != "wide"]
SCALING_WORKLOADS = ("tab-64", "mnist-64", "bulk-8")


def main(argv: list[str] | None = None) -> int:
    """Measures and prints the report; returns 1 if a server failed or answered wrongly, else 0."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, [*CORE, *PROTOCOLS, *CUDA, "axon-before"], CPU_WORKLOADS, warm_up=1.0)
    parser.add_argument("--scaling", action="store_true", help="Axon alone, with 1 and 2 API processes and workers")
    parser.add_argument("--cuda", action="store_true", help="on a GPU, with a wide network too")
    parser.add_argument("--before", type=Path, metavar="TREE", help="adds the Axon of another working tree")
    arguments = parser.parse_args(argv)
    if arguments.scaling:
        arguments.only = None
        arguments.workloads = [name for name in arguments.workloads if name in SCALING_WORKLOADS]
        return run(arguments, SCALING, (), next(iter(SCALING)), strict=True)
    if arguments.cuda:
        if arguments.workloads == CPU_WORKLOADS:
            arguments.workloads = list(CUDA_WORKLOADS)
        return run(arguments, CUDA, (), FASTAPI_CUDA.name, strict=True)
    peers = CORE | PROTOCOLS
    if arguments.before is not None:
        peers["axon-before"] = axon("axon-before", tree=arguments.before.resolve())
    elif "axon-before" in (arguments.only or ()):
        parser.error("axon-before needs --before TREE")
    return run(arguments, peers, CORE_GOALS, "fastapi", strict=True)


if __name__ == "__main__":
    sys.exit(main())
