"""Several target columns: names, reading, refusals, statistics."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.columns.schema import NumericTarget, ValuesTarget
from models.errors import ConfigError, DataError
from training.cli import main
from training.config import resolve_for_table
from training.data.column_choices import ColumnChoices
from training.data.inspection import inspect_table
from training.data.preprocessing import fit_schema, scale_target
from training.data.source import read_source
from training.data.training_table import TrainingTable
from training.fit import fit
from training.prepared_rows import prepare
from training.sources import read_table

TARGETS = ("rent", "sold", "cost")


def frame(rows: int = 120, **columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    made = {"a": x[:, 0], "b": x[:, 1], "rent": 3 * x[:, 0], "sold": 1.7e9 + x[:, 1] ** 2, "cost": np.tanh(x.sum(1))}
    noise = rng.normal(size=(3, rows))
    for name, own in zip(TARGETS, noise, strict=True):
        made[name] = made[name] + own
    return pd.DataFrame(made | columns)


def read(
    data: pd.DataFrame, target: object = TARGETS, settings: dict | None = None, **options: object
) -> TrainingTable:
    return read_table(data, target=target, name="t", settings=settings or {}, **options)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", ["rent,sold,cost", " rent, sold ,cost ", ["rent", "sold", "cost"], ("rent", "sold", "cost")]
)
def test_names_may_be_a_list_or_stand_between_commas(target):
    table = read(frame(), target)
    assert table.target_names == table.several_targets == TARGETS
    assert table.target_name == "rent, sold, cost"
    assert table.task == "regression"
    assert list(table.features) == ["a", "b"]
    np.testing.assert_array_equal(table.target, frame()[list(TARGETS)].to_numpy())


def test_a_column_whose_name_has_commas_is_one_target():
    data = frame().rename(columns={"cost": "rent,sold"})
    table = read(data, "rent,sold")
    assert table.target_names == ("rent,sold",)
    assert not table.several_targets
    assert table.target.ndim == 1
    assert list(table.features) == ["a", "b", "rent", "sold"]
    assert read(data, ["rent", "rent,sold"]).target_names == ("rent", "rent,sold")


def test_one_name_in_a_list_is_one_target():
    one, listed = read(frame(), "rent"), read(frame(), ["rent"])
    assert not listed.several_targets
    assert listed.fingerprint() == one.fingerprint()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("rent,sold,rent", "'rent' is named twice"),
        ("rent,sould", "no column 'sould'"),
        ("rant,sould", "no column 'rant,sould'"),
        ("rent,,cost", "empty name between its commas"),
        ([], "at least one column"),
    ],
)
def test_wrong_names_are_refused(target, said):
    with pytest.raises(DataError, match=said):
        read(frame(), target)


def test_a_target_of_names_is_refused_with_the_way_to_predict_it():
    data = frame(cost=["red", "blue", "green"] * 40)
    with pytest.raises(DataError, match=r"'cost' of .* holds names \('red' at row 0.*predict it alone.*--target cost"):
        read(data)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"sold": 7.0}, "'sold' of .* has one value only, 7"),
        ({"sold": [np.nan, 1.0, 2.0, 3.0] * 30}, "'sold' of .* has no value at row 0"),
        ({"sold": [np.inf, 1.0, 2.0, 3.0] * 30}, "'sold' of .*: the value at row 0.* is infinite"),
    ],
)
def test_a_faulty_target_is_named(columns, said):
    with pytest.raises(DataError, match=said):
        read(frame(**columns))


@pytest.mark.parametrize("options", [{"drop": ("sold",)}, {"weight": "sold"}, {"group": "sold"}, {"time": "sold"}])
def test_a_target_has_no_other_role(options):
    with pytest.raises(DataError, match="'sold' is a target and cannot be"):
        read(frame(), choices=ColumnChoices(**options))


def test_classes_are_one_target():
    with pytest.raises(DataError, match="a classification has one target, and there are 3, 'rent', 'sold' and 'cost'"):
        read(frame(), task="classification")
    with pytest.raises(DataError, match="no rare classes"):
        read(frame(), choices=ColumnChoices(drop_rare_classes=True))
    for metric in ("accuracy", "log-loss", "auc", "f1", "balanced-accuracy"):
        with pytest.raises((ConfigError, DataError), match="class"):
            read(frame(), settings={"metric": metric})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "poisson"}, "metric poisson is for one target, and there are 3"),
        ({"metric": "gamma"}, "metric gamma is for one target, and there are 3"),
        ({"class_weight": "balanced"}, "class_weight is for classes, and the targets 'rent', 'sold' and 'cost' are"),
        ({"engine": "perceptron"}, "tells two classes apart, and the targets 'rent', 'sold' and 'cost' are numbers"),
    ],
)
def test_settings_of_one_target_are_refused(settings, said):
    table = read(frame())
    with pytest.raises(ConfigError, match=said):
        prepare(table, resolve_for_table(settings, table))


def test_rows_that_lack_any_target_are_left_out_if_asked():
    data = frame()
    data.loc[3, "rent"] = data.loc[[5, 6], "cost"] = np.nan
    table = read(data, choices=ColumnChoices(drop_missing_target=True))
    np.testing.assert_array_equal(table.target, data.dropna()[list(TARGETS)].to_numpy())
    assert any("3 rows" in note and "without one of the targets left out" in note for note in table.notes)
    with pytest.raises(DataError, match=r"'sold' of .* has no value at all"):
        read(frame(sold=np.nan), choices=ColumnChoices(drop_missing_target=True))
    alternating = frame()
    alternating.loc[::2, "rent"] = alternating.loc[1::2, "sold"] = np.nan
    with pytest.raises(DataError, match=r"no row of .* has a value of all targets"):
        read(alternating, choices=ColumnChoices(drop_missing_target=True))


def test_whole_numbers_are_values_beside_other_targets_and_a_note_says_so():
    data = frame(cost=[0, 1, 2, 1] * 30)
    assert read(data, "cost").labels == ("0", "1", "2")
    table = read(data)
    np.testing.assert_array_equal(table.target[:, 2], data["cost"])
    assert any("'cost' holds 3 different whole numbers" in note and "read as values" in note for note in table.notes)
    assert not any("whole numbers" in note for note in read(data, task="regression").notes)


def test_a_test_file_has_all_targets():
    data = frame()
    table = read(data[:100], test=data[100:].reset_index(drop=True))
    assert table.test_rows == 20
    np.testing.assert_array_equal(table.target, data[list(TARGETS)].to_numpy())
    with pytest.raises(DataError, match="no column 'sold'"):
        read(data[:100], test=data[100:].drop(columns="sold"))


def test_a_leak_names_its_target():
    data = frame(300)
    data["copy"] = 2 * data["cost"] + 1
    (note,) = [note for note in read(data).notes if "'copy'" in note]
    assert "the target 'cost'" in note
    assert not any("'a'" in note for note in read(data).notes)


@pytest.mark.slow
def test_of_very_many_targets_the_first_are_searched_for_leaks_and_a_note_says_so():
    rng = np.random.default_rng(0)
    columns, targets = 200, 60
    data = pd.DataFrame(rng.normal(size=(40, columns + targets)))
    data.columns = [f"x{i}" for i in range(columns)] + [f"y{i}" for i in range(targets)]
    names = [f"y{i}" for i in range(targets)]
    (note,) = [note for note in read(data, names).notes if note.startswith("Leaks")]
    assert "first 50 targets only, and not of the 10 from 'y50' on" in note
    assert not any(note.startswith("Leaks") for note in read(data.drop(columns=names[50:]), names[:50]).notes)


def test_rows_are_equal_with_the_target_if_all_targets_are():
    data = pd.concat([frame(60), frame(60)], ignore_index=True)
    assert read(data).equal_rows.identical == 120
    data.loc[60:, "cost"] += 1
    found = read(data).equal_rows
    assert found.repeated == 120
    assert found.identical == 0


def test_the_fingerprint_knows_names_order_and_values():
    prints = {
        read(frame()).fingerprint(),
        read(frame(), ["sold", "rent", "cost"]).fingerprint(),
        read(frame().rename(columns={"cost": "price"}), ["rent", "sold", "price"]).fingerprint(),
        read(frame(), ["rent", "sold"]).fingerprint(),
        read(frame(cost=frame()["cost"] + 1)).fingerprint(),
    }
    assert len(prints) == 5


def test_each_target_has_its_own_statistics():
    table = read(frame())
    train = np.arange(0, 120, 2)
    target = fit_schema(table, train).target
    assert isinstance(target, ValuesTarget)
    assert target.names == TARGETS
    seen = table.target[train]
    for own, values in zip(target.targets, seen.T, strict=True):
        assert isinstance(own, NumericTarget)
        assert own.mean == pytest.approx(values.mean())
        assert own.std == pytest.approx(values.std())
        assert (own.minimum, own.maximum) == (values.min(), values.max())
        assert own.origin == (own.mean if own.name == "sold" else 0.0)  # only 1.7e9 is far from 0
        alone = fit_schema(read(frame(), own.name), train).target
        assert alone == own
    scaled = scale_target(fit_schema(table, train), seen)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (seen - seen.mean(axis=0)) / seen.std(axis=0), atol=1e-6)


def test_a_target_with_too_little_spread_is_named():
    data = frame(cost=np.linspace(0, 1e-30, 120))
    with pytest.raises(DataError, match="'cost' has a standard deviation of"):
        fit_schema(read(data), np.arange(120))


def test_an_inspection_lists_each_target_and_refuses_what_fit_refuses():
    data = frame(cost=["red", "blue", "green"] * 40)
    table = read_source(pa.Table.from_pandas(data))
    found = inspect_table(table, target="rent,sold,cost")
    assert found.target == TARGETS
    assert [column.role for column in found.columns] == ["feature", "feature", "target", "target", "target"]
    assert found.problems[0].startswith("target 'cost' of the table holds names")
    sound = inspect_table(read_source(pa.Table.from_pandas(frame())), target=TARGETS)
    assert sound.task == "regression"
    assert not sound.problems
    assert json.loads(json.dumps(sound.to_dict()))["target"] == list(TARGETS)
    with pytest.raises(DataError, match="one target"):
        inspect_table(table, target=TARGETS, task="classification")


def test_the_command_inspect_names_the_targets(tmp_path, capsys):
    frame().to_csv(tmp_path / "houses.csv", index=False)
    assert main(["inspect", str(tmp_path / "houses.csv"), "--target", "rent,sold,cost"]) == 0
    assert "A regression of 'rent', 'sold' and 'cost'." in capsys.readouterr().out


@pytest.mark.parametrize("target", [3, ["a", 3], 2.5, [None, "a"]])
def test_a_target_that_is_no_text_is_refused(target: object) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    with pytest.raises(DataError, match="a target is named by the text of its column, got"):
        fit(frame, target=target)


def test_the_names_may_come_as_an_index() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["x", "a", "b"])
    assert fit(frame, target=frame.columns[1:], epochs=1).table.target_names == ("a", "b")


def test_a_set_of_names_is_refused_since_it_has_no_order() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    with pytest.raises(DataError, match="a set has none: give a list"):
        fit(frame, target={"a", "b"})


TRUTHS = "a,wet,cold\n" + "".join(f"{i},{i % 3 == 0},{i % 2}\n" for i in range(30))


@pytest.mark.parametrize(
    ("lines", "wet"),
    [
        ("1,True,1\n2,False,0\n3,True,0\n", [1, 0, 1]),
        ("1,TRUE,1\n2,false,0\n", [1, 0]),
        ("1,True,1\n2,True,0\n", [1, 1]),  # a test part may have one of the two only
        ("1,1,1\n2,0,0\n", [1, 0]),
    ],
)
def test_a_test_file_may_write_true_and_false_as_the_training_file_does(write, lines, wet):
    train, test = write(TRUTHS, "train.csv"), write("a,wet,cold\n" + lines, "test.csv")
    table = read(train, "wet,cold", test=test)
    expected = [float(i % 3 == 0) for i in range(30)] + wet
    np.testing.assert_array_equal(table.target[:, 0], expected)
    assert table.test_rows == len(wet)


@pytest.mark.parametrize("odd", ["1", "yes"])
def test_what_is_neither_true_nor_false_in_a_test_file_is_named_by_row(write, odd):
    train, test = write(TRUTHS, "train.csv"), write(f"a,wet,cold\n1,True,1\n2,{odd},0\n3,False,1\n", "test.csv")
    with pytest.raises(DataError, match=rf"'wet' of .*test.csv: '{odd}' at line 3 is neither true nor false"):
        read(train, "wet,cold", test=test)


def test_true_is_no_number_where_the_training_file_has_numbers(write):
    train = write(TRUTHS, "train.csv")
    test = write("a,wet,cold\n1,True,True\n2,False,False\n", "test.csv")
    with pytest.raises(DataError, match=r"'cold' of .*test.csv: 'True' at line 2 is not a number"):
        read(train, "wet,cold", test=test)
