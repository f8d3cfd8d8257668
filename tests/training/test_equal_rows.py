"""Equal rows are reported with their share, and a random split keeps copies of a row in one part."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_tables import read
from sklearn.neighbors import KNeighborsClassifier

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.cli import main
from training.config import resolve_for_table
from training.data.column_choices import ColumnChoices
from training.data.features import equal_rows_of
from training.data.inspection import inspect_table
from training.data.split import PARTS, split_rows
from training.data.table import Table
from training.data.training_table import TrainingTable
from training.data.understanding import read_training_table
from training.fit import fit_table
from training.prepared_rows import prepare

SHARES = (0.7, 0.15, 0.15)
TINY = {"recipe": "classic", "hidden_sizes": (4,), "epochs": 2}


def coins(rows: int = 120, columns: int = 3, times: int = 4, seed: int = 0) -> pd.DataFrame:
    """Makes coin flips that no column predicts, each row several times, in random order."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, columns)).round(4), columns=list("abcdefgh")[:columns])
    frame["y"] = rng.choice(["heads", "tails"], rows)
    return pd.concat([frame] * times).sample(frac=1, random_state=seed).reset_index(drop=True)


def table_of(frame: pd.DataFrame, test: pd.DataFrame | None = None, **choices: object) -> TrainingTable:
    return read_training_table(
        Table.from_pandas(frame, source="coins"),
        name="t",
        target="y",
        choices=ColumnChoices(**choices),  # type: ignore[arg-type]
        test=None if test is None else Table.from_pandas(test, source="later"),
    )


def features_in(table: TrainingTable, rows: np.ndarray) -> set[str]:
    return {json.dumps(table.example(int(row))) for row in rows}


def shared(table: TrainingTable, seed: int = 0) -> int:
    """Counts the different rows, compared cell by cell with pandas, that are in more than one part."""
    split = split_rows(table, SHARES, rng=np.random.default_rng(seed))
    assert sorted(np.concatenate([getattr(split, part) for part in PARTS])) == list(range(table.rows))
    train, validation, test = (features_in(table, getattr(split, part)) for part in PARTS)
    return len(train & validation) + len(train & test) + len(validation & test)


@pytest.mark.parametrize("times", [2, 4, 25])
@pytest.mark.parametrize("columns", [1, 3])
def test_copies_are_told_with_their_share_and_are_in_one_part(times: int, columns: int) -> None:
    table = table_of(coins(times=times, columns=columns))
    rows = 120 * times
    [note] = table.notes
    assert note.startswith(f"{rows:,} of {rows:,} rows (100.0%) have the same features as another row, and {rows:,} of")
    assert "Equal rows are kept in one part of the split (--equal-rows scatter" in note
    assert shared(table) == 0
    assert shared(table_of(coins(times=times, columns=columns), equal_rows="scatter")) > 0
    sizes = split_rows(table, SHARES, rng=np.random.default_rng(0)).sizes()
    for part, share in zip(PARTS, SHARES, strict=True):
        assert abs(sizes[part] / rows - share) < 0.03


def test_a_copy_of_a_row_is_no_answer_to_it() -> None:
    """Compares copies, whose nearest training row has the answer, with new rows, whose nearest one has not."""
    frame = coins(rows=300)
    x, y = frame.drop(columns="y").to_numpy(), frame["y"].to_numpy()
    scores = {}
    for how in ("auto", "scatter"):
        split = split_rows(table_of(frame, equal_rows=how), SHARES, rng=np.random.default_rng(0))
        neighbour = KNeighborsClassifier(1).fit(x[split.train], y[split.train])
        scores[how] = neighbour.score(x[split.test], y[split.test])
    assert scores["scatter"] > 0.9
    assert scores["auto"] < 0.7


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=12, max_size=60),
    st.sampled_from(["classes", "values"]),
    st.integers(0, 3),
    st.data(),
)
@pytest.mark.slow
def test_no_copies_are_in_two_parts_and_no_part_is_empty(times, kind, seed, data):
    target = data.draw(st.lists(st.integers(0, 2), min_size=len(times), max_size=len(times)))
    target[:9] = [0, 1, 2] * 3
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=len(times)), "b": rng.normal(size=len(times))})
    frame["y"] = (
        [f"class {i}" for i in target] if kind == "classes" else np.array(target) + 0.5 * rng.random(len(times))
    )
    frame = frame.loc[np.repeat(np.arange(len(times)), times)]
    table = table_of(frame, equal_rows="together")
    assert shared(table, seed) == 0
    split = split_rows(table, SHARES, rng=np.random.default_rng(seed))
    assert all(split.sizes().values())
    assert set(table.target[split.train]) >= set(range(len(table.labels)))


def test_equal_features_with_different_targets_are_kept_together_too() -> None:
    frame = coins(times=4)
    frame["y"] = np.random.default_rng(1).choice(["heads", "tails"], len(frame))
    table = table_of(frame)
    identical = int(frame.duplicated(keep=False).sum())
    assert f"{identical} of them the same target too" in table.notes[0]
    assert shared(table) == 0


def test_a_regression_with_gaps_names_and_dates_is_held_alike() -> None:
    rng = np.random.default_rng(0)
    rows = 100
    columns = {
        "a": np.where(rng.random(rows) < 0.3, np.nan, rng.normal(size=rows)),
        "town": rng.choice(["Köln", "Bonn", None], rows),
        "day": np.datetime64("2024-01-01") + rng.integers(0, 90, rows),
        "y": rng.normal(size=rows),
    }
    frame = pd.DataFrame({name: np.repeat(values, 3) for name, values in columns.items()})
    table = table_of(frame)
    assert table.equal_rows is not None
    assert table.equal_rows.repeated == int(frame.drop(columns="y").duplicated(keep=False).sum())
    assert shared(table) == 0


def test_the_groups_do_not_depend_on_how_names_are_held() -> None:
    """Splits the same data from CSV, where names are numbered by first rows, and Parquet, by its dictionary: equal."""
    table = table_of(coins())
    codes = np.array([ord(label[0]) % 3 for label in np.array(table.labels)[table.target]], dtype=np.int32)
    number = np.array([2, 0, 1], dtype=np.int32)
    goal = table.target.astype(np.float64)
    one, other = (
        equal_rows_of({**table.features, "c": names}, goal).code
        for names in (DictionaryColumn(codes, ("a", "b", "c")), DictionaryColumn(number[codes], ("b", "c", "a")))
    )
    assert one.tolist() == other.tolist()


def test_a_row_number_does_not_hide_copies() -> None:
    frame = coins()
    frame.insert(0, "id", np.arange(len(frame)))
    table = table_of(frame)
    assert any(
        "480 of 480 rows (100.0%) have the same features as another row (but for 'id')" in n for n in table.notes
    )
    split = split_rows(table, SHARES, rng=np.random.default_rng(0))
    of_row = [tuple(row) for row in frame.drop(columns="id").to_numpy()]
    assert not {of_row[i] for i in split.train} & {of_row[i] for i in split.test}
    # A column of counts that is a real feature: without it, the other rows are equal by nature.
    days = pd.DataFrame({"day": np.arange(200), "weekday": np.arange(200) % 7 + 0.5, "y": np.arange(200) % 3 * 1.5})
    assert not [note for note in table_of(days, numeric=("day",)).notes if "same features" in note]


@pytest.mark.parametrize(
    "columns",
    [
        {"x1": [0, 0, 1, 1] * 100, "x2": [0, 1, 0, 1] * 100, "y": [0, 1, 1, 0] * 100},
        {"a": [i % 6 for i in range(400)], "b": [i // 6 % 6 for i in range(400)], "y": ["a", "b"] * 200},
        {
            "town": [f"town {i % 60}" for i in range(400)],
            "county": [f"county {i % 60 // 4}" for i in range(400)],
            "country": [f"country {i % 60 // 20}" for i in range(400)],
            "y": ["a", "b"] * 200,
        },
    ],
    ids=["a truth table", "two columns of six values", "towns in counties"],
)
def test_rows_of_few_different_values_are_divided_by_chance_and_told(columns: dict[str, list[object]]) -> None:
    """Splits rows that new rows will equal too; a part without equal rows could not be learned from."""
    table = read(columns)
    assert "400 of 400 rows (100.0%)" in table.notes[-1]
    assert "different rows only. They are divided by chance" in table.notes[-1]
    split = split_rows(table, SHARES, rng=np.random.default_rng(0))
    assert features_in(table, split.test) <= features_in(table, split.train)
    assert shared(read(columns, equal_rows="together")) == 0


def test_a_table_without_equal_rows_has_no_note_and_the_split_that_it_had() -> None:
    frame = coins(times=1)
    table = table_of(frame)
    assert table.notes == ()
    bare = TrainingTable(name="t", features=table.features, target_name="y", labels=table.labels, target=table.target)
    for ours, theirs in zip(
        *(split_rows(t, SHARES, rng=np.random.default_rng(5)).__dict__.values() for t in (table, bare)), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_a_test_file_that_shares_rows_with_training_is_told_with_the_share() -> None:
    frame = coins(times=1, rows=200)
    test = pd.concat([frame.iloc[:30], coins(times=1, rows=50, seed=9)])
    test.iloc[:10, -1] = np.where(test.iloc[:10, -1] == "heads", "tails", "heads")
    table = table_of(frame, test)
    assert table.notes == (
        "30 of 80 rows (37.5%) of later have the same features as a row to train with, and 20 of them the same target "
        "too: the test figures tell in part what was remembered (--equal-rows together leaves such rows out of "
        "training).",
    )
    assert table_of(frame, coins(times=1, rows=50, seed=9)).notes == ()
    split = split_rows(table_of(coins(), test), SHARES, rng=np.random.default_rng(0))
    assert len(split.test) == 80
    copies = table_of(coins(), test)
    assert not features_in(copies, split.train) & features_in(copies, split.validation)


@pytest.mark.parametrize("role", [None, "group", "time"])
def test_rows_that_a_test_file_shares_can_be_left_out_of_training(role: str | None) -> None:
    train, test = coins(times=1, rows=200), coins(times=1, rows=50, seed=9)
    test = pd.concat([train.iloc[20:50], test])
    roles = {}
    if role is not None:
        train["r"], test["r"] = np.arange(200) // 2, 1000 + np.arange(80)
        roles = {role: "r"}
    table = table_of(train, test, equal_rows="together", **roles)
    assert "too: 30 rows are left out of training." in table.notes[-1]
    split = split_rows(table, SHARES, rng=np.random.default_rng(0))
    assert sorted(np.concatenate([split.train, split.validation])) == [*range(20), *range(50, 200)]
    assert split.by == (role or "chance")
    assert sorted(split.test) == list(range(200, 280))
    if role is None:
        model = fit_table(table, resolve_for_table(TINY, table))
        assert model.metrics["test"]["rows"] == 80
        with pytest.raises(DataError, match="every row to train with has the features of a test row"):
            split_rows(table_of(train, train, equal_rows="together"), SHARES, rng=np.random.default_rng(0))


@pytest.mark.parametrize("role", ["group", "time"])
def test_splits_by_group_and_by_time_keep_their_own_rule_and_tell(role: str) -> None:
    frame = coins()
    frame["when"] = np.arange(len(frame)) // 2
    table = table_of(frame, **{role: "when"})
    assert f"They are split by the {role} 'when', which may put equal rows into different parts." in table.notes[0]
    model = fit_table(table, resolve_for_table(TINY, table))
    known = features_in(table, model.split.train)
    count = sum(json.dumps(table.example(int(row))) in known for row in model.split.test)
    assert count > 0
    assert any(
        note.startswith(f"{count} of {len(model.split.test)} rows") and "remembered" in note for note in model.notes
    )


def test_a_search_trains_on_the_same_split_and_tells() -> None:
    from training.search import search

    result = search(coins(), target="y", trials=1, settings=TINY)
    assert any("Equal rows are kept in one part" in note for note in result.notes)
    table = table_of(coins())
    rows = prepare(table, resolve_for_table(TINY, table))
    assert not features_in(table, rows.split.train) & features_in(table, rows.split.validation)


def test_where_all_rows_are_in_every_part_nothing_is_said_of_parts() -> None:
    table = table_of(coins())
    model = fit_table(table, resolve_for_table(TINY | {"split": None}, table))
    assert len(model.notes) == 1
    assert "on the same 480 rows" in model.notes[0]


def test_too_few_different_rows_are_refused_where_they_have_to_be_together() -> None:
    frame = pd.DataFrame({"a": [1.5, 2.5] * 10, "y": ["a", "b"] * 10})
    table = table_of(frame, equal_rows="together")
    with pytest.raises(DataError, match=r"2 different rows, and a split that keeps .* needs 3: .*--equal-rows scatter"):
        split_rows(table, SHARES, rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="equal_rows must be auto, together or scatter"):
        ColumnChoices(equal_rows="apart")  # type: ignore[arg-type]


def test_inspect_tells_it_and_the_option_that_it_names_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = coins()
    inspection = inspect_table(Table.from_pandas(frame), target="y")
    assert [note for note in inspection.notes if "480 of 480 rows (100.0%)" in note]
    shared = inspect_table(Table.from_pandas(frame), target="y", test=Table.from_pandas(frame[:9], source="later"))
    assert any("9 of 9 rows (100.0%) of later" in note for note in shared.notes)
    frame.to_csv(tmp_path / "coins.csv", index=False)
    arguments = ["fit", str(tmp_path / "coins.csv"), "--target", "y", "--store", str(tmp_path / "store"), "--quiet"]
    arguments += ["--epochs", "1", "--hidden", "4", "--no-report", "--json", "--equal-rows", "scatter"]
    assert main(arguments) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("divided by chance, so that test rows may be known" in note for note in notes)


@pytest.mark.parametrize("first", [1, 481, 1001])
def test_a_row_number_of_the_training_rows_hides_no_copy_in_a_test_file(first: int) -> None:
    train, test = coins(), pd.concat([coins(times=1).iloc[:30], coins(times=1, rows=50, seed=9)])
    train.insert(0, "id", np.arange(1, 481))
    test.insert(0, "id", np.arange(first, first + 80))
    table = table_of(train, test)
    copies = test.drop(columns=["id", "y"]).apply(tuple, axis=1).isin(train[["a", "b", "c"]].apply(tuple, axis=1))
    assert copies.sum() == 30
    assert any("Equal rows are kept in one part" in note and "(but for 'id')" in note for note in table.notes)
    assert any(f"{copies.sum()} of 80 rows (37.5%) of later have the same features" in note for note in table.notes)
    split = split_rows(table, SHARES, rng=np.random.default_rng(0))
    in_train, in_validation = (
        set(train.iloc[rows][["a", "b", "c"]].itertuples(index=False, name=None))
        for rows in (split.train, split.validation)
    )
    assert not in_train & in_validation
    left = table_of(train, test, equal_rows="together")
    parts = split_rows(left, SHARES, rng=np.random.default_rng(0))
    assert len(parts.train) + len(parts.validation) == 480 - 4 * 30
