"""The cost of drift: the same server with and without drift, loaded by turns in one run.

    python -m benchmarks.drift [--rounds 40] [--seconds 1] [--models 300]
    python -m benchmarks.drift --steps

Prints the ratios of answers a second and of CPU seconds an answer, the longest holds of the event loop, and the memory
of the API process; with `--models`, the store has so many models, and each is asked for rows. `--steps` prints the CPU
time of the single steps instead.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.core import AXON
from benchmarks.load import Load, available_drivers, drive
from benchmarks.model import LAYER_SIZES, make_model, make_rows
from benchmarks.process import MeasuredServer
from benchmarks.wire import INSTANCES
from models.at_once import at_once
from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.distributions.evaluation import evaluate
from models.distributions.row_counter import RowCounter
from models.distributions.window import BLOCK_ROWS, Window
from models.network.config import MLPConfig
from models.store import Store
from service.batching.ticket import Span, Ticket
from service.drift.row_sample import RowSample, SampleBudget
from service.settings import Settings
from training.distributions import training_distributions

MODEL = "tab"
WORKLOADS = {"1x64": (1, 64), "64x8": (64, 8), "1x1": (1, 1)}  # rows of a request, connections
_TRAINING_ROWS = 2_000


def make_checkpoint() -> Checkpoint:
    """Returns the benchmark's model, with distributions of its columns."""
    sizes = LAYER_SIZES[MODEL]
    linears = [module for module in make_model(MODEL) if hasattr(module, "weight")]
    tensors = {
        f"layers.{i}.{part}": getattr(linear, part).detach().numpy()
        for i, linear in enumerate(linears)
        for part in ("weight", "bias")
    }
    columns = tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-4.0, maximum=4.0) for i in range(sizes[0]))
    checkpoint = Checkpoint(
        config=MLPConfig(layer_sizes=sizes),
        schema=Schema(columns=columns, target=ClassTarget(name="y", labels=tuple(range(sizes[-1])))),
        tensors=tensors,
    )
    x = np.random.default_rng(0).normal(size=(_TRAINING_ROWS, sizes[0])).astype(np.float32)
    answers = checkpoint.inference_network().answer(x).astype(np.float32)
    return replace(checkpoint, distributions=training_distributions(checkpoint.schema, x, answers, seed=0))


def publish(folder: Path, models: int) -> None:
    """Publishes `mlp`, and more models with the same content."""
    checkpoint, store = make_checkpoint(), Store(folder)
    for name in ("mlp", *(f"model-{number}" for number in range(models))):
        store.publish(name, checkpoint)


@dataclass(frozen=True)
class Turn:
    """One load run: answers a second, and CPU seconds of an answer."""

    rate: float
    cpu: float


def main() -> None:
    """Loads both servers by turns, and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--models", type=int, default=0, help="more models, each of which is asked for rows")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="[all]")
    parser.add_argument("--steps", action="store_true", help="only the CPU time of the single steps")
    parser.add_argument("--publish", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish is not None:
        publish(arguments.publish, arguments.models)
        return
    if arguments.steps:
        report_steps()
        return
    prepare = (
        "{bin}/python", "-m", "benchmarks.drift", "--models", str(arguments.models), "--publish", "{folder}/store",
    )  # fmt: skip
    on = replace(AXON, prepare=prepare, environment={**AXON.environment, "AXON_MODEL_CACHE": "1000"})
    off = replace(on, environment={**on.environment, "AXON_DRIFT": "false"})
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        servers = {name: stack.enter_context(MeasuredServer(peer, MODEL)) for name, peer in (("on", on), ("off", off))}
        for server in servers.values():
            server.wait_until_it_answers(INSTANCES.encode(make_rows(MODEL, 1)))
            ask_all(server, arguments.models)
        for name in arguments.workloads:
            rows, connections = WORKLOADS[name]
            message = INSTANCES.encode(make_rows(MODEL, rows))
            turns: dict[str, list[Turn]] = {which: [] for which in servers}
            for round_ in range(arguments.rounds + 1):
                for which in sorted(servers, reverse=bool(round_ % 2)):
                    server = servers[which]
                    load = Load(server.url, message, rows, connections)
                    before = server.cpu_seconds()
                    result = drive(available_drivers()[0], load, arguments.seconds, Path(folder))
                    if round_:  # the first round warms up
                        cpu = (server.cpu_seconds() - before) / result.answers
                        turns[which].append(Turn(result.answers / result.seconds, cpu))
            report(name, turns)
        for which, server in servers.items():
            api = server.memory()["api-0"]
            print(f"drift {which}: API process {api.private:.1f} MiB of its own; longest hold {hold(server):.4f} s")
        print(json.dumps(drift_of(servers["on"])["last"]))


def ask_all(server: MeasuredServer, models: int) -> None:
    """Asks each model for some rows, so that each has windows."""
    rows = np.random.default_rng(1).normal(size=(300, LAYER_SIZES[MODEL][0])).tolist()
    for number in range(models):
        body = json.dumps({"model": f"model-{number}", "instances": rows}).encode()
        urllib.request.urlopen(urllib.request.Request(server.url, body, {"content-type": "application/json"})).close()


def report(workload: str, turns: dict[str, list[Turn]]) -> None:
    """Prints the ratios of a workload: the median over the rounds, with the quartiles."""
    rates = [on.rate / off.rate for on, off in zip(turns["on"], turns["off"], strict=True)]
    cpus = [on.cpu / off.cpu for on, off in zip(turns["on"], turns["off"], strict=True)]
    print(f"{workload}: {statistics.median(one.rate for one in turns['on']):,.0f} answers/s with drift")
    for name, ratios in (("answers/s", rates), ("CPU s an answer", cpus)):
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {name}, with over without: {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)
    quiet = {which: statistics.mean(sorted(one.cpu for one in some)[: len(some) // 5]) for which, some in turns.items()}
    print(f"  CPU s an answer in the cheapest fifth of the turns: {quiet['on'] / quiet['off']:.3f}", flush=True)


def report_steps() -> None:
    """Prints the CPU time of the single steps, which other work on the machine disturbs less than whole servers.

    The least time of many is printed. Sampling is bounded, so the last line bounds the cost of drift under any load.
    """
    width = LAYER_SIZES[MODEL][0]
    checkpoint = make_checkpoint()
    distributions = checkpoint.distributions
    assert distributions is not None
    counter = RowCounter(checkpoint.schema, distributions)
    window = Window(0, counter.slots)
    rows = np.random.default_rng(1).normal(size=(BLOCK_ROWS[0], width)).astype(np.float32)
    answers = checkpoint.inference_network().answer(rows).astype(np.float32)
    counts = counter.count(rows, answers)
    window.add(counts, len(rows))
    steps: dict[str, Callable[[], object]] = {
        "count 100 rows": lambda: counter.count(rows, answers),
        "add them to the window": lambda: window.add(counts, len(rows)),
        "evaluate the window": lambda: at_once(evaluate(counter, distributions, window.snapshot())),
    }
    for requests in (1, 16):
        sample = RowSample(width, _NoLimit(1e9), lambda: None)
        spans: list[Span] = [(_Asked(rows[:1]), 0, 1) for _ in range(requests)]
        steps[f"take {requests} row(s) of as many requests"] = partial(_take, sample, spans, answers[:requests])
    times = {name: min(_cpu_seconds(step) for _ in range(300)) for name, step in steps.items()}
    for name, seconds in times.items():
        print(f"{name}: {1e6 * seconds:.1f} µs")
    rate = int(Settings.model_fields["drift_rows_per_second"].default)
    counting = rate / 100 * (times["count 100 rows"] + times["add them to the window"])
    alone = rate * times["take 1 row(s) of as many requests"]
    print(f"{rate} rows a second, each taken alone: {100 * (counting + alone):.2f} % of a core")


class _NoLimit(SampleBudget):
    """A budget that is never spent."""

    def cells(self, now: float) -> float:
        """Returns the number of cells that may be taken now."""
        return 1e9


class _Asked(Ticket):
    """A request with one row."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        super().__init__()
        self.data, self.rows = rows.tobytes(), len(rows)


def _take(sample: RowSample, spans: list[Span], answers: NDArray[np.float32]) -> None:
    sample.pending.clear()
    sample.pending_cells = 0
    sample.take(spans, answers, time.monotonic())


def _cpu_seconds(step: Callable[[], object], times: int = 20) -> float:
    began = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - began) / times


def hold(server: MeasuredServer) -> float:
    """Returns the longest hold of the event loop in the last minute or two, in seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        text = answer.read().decode()
    return max(map(float, re.findall(r"^axon_event_loop_longest_hold_seconds\{.*\} (\S+)$", text, re.MULTILINE)))


def drift_of(server: MeasuredServer) -> dict[str, object]:
    """Returns the drift of the loaded model, which shows that rows were counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/models/mlp/drift") as answer:
        found: dict[str, object] = json.load(answer)
    return found


if __name__ == "__main__":
    main()
