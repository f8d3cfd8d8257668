"""The cost of explanations for predictions: `python -m benchmarks.explanations`.

One client predicts rows, one at a time: alone, and while two others ask for explanations, round by round.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import threading
import time

import httpx

from benchmarks.core import axon
from benchmarks.model import make_rows
from benchmarks.process import MeasuredServer

_ROUNDS, _SECONDS, _ASKERS, _ROWS = 5, 2.0, 2, 16
_METRIC = re.compile(r"^axon_explained_rows_total\{.*\} (\S+)$", re.MULTILINE)


def main() -> int:
    """Prints the latencies of predictions, alone and beside explanations."""
    alone: list[float] = []
    beside: list[float] = []
    with MeasuredServer(axon(), "tab") as server:
        server.wait_until_it_answers(axon().wire.encode(make_rows("tab", 1)))
        url = server.url.removesuffix("/predict")
        for _ in range(_ROUNDS):
            alone += _latencies(url)
            stop = threading.Event()
            askers = [threading.Thread(target=_ask, args=(url, stop)) for _ in range(_ASKERS)]
            for asker in askers:
                asker.start()
            beside += _latencies(url)
            stop.set()
            for asker in askers:
                asker.join()
        time.sleep(1)
        explained = sum(map(float, _METRIC.findall(httpx.get(f"{url}/metrics").text)))
    report = {
        "alone": _quantiles(alone),
        "beside": _quantiles(beside),
        "explained_rows_per_second": round(explained / (_ROUNDS * _SECONDS), 1),
    }
    print(json.dumps(report, indent=2))
    return 0


def _latencies(url: str) -> list[float]:
    """Returns the times of predictions, one after the other, in milliseconds."""
    found: list[float] = []
    until, body = time.monotonic() + _SECONDS, {"model": "mlp", "instances": make_rows("tab", 1)}
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < until:
            began = time.perf_counter()
            client.post("/predict", json=body).raise_for_status()
            found.append(1000 * (time.perf_counter() - began))
    return found


def _ask(url: str, stop: threading.Event) -> None:
    """Asks for explanations until the event."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            client.post("/models/mlp/explain", json={"instances": make_rows("tab", _ROWS)}).raise_for_status()


def _quantiles(values: list[float]) -> dict[str, float]:
    """Returns the number of values and three of their percentiles."""
    cuts = statistics.quantiles(values, n=100)
    return {"requests": len(values)} | {f"p{part}_ms": round(cuts[part - 1], 2) for part in (50, 95, 99)}


if __name__ == "__main__":
    sys.exit(main())
