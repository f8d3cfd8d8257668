"""Records an hour of load, sixty times as fast: python -m tests.deployment.record_load

A real server gets requests at random times, in numbers that follow a morning: a tenth of the traffic, then all of it at
once, later less, and a second peak. Each second stands for a minute. The file has the numbers of requests that the
server has answered in each quarter of a second, which stands for 15 s.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded_load.json"
SAMPLES = 240
STEP_SECONDS = 0.25  # stands for 15 s
_PEAK_PER_SECOND = 60.0
# From which minute on, which share of the peak arrives.
PROFILE = ((0, 0.1), (10, 1.0), (32, 0.35), (44, 0.7), (50, 0.1))


def share_at(minute: float) -> float:
    """Returns the share of the peak that arrives in a minute of the hour."""
    return next(share for begin, share in reversed(PROFILE) if minute >= begin)


def main() -> int:
    """Records the load into the file beside this program."""
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root), str(root / "tests")]
    from serving import http_client, make_store, metric_sum, running

    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(make_store(folder).root, folder) as server, http_client(base_url=server.url) as client:
            body = {"model": "colours", "instances": [[0.1, 0.2, 0.3, 0.4]]}
            started = time.monotonic()
            is_over = threading.Event()

            def arrive() -> None:
                with ThreadPoolExecutor(8) as senders:
                    while not is_over.is_set():
                        senders.submit(client.post, "/predict", json=body)
                        time.sleep(rng.expovariate(_PEAK_PER_SECOND * share_at(time.monotonic() - started)))

            arrivals = threading.Thread(target=arrive)
            arrivals.start()
            answered = []
            for number in range(SAMPLES + 1):
                time.sleep(max(0.0, started + number * STEP_SECONDS - time.monotonic()))
                answered.append(int(metric_sum(server, "axon_requests_total")))
            is_over.set()
            arrivals.join()
    requests = [after - before for before, after in pairwise(answered)]
    RECORDED.write_text(json.dumps(requests), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
