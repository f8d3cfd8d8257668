"""`rollback` and `promote` on a running server, and the server's description of a model's training table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving import http_get, http_post, running, wait_until

from models.store import Store
from training.cli import main

pytestmark = pytest.mark.slow


def test_a_name_moves_with_rollback_and_promote_and_its_example_is_made_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"salary": rng.lognormal(10, 0.5, 200).round(2), "town": rng.choice(["Rome", "Oslo"], 200)})
    frame["y"] = np.where(frame.salary > 22_000, "high", "low")
    frame.to_csv(tmp_path / "pay.csv", index=False)
    store = Store(tmp_path / "store")
    at = ("--store", str(store.root))
    fit = ("fit", str(tmp_path / "pay.csv"), "--target", "y", "--engine", "numpy", "--epochs", "3", "--quiet", *at)
    assert [main(fit), main(fit)] == [0, 0]
    with running(store.root, tmp_path) as server:
        detail = http_get(f"{server.url}/models/pay").json()
        [row] = detail["example"]["instances"]
        assert row["town"] in ("Rome", "Oslo")
        assert row["salary"] not in set(frame.salary)

        def version() -> int:
            answer = http_post(f"{server.url}/predict", json=detail["example"])
            assert answer.status_code == 200, answer.text
            found: int = answer.json()["version"]
            return found

        assert version() == 2
        assert main(["rollback", "pay", *at]) == 0
        wait_until(lambda: version() == 1)
        assert main(fit) == 0
        assert http_post(f"{server.url}/models/refresh").status_code == 200
        assert version() == 1, "a published version waits until it is promoted"
        assert main(["promote", "pay@3", *at]) == 0
        wait_until(lambda: version() == 3)
