"""Two versions of a trained model, ten days of logged answers of the first, and the labels that came later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from models.answering import Answerer
from models.columns.encoding import NamedColumns, RowEncoder
from models.columns.unknown_texts import UnknownText
from models.prediction_log.folder import SPOOLS, new_spool
from models.prediction_log.logged_rows import EncodedRows, rows_record, version_record
from models.prediction_log.logged_version import LoggedVersion, logged_columns
from models.prediction_log.spool import MAGIC
from models.store import Store
from training.fit import fit

FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DAYS, ROWS_A_DAY = 10, 400
TOWNS = ("Ely", "Rye", "Åre")


@dataclass
class LoggedModel:
    """A log with its truth.

    Attributes:
        root: folder with `store`, `log` and `labels.csv`.
        table: logged rows: id, row, time, inputs, truth, and the answers `p0`, `p1` or `value`.
        name: name of the model.
    """

    root: Path
    table: pd.DataFrame
    name: str

    @property
    def log(self) -> Path:
        """Folder of the log."""
        return self.root / "log"

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.root / "store"

    @property
    def labels(self) -> Path:
        """File of labels."""
        return self.root / "labels.csv"


def people(rows: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    """Makes rows of people; `shift` moves the income, in standard deviations."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows).astype(float),
            "income": np.round(rng.normal(40_000 + 9_000 * shift, 9_000, rows)),
            "town": rng.choice(TOWNS, rows),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, rows), unit="D"),
        }
    )
    score = (frame["age"] - 50) / 15 + (frame["income"] - 40_000) / 9_000 + (frame["town"] == "Ely") - 0.3
    noise = rng.normal(size=rows)
    frame["left"] = np.where(score + noise > 0, "yes", "no")
    frame["spent"] = np.round(100 + 20 * score + 10 * noise, 2)
    return frame


def make_logged_model(root: Path, *, target: str = "left") -> LoggedModel:
    """Trains two versions, and logs ten days of the first.

    Args:
        root: folder of all files.
        target: `left` for classes, `spent` for values.
    """
    other = "spent" if target == "left" else "left"
    for seed in (0, 1):
        frame = people(1500, seed).drop(columns=other)
        fit(frame, target=target, name="people", epochs=8, hidden_sizes=(16,), seed=seed).publish(root / "store")
    return log_answers(root, target=target)


def log_answers(root: Path, *, target: str = "left", left_out: tuple[str, ...] = ()) -> LoggedModel:
    """Logs ten days of answers of version 1 in a folder with a store; in the last four days, incomes are higher.

    Args:
        root: folder of all files.
        target: `left` for classes, `spent` for values.
        left_out: columns that the log leaves out.
    """
    checkpoint = Store(root / "store").resolve("people@1").load().checkpoint
    days = [people(ROWS_A_DAY, 100 + day, shift=0.8 if day >= 6 else 0.0) for day in range(DAYS)]
    table = pd.concat(days, ignore_index=True)
    rows = len(table)
    table["time"] = FIRST_DAY + np.arange(rows) * (86_400 / ROWS_A_DAY)
    table["id"] = [f"r{at // 2}" for at in range(rows)]
    table["row"] = np.arange(rows) % 2
    answerer, schema = Answerer(checkpoint), checkpoint.schema
    given = {"age": table["age"].to_numpy(), "income": table["income"].to_numpy()}
    given |= {"town": table["town"].tolist(), "joined": table["joined"].to_numpy()}
    given["town"][5] = "Atlantis"
    table.loc[5, "town"] = "Atlantis"
    encoded = np.frombuffer(RowEncoder(schema).encode_any(NamedColumns(given, rows)), "<f4").reshape(rows, -1)
    answers = np.asarray(answerer.answer(encoded), dtype=np.float64)
    columns, places, _ = logged_columns(schema, left_out)
    version = LoggedVersion(
        name="people",
        version=1,
        digest=Store(root / "store").resolve("people@1").read_header()["digest"],
        columns=columns,
        left_out=len(left_out),
        target=schema.target,
        has_probabilities=target == "left",
    )
    if target == "left":
        assert version.labels == ("no", "yes")
        table["p0"], table["p1"] = answers[:, 0], answers[:, 1]
    else:
        table["value"] = answers[:, 0]
    (root / "log" / SPOOLS).mkdir(parents=True)
    for start in range(0, rows, 1000):
        some = slice(start, start + 1000)
        part = EncodedRows(
            times=table["time"].to_numpy()[some],
            request_ids=table["id"].tolist()[some],
            places=table["row"].to_numpy(np.int32)[some],
            asked=[None] * 1000,
            members=[None] * 1000,
            rows=encoded[some] if places is None else encoded[some][:, places],
            answers=(answers[some] - version.origin).astype(np.float32),
            unknown=[] if start else [UnknownText(5, [column.name for column in columns].index("town"), "Atlantis")],
        )
        path = new_spool(root / "log", f"api-{start}")
        path.write_bytes(MAGIC + version_record(0, version) + rows_record(0, part))
    return LoggedModel(root, table, "people")


def write_labels(model: LoggedModel, *, share: float = 0.6, target: str = "left") -> pd.DataFrame:
    """Writes the labels of some rows to `labels.csv`, in another order; returns the labelled rows."""
    some = model.table.sample(frac=share, random_state=3)
    out = some[["id", "row", target]].rename(columns={"id": "request_id"})
    out.to_csv(model.labels, index=False)
    return some.sort_index()
