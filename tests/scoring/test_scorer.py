"""`axon.Scorer`: the same answers for every kind of batch, in threads, in other processes, and in Spark's contract."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scored_tables import MIXED, NUMBERS, make_store
from serving import make_checkpoint

import axon
from models.errors import ConfigError, DataError, ModelNotFound, RowError, StoreError


@pytest.fixture(scope="module")
def scorer(store):
    return axon.Scorer("numbers", store, keep=["id"])


@pytest.fixture(scope="module")
def answers(scorer, numbers):
    return scorer(numbers)


def test_the_answers_are_those_of_a_loaded_model(store, numbers, answers):
    model = axon.load("numbers", store)
    table = numbers.slice(0, 2_000)
    assert answers["prediction"][:2_000].to_pylist() == model.predict(table)
    found = np.stack([answers[f"probability {label}"][:2_000].to_numpy() for label in model.classes], axis=1)
    np.testing.assert_allclose(found, model.predict_proba(table), rtol=1e-5, atol=1e-7)


def test_each_kind_of_batch_has_the_same_answers_of_its_own_kind(scorer, numbers, answers):
    table = numbers.slice(100, 20_000)
    wanted = answers.slice(100, 20_000)
    (batch,) = table.combine_chunks().to_batches()
    answered = scorer(batch)
    assert isinstance(answered, pa.RecordBatch)
    assert pa.Table.from_batches([answered]).equals(wanted)
    frame = table.to_pandas().set_index(np.arange(20_000) * 7)
    answered = scorer(frame)
    assert answered.index.equals(frame.index)
    pd.testing.assert_frame_equal(answered.reset_index(drop=True), wanted.to_pandas())
    arrays = scorer({name: table[name].to_numpy() for name in table.column_names})
    assert list(arrays) == wanted.column_names
    assert all(type(array) is np.ndarray for array in arrays.values())
    for name in wanted.column_names:
        assert arrays[name].tolist() == wanted[name].to_pylist()


def test_no_rows_have_answers_of_the_same_types(scorer, numbers, answers):
    nothing = numbers.slice(0, 0)
    assert scorer(nothing).schema == answers.schema
    assert scorer(nothing.to_pandas()).dtypes.equals(answers.to_pandas().dtypes)
    arrays = scorer({name: nothing[name].to_numpy() for name in nothing.column_names})
    assert {name: array.dtype for name, array in arrays.items()} == {
        name: answers[name].to_numpy().dtype for name in answers.column_names
    }
    assert scorer.schema.names == answers.column_names[1:]


def test_columns_of_all_kinds_have_the_same_answers_in_every_batch(store, mixed):
    scorer = axon.Scorer("mixed", store)
    wanted = scorer(mixed)["prediction"].to_pylist()
    with pytest.warns(UserWarning, match="town"):
        np.testing.assert_allclose(wanted, axon.load("mixed", store).predict(mixed), rtol=0, atol=1e-5)
    frame = mixed.to_pandas()
    assert scorer(frame)["prediction"].tolist() == wanted
    frame = frame.astype({"town": "category"}).assign(joined=pd.to_datetime(frame["joined"]))
    assert scorer(frame)["prediction"].tolist() == wanted
    assert scorer({name: frame[name].to_numpy() for name in frame.columns})["prediction"].tolist() == wanted
    dictionary = mixed.set_column(5, "town", mixed["town"].dictionary_encode())
    assert scorer(dictionary)["prediction"].to_pylist() == wanted


def test_sparks_contract_an_iterator_of_record_batches_gives_one(scorer, numbers, answers):
    """Calls a scorer as `mapInArrow` does: an iterator comes and one goes back, with batches of a declared schema."""
    seen = []

    def batches():
        for batch in numbers.to_batches(max_chunksize=7_000):
            seen.append(batch)
            yield batch

    result = scorer(batches())
    assert not seen  # nothing is read before Spark asks
    first = next(result)
    assert (type(first), len(seen)) == (pa.RecordBatch, 1)
    declared = pa.schema([pa.field("id", pa.int64()), *scorer.schema])
    assert first.schema == declared
    assert pa.Table.from_batches([first, *result]).equals(answers)


def test_a_pickled_scorer_has_no_network(scorer, numbers, answers):
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 1_000
    assert pickle.loads(pickled)(numbers).equals(answers)


@pytest.mark.slow
def test_spawned_processes_load_the_model_themselves(scorer, numbers, answers):
    batches = numbers.to_batches(max_chunksize=20_000)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pa.Table.from_batches(list(pool.map(scorer, batches))).equals(answers)


def test_threads_share_a_scorer(scorer, numbers, answers):
    batches = numbers.to_batches(max_chunksize=1_000)
    with ThreadPoolExecutor(4) as pool:
        assert pa.Table.from_batches(list(pool.map(scorer, batches))).equals(answers)


def test_rows_that_do_not_fit(store, numbers):
    x1 = numbers["x1"].to_numpy()[:20_000].copy()
    x1[[7, 19_999]] = np.nan
    table = numbers.slice(0, 20_000).set_column(2, "x1", pa.array(x1, from_pandas=False))
    sound = np.isfinite(x1)
    with pytest.raises(RowError, match="row 7, column 'x1': the value is missing"):
        axon.Scorer("numbers", store)(table)
    skip = axon.Scorer("numbers", store, keep=["id"], errors="skip")
    null = axon.Scorer("numbers", store, keep=["id"], errors="null")
    wanted = axon.Scorer("numbers", store, keep=["id"])(table.filter(pa.array(sound)))
    assert skip(table).equals(wanted)
    assert null(table).filter(pa.array(sound)).equals(wanted)
    assert null(table)["prediction"][7].as_py() is None
    frame = skip(table.to_pandas())
    assert frame.index.tolist() == np.flatnonzero(sound).tolist()
    assert frame["id"].tolist() == wanted["id"].to_pylist()
    arrays = {name: table[name].to_numpy() for name in table.column_names}
    assert skip(arrays)["id"].tolist() == wanted["id"].to_pylist()
    assert np.isnan(null(arrays)["probability red"][7])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([[1.0, 2.0, 3.0, 4.0]], "a list is no batch"),
        (pa.table({"x0": [1.0]}), "the batch lacks 'x1', 'x2', 'x3', of the model; its columns are 'x0'"),
        ({name: np.zeros((3, 2)) for name in NUMBERS.names}, "has shape"),
        ({name: np.zeros(i + 1) for i, name in enumerate(NUMBERS.names)}, "must have one value a row"),
        (pa.table({name: ["1"] for name in NUMBERS.names}), "column 'x0' holds string, where the model takes numbers"),
        (pd.DataFrame({name: [1.0, "a"] for name in NUMBERS.names}), "column 'x0' cannot be read"),
    ],
)
def test_what_is_no_batch_is_named(store, batch, message):
    with pytest.raises(DataError, match=message):
        axon.Scorer("numbers", store)(batch)


def test_a_scorer_is_refused_where_it_is_made(store):
    with pytest.raises(ModelNotFound):
        axon.Scorer("absent", store)
    with pytest.raises(ConfigError, match="errors must be one of"):
        axon.Scorer("numbers", store, errors="ignore")
    with pytest.raises(ConfigError, match="a list of names"):
        axon.Scorer("numbers", store, keep="id")
    with pytest.raises(ConfigError, match="members is 4, and the model has 3 members"):
        axon.Scorer("sizes", store, members=4)
    with pytest.raises(DataError, match="has the name of an answer"):
        axon.Scorer("numbers", store, keep=["prediction"])


def test_a_version_that_was_replaced_is_refused(tmp_path, mixed):
    store = make_store(tmp_path / "store")
    scorer = axon.Scorer("mixed@latest", store)
    assert scorer.reference == "mixed@1"
    other = make_store(tmp_path / "other")
    other.publish("mixed", make_checkpoint(MIXED, 16, seed=9))
    (store.root / "mixed/1").rename(tmp_path / "before")
    (other.root / "mixed/2").rename(store.root / "mixed/1")
    with pytest.raises(StoreError, match="mixed@1 was replaced"):
        scorer(mixed)
