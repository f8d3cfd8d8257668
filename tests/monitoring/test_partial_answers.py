"""`axon monitor` leaves out the rows that a part of an ensemble answered, and says how many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_logs import log_rows

from models.errors import DataError
from monitoring.monitor import LabelSource, monitor
from monitoring.selection import Selection


def test_rows_of_some_members_are_left_out_of_the_metrics(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    answers, truth, partial = rng.integers(0, 2, (3, 400))
    partial[:100] = 1  # a spool of such rows alone
    answers[partial == 1] = 1 - truth[partial == 1]
    for some in (slice(0, 100), slice(100, 400)):
        members = [2 if one else None for one in partial[some].tolist()]
        log_rows(tmp_path / "log", list(range(400))[some], answers[some].tolist(), members=members)
    labels = pd.DataFrame({"id": range(400), "left": np.array(["no", "yes"])[truth]})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    source = LabelSource(path=tmp_path / "labels.csv", on="id")
    report = monitor(Selection(folder=tmp_path / "log"), source, store=tmp_path / "nowhere", by="all")
    [version] = report.versions
    assert version.labelled is not None
    assert report.rows == report.labelled_rows == (partial == 0).sum()
    assert version.labelled.metrics()["accuracy"] == (answers == truth)[partial == 0].mean()
    assert f"{partial.sum():,} rows were answered by a part of an ensemble, and are left out." in report.remarks
    assert not any("belong to no row" in remark for remark in report.remarks)


def test_a_log_of_such_rows_alone_is_refused(tmp_path: Path) -> None:
    log_rows(tmp_path / "log", [1, 2], [0, 1], members=[1, 2])
    with pytest.raises(DataError, match="all 2 chosen rows were answered by a part of an ensemble"):
        monitor(Selection(folder=tmp_path / "log"), LabelSource(), store=tmp_path / "nowhere", by="all")
