"""Pipelines of scikit-learn: gaps, unknown and dropped categories have the same meaning in Axon."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PassiveAggressiveRegressor,
    Perceptron,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

import axon
from axon.model import Model
from conversion.importing.imported_model import ImportRefused
from conversion.importing.sample_rows import sample_places
from models.columns.schema import CategoricalColumn, NumericColumn
from models.errors import RowError
from models.store import Store

GENERATOR = np.random.default_rng(5)
COUNT = 400
FRAME = pd.DataFrame(
    {
        "age": np.where(GENERATOR.random(COUNT) < 0.1, np.nan, GENERATOR.normal(40, 12, COUNT)),
        "year": GENERATOR.integers(1950, 2020, COUNT).astype(float),
        "city": GENERATOR.choice(
            np.array(["Rome", "Oslo", "Lima", "Bonn"], dtype=object), COUNT, p=[0.5, 0.3, 0.18, 0.02]
        ),
        "grade": GENERATOR.integers(1, 4, COUNT),
        "member": GENERATOR.random(COUNT) < 0.5,
    }
)
GAPPY = FRAME.assign(city=FRAME.city.where(GENERATOR.random(COUNT) > 0.1, np.nan))
BUYS = (FRAME.age.fillna(40) / 10 + 2 * (FRAME.city == "Rome") - FRAME.grade + GENERATOR.normal(0, 1, COUNT)) > 3


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path / "store")


def published(store: Store, model: Any, x: Any, y: Any, **arguments: Any) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations, unknown categories
        model.fit(x, y)
    return axon.load(str(axon.publish(model, name="m", store=store, **arguments)), store=store)


def assert_alike(imported: Model, model: Any, rows: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(imported.predict_proba(rows), model.predict_proba(rows), atol=1e-6, rtol=0)
        assert imported.predict(rows) == model.predict(rows).tolist()


def column(imported: Model, name: str) -> Any:
    return imported.checkpoint.schema.columns[imported.columns.index(name)]


ENCODERS = {
    "ignore": OneHotEncoder(handle_unknown="ignore"),
    "dropped": OneHotEncoder(handle_unknown="ignore", drop="first"),
    "infrequent": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30),
    "infrequent dropped": OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=2, drop="first"),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-3, encoded_missing_value=-2),
    "imputed": make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
    "filled": make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
    ),
    "flagged": make_pipeline(
        SimpleImputer(strategy="most_frequent", add_indicator=True), OneHotEncoder(handle_unknown="ignore")
    ),
    "filled after": make_pipeline(
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9), SimpleImputer(strategy="median")
    ),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_takes_known_unknown_and_missing_categories_as_scikit_learn_does(store: Store, name: str) -> None:
    model = make_pipeline(ColumnTransformer([("city", ENCODERS[name], ["city"])]), LogisticRegression())
    imported = published(store, model, GAPPY, BUYS)
    assert imported.columns == ("city",)  # the others are dropped
    rows = GAPPY.head(6).assign(city=np.array(["Rome", "Oslo", "Lima", "Bonn", "Paris", np.nan], dtype=object))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_alike(imported, model, rows)


@pytest.mark.parametrize("steps", [[], [SimpleImputer(missing_values=None, strategy="most_frequent")]])
def test_none_can_be_the_mark_of_a_gap(store: Store, steps: list[Any]) -> None:
    cells = np.where(GAPPY.city.isna(), None, GAPPY.city)
    x = pd.DataFrame({"city": pd.Series(cells, dtype=object)})
    model = make_pipeline(*steps, OneHotEncoder(), LogisticRegression())
    imported = published(store, model, x, BUYS)
    assert_alike(imported, model, x)


def with_none(fill: SimpleImputer) -> tuple[pd.DataFrame, Any]:
    cells = np.where(GAPPY.city.isna(), None, GAPPY.city)
    encoder = make_pipeline(fill, OneHotEncoder(handle_unknown="ignore"))
    return pd.DataFrame({"city": pd.Series(cells, dtype=object)}), make_pipeline(encoder, LogisticRegression())


def test_none_that_an_imputer_of_nan_lets_pass_is_a_category(store: Store) -> None:
    x, model = with_none(SimpleImputer(strategy="constant", fill_value="nowhere"))
    assert_alike(published(store, model, x, BUYS, rows=x), model, x)


def test_gaps_of_two_kinds_are_refused(store: Store) -> None:
    x, model = with_none(SimpleImputer(strategy="most_frequent"))
    with pytest.raises(ImportRefused, match=r"two kinds of gaps in column 'city': nan.*and None.*write nan for both"):
        published(store, model, x, BUYS)


def test_what_scikit_learn_refuses_is_refused(store: Store) -> None:
    steps = make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), ["year"]))
    model = make_pipeline(steps, LogisticRegression())
    imported = published(store, model, FRAME, BUYS)
    rows = FRAME.head(1)
    assert_alike(imported, model, rows)
    for name, cell in (("city", "Paris"), ("city", None), ("year", np.nan)):
        changed = rows.assign(**{name: pd.Series([cell], dtype=object if name == "city" else float)})
        with pytest.raises(ValueError, match=r"unknown|NaN"):
            model.predict(changed)
        with pytest.raises(RowError, match=name):
            imported.predict(changed)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32, np.float64])
@pytest.mark.parametrize("handle_unknown", ["ignore", "error"])
def test_an_unknown_number_is_unknown_also_beside_the_greatest_of_its_type(
    store: Store, dtype: Any, handle_unknown: Any
) -> None:
    known = [0, {np.uint8: 255, np.int8: 127, np.float32: 2**24, np.float64: 2**53}[dtype]]
    x = pd.DataFrame({"mask": np.resize(np.array(known, dtype=dtype), len(BUYS))})
    model = make_pipeline(OneHotEncoder(handle_unknown=handle_unknown), LogisticRegression())
    imported = published(store, model, x, BUYS)
    assert_alike(imported, model, x.head(4))
    other = pd.DataFrame({"mask": np.array([7], dtype=dtype)})
    if handle_unknown == "ignore":
        assert_alike(imported, model, other)
        return
    with pytest.raises(RowError, match=r"7(\.0)? is not a category of this column"):
        imported.predict(other)


def test_numbers_and_truth_values_can_be_categories(store: Store) -> None:
    steps = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["grade", "member"]))
    model = make_pipeline(steps, LogisticRegression())
    imported = published(store, model, FRAME, BUYS)
    assert column(imported, "grade").categories == ("1", "2", "3")
    assert column(imported, "member").categories == ("false", "true")
    assert_alike(imported, model, FRAME)


@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize(("strategy", "fill"), [("mean", None), ("median", None), ("constant", -7.0)])
def test_a_gap_among_numbers_is_what_the_imputer_says(
    store: Store, strategy: Any, fill: Any, add_indicator: bool
) -> None:
    imputer = SimpleImputer(strategy=strategy, fill_value=fill, add_indicator=add_indicator)
    model = make_pipeline(imputer, MinMaxScaler(), MLPClassifier((8,), max_iter=50, random_state=0))
    imported = published(store, model, FRAME[["age", "year"]], BUYS)
    assert column(imported, "age").missing == ("indicator" if add_indicator else "mean")
    assert_alike(imported, model, FRAME[["age", "year"]])
    assert_alike(imported, model, pd.DataFrame({"age": [np.nan, 30.0], "year": [np.nan, 1960.0]}))


def test_a_gap_may_mean_two_values(store: Store) -> None:
    both = FeatureUnion([("mean", SimpleImputer()), ("low", SimpleImputer(strategy="constant", fill_value=-1))])
    model = make_pipeline(both, StandardScaler(), LogisticRegression())
    imported = published(store, model, FRAME[["age"]], BUYS)
    assert column(imported, "age").missing == "indicator"
    assert_alike(imported, model, FRAME[["age"]])


def test_an_indicator_alone_takes_no_new_gaps(store: Store) -> None:
    steps = FeatureUnion([("filled", SimpleImputer()), ("gaps", MissingIndicator())])
    model = make_pipeline(steps, LogisticRegression(max_iter=1000))
    imported = published(store, model, FRAME[["age", "year"]], BUYS)
    assert_alike(imported, model, FRAME[["age", "year"]])
    with pytest.raises(RowError, match="year"):
        imported.predict(pd.DataFrame({"age": [1.0], "year": [np.nan]}))


def test_a_year_keeps_its_digits(store: Store) -> None:
    year = FRAME[["year"]].to_numpy() + 1e6  # 32-bit numbers have a step of 0.06 there
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e6, max_iter=5000))
    imported = published(store, model, year + GENERATOR.random(year.shape), year[:, 0] > 1e6 + 1985, columns=["year"])
    assert column(imported, "year").origin == pytest.approx(1e6 + 1985, abs=10)
    rows = year + GENERATOR.random(year.shape)
    np.testing.assert_allclose(imported.predict_proba(rows), model.predict_proba(rows), atol=1e-6, rtol=0)


def test_values_far_from_zero_keep_their_digits(store: Store) -> None:
    value = 1e7 + FRAME.year / 100
    model = LinearRegression()
    imported = published(store, model, FRAME[["year"]] - 1985, value)
    rows = FRAME[["year"]] - 1985
    difference = np.abs(np.array(imported.predict(rows)) - model.predict(rows)).max()
    assert difference <= 1e-5 * float(model.predict(rows).std())


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, 7], [1.0, 2.0]])
def test_labels_keep_their_type(store: Store, labels: list[Any]) -> None:
    model = make_pipeline(StandardScaler(), Perceptron())
    y = np.array(labels)[BUYS.to_numpy().astype(int)]
    imported = published(store, model, FRAME[["year", "grade"]], y, target="buys")
    answers = imported.predict(FRAME[["year", "grade"]])
    assert answers == model.predict(FRAME[["year", "grade"]]).tolist()
    assert imported.classes == tuple(labels)
    assert {type(answer) for answer in answers} <= {type(label) for label in labels}
    assert imported.target == "buys"


def test_equal_scores_choose_the_class_that_scikit_learn_chooses(store: Store) -> None:
    model = Perceptron().fit([[-1.0], [1.0]], ["a", "b"])
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([0.0])
    imported = axon.load(str(axon.publish(model, name="m", store=store)), store=store)
    rows = [[-1.0], [0.0], [1.0]]
    assert imported.predict(rows) == model.predict(rows).tolist() == ["a", "a", "b"]


def test_one_against_the_rest_has_scikit_learns_probabilities(store: Store) -> None:
    y = np.array(["a", "b", "c"])[FRAME.grade - 1]
    x = FRAME[["grade", "year"]] + GENERATOR.normal(0, 1, (COUNT, 2))
    model = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))
    imported = published(store, model, x, y)
    assert_alike(imported, model, x)


def test_equal_probabilities_that_hide_the_originals_label_are_told(store: Store) -> None:
    x = GENERATOR.normal(size=(COUNT, 2))
    model = SGDClassifier(loss="log_loss", random_state=0).fit(x, GENERATOR.integers(3, size=COUNT))
    model.coef_, model.intercept_ = np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 0.0]]), np.array([50.0, 60.0, -9.0])
    assert set(model.predict(x)) == {1}  # a score of 60, and 50 for class 0: both probabilities are 1/2
    np.testing.assert_array_equal(model.predict_proba(x)[:, 0], model.predict_proba(x)[:, 1])
    with pytest.warns(
        UserWarning, match=r"another label than the original in 1000 of 1000 compared rows.*: 0, and the"
    ):
        version = axon.publish(model, name="m", store=store)
    imported = axon.load(str(version), store=store)
    np.testing.assert_allclose(imported.predict_proba(x), model.predict_proba(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [SGDRegressor, PassiveAggressiveRegressor])
def test_a_regressor_that_was_made_sparse_is_taken(store: Store, kind: Any) -> None:
    x = GENERATOR.normal(size=(COUNT, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PassiveAggressiveRegressor is deprecated
        model = kind(random_state=0).fit(x, x @ [1.0, 2.0, 3.0])
    expected = model.predict(x)
    imported = axon.load(str(axon.publish(model.sparsify(), name="m", store=store)), store=store)
    np.testing.assert_allclose(imported.predict(x), expected, atol=1e-5 * expected.std(), rtol=0)


def test_the_users_rows_describe_the_columns(store: Store) -> None:
    model = Ridge().fit(FRAME[["year", "grade"]].to_numpy(), FRAME.year)
    version = axon.publish(model, name="m", store=store, rows=FRAME[["year", "grade"]], columns=["year", "grade"])
    first = axon.load(str(version), store=store).checkpoint.schema.columns[0]
    assert isinstance(first, NumericColumn)
    assert (first.minimum, first.maximum) == (FRAME.year.min(), FRAME.year.max())
    assert first.mean == pytest.approx(FRAME.year.mean())


def test_truth_values_that_count_as_numbers_are_taken_with_rows(store: Store) -> None:
    x = FRAME[["member", "year"]]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    imported = published(store, model, x, BUYS, rows=x)
    assert column(imported, "member").categories == ("false", "true")
    assert_alike(imported, model, x)


def test_a_row_of_the_users_that_the_model_refuses_is_named(store: Store) -> None:
    model = LogisticRegression().fit(FRAME[["year"]], BUYS)
    rows = FRAME[["year"]].copy()
    rows.loc[17, "year"] = np.nan
    with pytest.raises(RowError, match="row 17, column 'year': the value is missing"):
        axon.publish(model, name="m", store=store, rows=rows)


def test_columns_of_a_matrix_are_numbered_or_named(store: Store) -> None:
    model = LogisticRegression().fit(FRAME[["year", "grade"]].to_numpy() - [1985, 2], BUYS)
    assert axon.load(str(axon.publish(model, name="m", store=store)), store=store).columns == ("x0", "x1")
    named = axon.publish(model, name="m", store=store, columns=["year", "grade"])
    assert axon.load(str(named), store=store).columns == ("year", "grade")


def test_a_matrix_with_texts_is_taken_by_position(store: Store) -> None:
    steps = ColumnTransformer(
        [("scaled", StandardScaler(), slice(1, 2)), ("flags", OneHotEncoder(handle_unknown="ignore"), [2, -1])],
        remainder="drop",
    )
    model = make_pipeline(steps, LogisticRegression())
    imported = published(store, model, FRAME.to_numpy(dtype=object), BUYS, columns=list(FRAME))
    assert imported.columns == ("year", "city", "member")
    assert isinstance(column(imported, "city"), CategoricalColumn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model.predict_proba(FRAME.to_numpy(dtype=object))
    np.testing.assert_allclose(imported.predict_proba(FRAME), expected, atol=1e-6, rtol=0)


def test_steps_may_be_nested_and_pass_through(store: Store) -> None:
    inner = make_column_transformer((StandardScaler(), ["year"]), remainder="passthrough")
    model = make_pipeline(
        SimpleImputer().set_output(transform="pandas"), inner, SelectKBest(k=2), "passthrough", LogisticRegression()
    )
    imported = published(store, model, FRAME[["age", "year", "grade"]], BUYS)
    assert_alike(imported, model, FRAME[["age", "year", "grade"]])


FIRST_STEPS = {
    "passthrough": lambda: ["passthrough"],
    "passthrough twice": lambda: ["passthrough", "passthrough"],
    "a pipeline": lambda: [make_pipeline("passthrough", StandardScaler())],
    "a union": lambda: [FeatureUnion([("none", "drop"), ("scaled", StandardScaler())])],
    "a union in a pipeline": lambda: [
        make_pipeline("passthrough"),
        FeatureUnion([("none", "drop"), ("scaled", make_pipeline("passthrough", StandardScaler()))]),
    ],
    "a union of all": lambda: [FeatureUnion([("as they are", "passthrough"), ("none", "drop")])],
}


@pytest.mark.parametrize("is_frame", [False, True])
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_the_first_step_may_be_a_word(store: Store, name: str, is_frame: bool) -> None:
    x = FRAME[["year", "grade"]]
    model = make_pipeline(*FIRST_STEPS[name](), StandardScaler(), LogisticRegression())
    imported = published(store, model, x if is_frame else x.to_numpy(), BUYS)
    assert imported.columns == (("year", "grade") if is_frame else ("x0", "x1"))
    rows = x if is_frame else x.to_numpy()
    np.testing.assert_allclose(imported.predict_proba(rows), model.predict_proba(rows), atol=1e-6, rtol=0)


def test_a_pipeline_that_is_not_fitted_is_refused(store: Store) -> None:
    for first in ("passthrough", FeatureUnion([("none", "drop"), ("scaled", StandardScaler())])):
        with pytest.raises(ImportRefused, match="the Pipeline is not fitted"):
            axon.publish(make_pipeline(first, LogisticRegression()), name="m", store=store)


def test_identity_functions_pass(store: Store) -> None:
    model = make_pipeline(FunctionTransformer(), StandardScaler(), LogisticRegression())
    imported = published(store, model, FRAME[["year"]], BUYS)
    assert_alike(imported, model, FRAME[["year"]])


def test_the_checkpoint_tells_the_origin(store: Store) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    imported = published(store, model, FRAME[["year"]], BUYS)
    training = imported.checkpoint.training
    assert training["imported_from"] == "sklearn.Pipeline"
    assert "StandardScaler" in training["original"]
    assert set(training["versions"]) == {"scikit-learn"}
    assert imported.checkpoint.data["compared_rows"] == 1_000


@pytest.mark.parametrize(("given", "compared"), [(3, 1_000), (1_500, 1_500), (12_000, 10_000)])
def test_all_rows_of_a_sample_are_compared_up_to_a_limit(given: int, compared: int) -> None:
    places = sample_places(given)
    assert len(places) == compared
    assert len(set(places)) == min(given, compared)


def test_an_alias_can_be_pointed_at_the_version(store: Store) -> None:
    model = LogisticRegression().fit(FRAME[["year"]] - 1985, BUYS)
    version = axon.publish(model, name="m", store=store, alias="candidate")
    assert store.resolve("m@candidate") == version
