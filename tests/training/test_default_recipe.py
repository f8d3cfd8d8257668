"""The default recipe on real tables: serving agrees with training, models are accurate and calibrated, and weights of
rows count.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer

from models.errors import ConfigError, DataError
from models.network.config import MLPConfig
from models.network.fuse import fuse
from models.network.mlp import MLP
from models.store import Store
from training.calibration import fit_temperature
from training.config import resolve
from training.data.column_choices import ColumnChoices
from training.data.preprocessing import encode, standardise
from training.engines.engine import Matrices
from training.engines.trainer import Trainer
from training.fit import fit
from training.prepared_rows import prepare
from training.sources import read_table


def mixed(rows=400, seed=0):
    """Makes numbers with gaps and columns of two, few and many categories; the classes depend on all of these."""
    rng = np.random.default_rng(seed)
    number, other = rng.normal(size=rows), rng.exponential(size=rows)
    many = rng.integers(0, 20, rows)
    few, two = rng.integers(0, 4, rows), rng.integers(0, 2, rows)
    score = number * (2 * two - 1) + np.sin(many) + 0.5 * few - other / 2 + 0.2 * rng.normal(size=rows)
    number[rng.random(rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "number": number,
            "other": other,
            "many": [f"m{i}" for i in many],
            "few": [f"f{i}" for i in few],
            "two": np.where(two, "yes", "no"),
            "class": np.where(score > np.median(score), "up", "down"),
            "value": score * 10 + 5,
        }
    )


@pytest.fixture(scope="module", params=["class", "value", "ensemble"])
def model(request):
    frame = mixed()
    target = "value" if request.param == "value" else "class"
    frame = frame.drop(columns="class" if target == "value" else "value")
    members = 3 if request.param == "ensemble" else 1
    choices = ColumnChoices(unknown="ignore")
    return fit(frame, target=target, name="mixed", choices=choices, epochs=30, members=members)


def test_the_parts_are_those_of_the_recipe(model):
    config = model.checkpoint.config
    inputs = config.inputs
    kinds = {column.name: getattr(column, "encoding", column.missing) for column in model.checkpoint.schema.columns}
    assert kinds == {"number": "indicator", "other": "refuse", "many": "index", "few": "one_hot", "two": "sign"}
    assert (inputs.clip, inputs.frequencies, inputs.scale, inputs.categories) == (3.0, 16, True, (20,))
    assert config.learned_activation
    assert config.activation == ("mish" if config.output == "linear" else "selu")
    assert config.clamp == (config.output == "linear")


def test_folded_and_unfolded_agree(model, tmp_path):
    loaded = Store(tmp_path).load(str(model.publish(tmp_path))).checkpoint
    config, schema = loaded.config, loaded.schema
    x = encode(schema, model.table, model.split.test)
    single = MLPConfig.from_dict(config.to_dict() | {"members": 1})
    answers = []
    for i in range(config.members):
        own = loaded.tensors if config.members == 1 else {name: t[i] for name, t in loaded.tensors.items()}
        with torch.no_grad():
            rows = torch.from_numpy(standardise(schema, x)).double()
            answers.append(MLP.from_tensors(single, own).double().eval().predict_probabilities(rows).numpy())
    expected = np.mean(answers, axis=0)
    if config.output == "linear":
        target = schema.target
        expected = np.clip(expected * target.std + target.mean, target.minimum, target.maximum)
    served = loaded.inference_network().forward(x)
    np.testing.assert_allclose(served, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))


def test_an_unknown_category_and_a_gap_are_answered(model):
    example = model.checkpoint.data["examples"][0]
    [known] = model.predict([example])
    [unknown] = model.predict([example | {"many": "never seen", "number": None}])
    assert type(known) is type(unknown)


def test_values_stay_within_the_range_of_training():
    model = fit(mixed().drop(columns="class"), target="value", name="mixed", epochs=20)
    target = model.checkpoint.schema.target
    extreme = model.checkpoint.data["examples"][0] | {"number": 1e30, "other": -1e30}
    [value] = model.predict([extreme])
    assert target.minimum - 1e-3 <= value <= target.maximum + 1e-3


@pytest.mark.slow
def test_it_learns_a_real_table_better_than_chance_would_have_it():
    data = load_breast_cancer(as_frame=True)
    frame = data.data.assign(diagnosis=data.target_names[data.target])
    model = fit(frame, target="diagnosis", name="cancer", epochs=128)
    assert model.metrics["test"]["accuracy"] >= 0.95
    assert model.metrics["test"]["log_loss"] < 0.2


class TestTemperature:
    def drawn(self, rows, temperature, seed=0):
        """Draws probabilities of a network that is overconfident by a factor, and labels of the true distribution."""
        rng = np.random.default_rng(seed)
        honest = rng.normal(0, 2, (rows, 3))
        truth = np.array([rng.choice(3, p=np.exp(z) / np.exp(z).sum()) for z in honest])
        logits = honest * temperature
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return probabilities[None].astype(np.float32), truth

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
    def test_it_finds_by_how_much_a_network_is_too_sure(self, temperature):
        assert fit_temperature(*self.drawn(20_000, temperature)) == pytest.approx(temperature, rel=0.05)

    def test_a_few_right_rows_are_no_proof_of_certainty(self):
        probabilities = np.full((1, 20, 2), [0.05, 0.95], dtype=np.float32)
        assert 0.3 < fit_temperature(probabilities, np.ones(20, dtype=np.int64)) < 1

    def test_rows_count_as_they_are_weighed(self):
        probabilities, truth = self.drawn(300, 2.0)
        weight = np.random.default_rng(1).integers(0, 3, 300)
        repeated = np.repeat(np.arange(300), weight)
        # The same evidence, except that weights have a mean of 1: the prior counts for as many rows as there are.
        weighed = fit_temperature(probabilities, truth, weight.astype(np.float64))
        assert weighed == pytest.approx(fit_temperature(probabilities[:, repeated], truth[repeated]), rel=0.02)

    def test_it_is_served(self):
        model = fit("wine", recipe="default", epochs=30)
        checkpoint = model.checkpoint
        assert checkpoint.config.temperature != 1
        plain = MLPConfig.from_dict(checkpoint.config.to_dict() | {"temperature": 1.0})
        x = encode(checkpoint.schema, model.table, model.split.test)
        mean, std = checkpoint.schema.standardisation()
        raw = fuse(plain, checkpoint.tensors, input_mean=mean, input_std=std).forward(x)
        cool = checkpoint.inference_network().forward(x)
        # The logits that are divided include the shift for the classes' shares in their bias.
        logs = np.log(raw.astype(np.float64)) / checkpoint.config.temperature
        expected = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(cool, expected, atol=1e-5)


def test_a_weighed_row_counts_as_that_many_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = (x.sum(axis=1) + rng.normal(size=40) > 0).astype(np.int64)
    times = rng.integers(1, 4, 40)
    settings = {"recipe": "classic", "normalization": "none", "dropout": 0.0, "hidden_sizes": (5,), "batch_size": 200}
    config = resolve(settings | {"clip_norm": None}, task="classification")
    architecture = config.architecture(in_features=3, out_features=2)
    repeated = np.repeat(np.arange(40), times)
    trainers = [
        Trainer(config, architecture, matrices, device=torch.device("cpu"))
        for matrices in (
            Matrices(
                x=x, y=y, weight=times.astype(float), validation_x=x, validation_y=y, validation_weight=times * 1.0
            ),
            Matrices(x=x[repeated], y=y[repeated], validation_x=x[repeated], validation_y=y[repeated]),
        )
    ]
    for _ in range(5):
        losses = [float(trainer.epoch()) for trainer in trainers]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        judged = [trainer.evaluate() for trainer in trainers]
        assert float(judged[0].loss) == pytest.approx(float(judged[1].loss), rel=1e-4)
        assert float(judged[0].error) == pytest.approx(float(judged[1].error), rel=1e-5)


@pytest.mark.slow
def test_balanced_classes_are_found_more_often():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 2))
    rare = x[:, 0] + 1.2 * rng.normal(size=1500) > 2.2
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.where(rare, "rare", "common")})

    def recall(class_weight):
        model = fit(frame, target="y", name="r", epochs=20, class_weight=class_weight)
        test = frame.iloc[model.split.test]
        guessed = np.array(model.predict(test[["a", "b"]].values.tolist()))
        return (guessed[test["y"] == "rare"] == "rare").mean()

    assert recall("balanced") > recall("none") + 0.2


def two_files(tmp_path):
    rng = np.random.default_rng(0)
    for name, rows, rare in (("train", 300, 100), ("test", 400, 1)):
        x = rng.normal(size=rows)
        label = np.where(np.arange(rows) < rare, "rare", "common")
        pd.DataFrame({"a": x, "b": rng.normal(size=rows), "y": label}).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path / "train.csv", tmp_path / "test.csv"


def test_balance_is_of_the_rows_that_are_learned_from(tmp_path):
    train, test = two_files(tmp_path)
    table, config = read_table(train, target="y", test=test, settings={"class_weight": "balanced"})
    rows = prepare(table, config)
    sums = np.bincount(rows.y["train"], weights=rows.weight["train"])
    assert sums[0] == pytest.approx(sums[1])
    assert sums.sum() == pytest.approx(len(rows.y["train"]))


def test_a_test_file_is_not_learned_from_where_nothing_is_split(tmp_path):
    train, test = two_files(tmp_path)
    with pytest.raises(ConfigError, match="split none puts every row into every part"):
        fit(train, target="y", test=test, split=None)


def test_a_part_in_which_no_row_counts_is_named(tmp_path):
    frame = mixed(60).drop(columns="value").assign(w=0.0, t=np.arange(60))
    frame.loc[:30, "w"] = 1.0
    with pytest.raises(DataError, match="all rows of the validation part weigh 0"):
        fit(frame, target="class", choices=ColumnChoices(weight="w", time="t"), epochs=1)


def test_what_is_of_the_other_task_is_refused():
    with pytest.raises(ConfigError, match="label_smoothing is for classes"):
        fit("diabetes", recipe="default", label_smoothing=0.1, epochs=1)
    with pytest.raises(ConfigError, match="clamp keeps a regression's values"):
        fit("iris", recipe="default", clamp=True, epochs=1)


def test_without_a_clip_values_far_out_are_answered_too():
    model = fit(mixed().drop(columns="value"), target="class", name="m", clip_inputs=None, epochs=2)
    example = model.checkpoint.data["examples"][0] | {"number": 3e38, "other": -3e38}
    assert model.predict([example])[0] in ("up", "down")


def test_a_column_that_hardly_varies_is_named():
    frame = pd.DataFrame({"a": np.arange(40) * 1e-42, "b": np.arange(40.0), "y": ["u", "v"] * 20})
    with pytest.raises(DataError, match=r"'a' varies by .* too little for 32-bit"):
        fit(frame, target="y", epochs=1)
