"""`inspect` and `fit` report a feature that was made from the target, in any scale, and no honest feature."""

import argparse
import shlex
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chatterjeexi, rankdata, spearmanr
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.metrics import cohen_kappa_score

from training.commands.table import add_table, table_of
from training.data.column_choices import ColumnChoices
from training.data.inspection import inspect_table
from training.data.rank_measures import agreement_of_order, agreement_of_values, correlation, dependence, ranks_of
from training.data.table import Table
from training.data.typed_options import typed
from training.data.understanding import read_training_table
from training.datasets import DATASETS
from training.sources import read_table

ROWS = 500
rng = np.random.default_rng(3)
SIZE = rng.normal(size=ROWS)
PRICE = np.exp(10 + SIZE + 0.5 * rng.normal(size=ROWS))
SIGNED = SIZE + rng.normal(size=ROWS)
YES = np.where(rng.random(ROWS) < 0.3, "yes", "no")
KIND = rng.choice(["a", "b", "c"], ROWS)


def told(frame: pd.DataFrame, target: str = "y", **choices: object) -> list[str]:
    """Returns the notes of `fit` on leaks, and checks that `inspect` says the same."""
    raw, chosen = Table.from_pandas(frame), ColumnChoices(**choices)  # type: ignore[arg-type]
    notes = [note for note in read_training_table(raw, name="t", target=target, choices=chosen).notes if is_leak(note)]
    inspection = inspect_table(raw, target=target, choices=chosen)
    inspected = [remark for column in inspection.columns for remark in column.remarks if is_leak(remark)]
    if len(notes) <= 5:
        assert notes == inspected
    return notes


def is_leak(note: str) -> bool:
    return "is it known before the target is?" in note or "know the target as well" in note


def beside(leak: object, target: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"size": SIZE, "kind": KIND, "leak": leak, "y": target})


def with_gaps(values: np.ndarray, share: float = 0.4) -> np.ndarray:
    return np.where(np.random.default_rng(1).random(ROWS) < share, np.nan, values)


def band(values: np.ndarray, edges: list[float], names: str) -> list[str]:
    return [names[i] for i in np.searchsorted(np.quantile(values, edges), values)]


NOISE = np.random.default_rng(5).normal(size=ROWS)
OTHER = np.where(np.random.default_rng(6).random(ROWS) < 0.01)[0]
TYPOS = YES.copy()
TYPOS[OTHER] = np.where(TYPOS[OTHER] == "yes", "no", "yes")
BALANCED = np.where(np.median(SIGNED) < SIGNED, "high", "low")


@pytest.mark.parametrize(
    ("leak", "target"),
    [
        pytest.param(np.log(PRICE), PRICE, id="its logarithm"),
        pytest.param(rankdata(PRICE), PRICE, id="its rank"),
        pytest.param(-(PRICE**3), PRICE, id="its negative cube"),
        pytest.param(1.19 * PRICE + 7, PRICE, id="another unit"),
        pytest.param(PRICE.round(-3), PRICE, id="rounded"),
        pytest.param(PRICE * (1 + 0.01 * NOISE), PRICE, id="noise of a hundredth"),
        pytest.param(SIGNED + 0.05 * SIGNED.std() * NOISE, SIGNED, id="noise of a twentieth"),
        pytest.param(with_gaps(np.log(PRICE)), PRICE, id="its logarithm with gaps"),
        pytest.param(1 / SIGNED, SIGNED, id="its reciprocal on both sides of 0"),
        pytest.param(band(PRICE, [0.3, 0.6], "xzy"), PRICE, id="three bands with names"),
        pytest.param(band(PRICE, [0.5], "xy"), PRICE, id="above or below the median"),
        pytest.param(np.floor(np.log(PRICE)), PRICE, id="a coarse number"),
        pytest.param((np.argsort(np.argsort(PRICE)) // 50 * 7 % 11).astype(float), PRICE, id="bands in another order"),
        pytest.param(
            np.where(np.arange(ROWS) % 50 == 7, -999.0, np.log(PRICE)), PRICE, id="a fill value in its logarithm"
        ),
        pytest.param(np.where(np.arange(ROWS) % 50 == 7, 0.0, -SIGNED), SIGNED, id="a fill value in its negative"),
        pytest.param((SIGNED * 1e9).astype("int64").view("datetime64[s]"), SIGNED, id="a moment"),
        pytest.param(np.where(YES == "yes", "J", "N"), YES, id="other names"),
        pytest.param(
            np.where(np.arange(ROWS) % 4 == 1, None, np.where(YES == "yes", "J", "N")), YES, id="other names with gaps"
        ),
        pytest.param(with_gaps(np.where(YES == "yes", 3.0, 8.0)), YES, id="codes with gaps"),
        pytest.param(TYPOS, YES, id="typing errors in one row of a hundred"),
        pytest.param(np.where(YES == "yes", np.nan, NOISE), YES, id="missing for one class"),
        pytest.param(np.where(TYPOS == "yes", np.nan, NOISE), YES, id="missing for nearly one class"),
        pytest.param(np.where(np.median(PRICE) > PRICE, np.nan, NOISE), PRICE, id="missing for half of the values"),
        pytest.param(SIGNED, BALANCED, id="the number that the class was made of"),
        pytest.param(SIGNED + 0.01 * NOISE, BALANCED, id="nearly the number that the class was made of"),
        pytest.param(with_gaps(SIGNED, 0.3), BALANCED, id="that number with gaps"),
        pytest.param([f"{kind}{i % 9}" for i, kind in enumerate(YES)], YES, id="a finer class"),
    ],
)
def test_a_copy_of_the_target_is_told_with_its_name_and_the_option(leak: object, target: np.ndarray) -> None:
    [note] = told(beside(leak, target))
    assert note.startswith("Column 'leak' ")
    assert note.endswith("is it known before the target is? If not, leave it out (--drop leak).")
    assert told(beside(leak, target), drop=("leak",)) == []


@pytest.mark.parametrize(
    ("feature", "target"),
    [
        pytest.param(SIGNED + 0.1 * SIGNED.std() * NOISE, SIGNED, id="noise of a tenth"),
        pytest.param(np.append(SIGNED[:-1], 1e6), np.append(NOISE[:-1], 1e6), id="one row far away in both"),
        pytest.param(np.where(np.arange(ROWS) % 20 == 0, "N", np.where(YES == "yes", "J", "N")), YES, id="one in 20"),
        pytest.param(rng.choice(list("abcdefgh"), ROWS), SIGNED, id="names of chance"),
        pytest.param(np.repeat(np.arange(50.0), 10), np.repeat(NOISE[:50], 10) + NOISE, id="values by group and noise"),
        pytest.param(np.arange(ROWS), np.arange(ROWS) + NOISE, id="a trend by row number"),
        pytest.param(np.cumsum(0.6 + 0.1 * NOISE), np.cumsum(0.8 + 0.1 * np.roll(NOISE, 7)), id="two trends"),
        pytest.param(
            np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 100), np.tile([0, 10, 14, 30, 37.0], 100) + NOISE / 4, id="doses"
        ),
    ],
)
def test_a_feature_that_only_goes_with_the_target_is_not_told(feature: object, target: np.ndarray) -> None:
    assert told(beside(feature, target)) == []


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_no_column_of_a_built_in_dataset_is_told(name: str) -> None:
    assert not [note for note in read_table(name, settings={})[0].notes if is_leak(note)]


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_no_column_of_measures_is_told_of_another(load: object) -> None:
    """Takes each column in turn as the target; a tumour's radius, perimeter and area are one measure in three units."""
    frame = load(as_frame=True).frame.drop(columns="target")  # type: ignore[operator]
    for target in frame.columns[::4]:
        columns = {note.split("'")[1] for note in told(frame, target) if "more columns" not in note}
        assert {name.split()[-1] for name in columns} <= {"radius", "perimeter", "area"}


def test_the_lifeboats_of_the_titanic_know_who_was_saved() -> None:
    """Reports a column by its gaps: 477 of 500 survivors have a boat, and 9 of the dead; which boat does not matter."""
    saved = np.repeat(["yes", "no", "yes", "no"], [477, 9, 23, 800])
    boat = [f"boat {i % 20}" if i < 486 else None for i in range(1309)]
    frame = pd.DataFrame({"age": np.random.default_rng(0).normal(size=1309), "boat": boat, "y": saved})
    [note] = told(frame.sample(frac=1, random_state=0))
    assert note.startswith("Column 'boat' tells the classes apart in 97.6% of the rows by whether it is missing: is it")


def test_few_rows_and_rare_classes_prove_nothing() -> None:
    """Does not report one of many columns that predicts three of thirty rows by chance."""
    noise = np.random.default_rng(0).normal(size=(40, 300))
    frame = pd.DataFrame(noise, columns=[f"c{i}" for i in range(300)])
    frame["y"] = np.where(np.arange(40) < 3, "rare", "common")
    assert told(frame) == []
    assert told(beside(np.log(PRICE), PRICE)[:25]) == []


def test_copies_of_rows_do_not_make_values_tell_their_target() -> None:
    few = pd.DataFrame({"a": NOISE[:60], "b": SIZE[:60], "y": YES[:60]})
    assert told(pd.concat([few] * 20)) == []
    leak = beside(np.log(PRICE), PRICE)
    assert told(pd.concat([leak] * 3)) == told(leak)


def test_many_leaks_are_told_in_a_few_sentences() -> None:
    frame = pd.DataFrame({"size": SIZE, **{f"leak {i}": np.log(PRICE) * (i + 1) for i in range(9)}, "y": PRICE})
    notes = told(frame)
    assert len(notes) == 6
    assert notes[0].endswith("leave it out (--drop 'leak 0').")
    assert notes[-1].startswith("4 more columns know the target as well ('leak 5', 'leak 6', 'leak 7', 'leak 8')")


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "-dash", "$HOME", "[/kg]"])
def test_the_option_that_is_offered_can_be_typed_in(name: str) -> None:
    frame = pd.DataFrame({"size": SIZE, name: np.arange(ROWS), "y": SIGNED})
    assert f"leave it out ({typed('--drop', name)})." in "".join(
        read_training_table(Table.from_pandas(frame), name="t", target="y").notes
    )
    parser = argparse.ArgumentParser()
    add_table(parser)
    choices = table_of(parser.parse_args(shlex.split(typed("--drop", name))))["choices"]
    assert choices.drop == (name,)


def test_the_only_feature_is_told_without_an_option_that_leaves_none() -> None:
    [note] = told(pd.DataFrame({"leak": np.log(PRICE), "y": PRICE}))
    assert note.endswith("is it known before the target is?")


def test_wide_and_long_tables_take_a_few_seconds() -> None:
    """Measures CPU time of this process alone; each case took about a second."""
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 1_000)), columns=[f"c{i}" for i in range(1_000)])
    wide["y"] = np.exp(wide["c7"])
    long = pd.DataFrame(np.random.default_rng(0).normal(size=(250_000, 3)), columns=list("abc"))
    long["y"] = np.exp(long["b"])
    for frame, leak in ((wide, "c7"), (long, "b")):
        raw = Table.from_pandas(frame)
        begin = time.process_time()
        notes = read_training_table(raw, name="t", target="y").notes
        assert time.process_time() - begin < 20
        assert next(note for note in notes if is_leak(note)).startswith(
            f"Column {leak!r} has a rank correlation of 1.0000"
        )


def test_measures_equal_those_of_scipy_and_scikit_learn() -> None:
    x, y = SIZE.round(1), SIGNED.round(1)
    np.testing.assert_array_equal(ranks_of(x), rankdata(x))
    assert correlation(ranks_of(x), ranks_of(y)) == pytest.approx(spearmanr(x, y).statistic)
    assert dependence(SIZE, ranks_of(SIGNED)) == pytest.approx(chatterjeexi(SIZE, SIGNED).statistic)
    codes, classes = np.unique(KIND, return_inverse=True)[1], np.unique(YES, return_inverse=True)[1]
    best = np.array([np.bincount(classes[codes == code]).argmax() for code in range(3)])[codes]
    found = agreement_of_values(codes, classes)
    assert (found.kappa, found.share) == pytest.approx((cohen_kappa_score(best, classes), (best == classes).mean()))
    bands = np.searchsorted(np.quantile(SIGNED, [0.2, 0.7]), SIGNED + 0.3 * NOISE)
    cuts = np.sort(SIGNED)[np.cumsum(np.bincount(bands))[:-1]]
    guessed = np.searchsorted(cuts, SIGNED, side="right")
    assert agreement_of_order(SIGNED, bands).kappa == pytest.approx(cohen_kappa_score(guessed, bands))
