"""Category dropout: in training, categories are read as unknown evenly and by the seed, and predictions improve."""

import numpy as np
import pandas as pd
import pytest
import torch

from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from training.config import TrainConfig
from training.data.column_choices import ColumnChoices
from training.engines.network.category_dropout import CategoryDropout
from training.engines.network.device_masks import DeviceMasks
from training.engines.network.masks import HostMasks
from training.fit import fit
from training.resume import ResumeFile

CPU = torch.device("cpu")
QUICK = {"hidden_sizes": (16, 16), "epochs": 12}
# An encoded row: a number, three one-hot inputs, an index of 5, a sign, an index of 7, a missing flag of the number.
INPUTS = InputConfig(numbers=(0,), flags=(1, 2, 3, 5, 7), indices=(4, 6), categories=(5, 7))
COLUMNS = ((1, 2, 3), (4,), (5,), (6,))


def houses(rows=1200, hoods=60, seed=0):
    """Makes prices of houses in neighbourhoods, most of which are rare."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, hoods + 1)
    hood = rng.choice(hoods, size=rows, p=weight / weight.sum())
    style = rng.choice(4, size=rows, p=[0.4, 0.3, 0.2, 0.1])
    area = rng.lognormal(0, 0.4, rows)
    price = 1.5 * np.log(area) + rng.normal(0, 0.2, hoods)[hood] + np.array([-1, 0, 1, 2])[style]
    return pd.DataFrame(
        {
            "hood": [f"h{i}" for i in hood],
            "style": [f"s{i}" for i in style],
            "area": area,
            "price": price + rng.normal(0, 0.1, rows),
        }
    )


def masks_of(kind, members=2):
    return (
        HostMasks(np.zeros(members), seed=3) if kind == "host" else DeviceMasks(np.zeros(members), seed=3, device=CPU)
    )


@pytest.mark.parametrize("kind", ["host", "device"])
def test_a_column_is_dropped_as_a_whole_and_nothing_else_is(kind):
    config = MLPConfig(layer_sizes=(8, 4, 1), output="linear", inputs=INPUTS, members=2)
    drop = CategoryDropout(config, COLUMNS, masks=masks_of(kind), probability=0.1, device=CPU)
    rows = 5000
    dense = torch.ones(2, rows, 6)  # number and flags
    places = torch.tensor([3, 6 + 2]).repeat(2, rows, 1)
    drop(dense, places)
    assert (dense[..., 0] == 1).all(), "a number is no category"
    assert (dense[..., 5] == 1).all(), "nor is a number's flag"
    one_hot = dense[..., 1:4]
    assert (one_hot == one_hot[..., :1]).all()
    assert set(places[..., 0].flatten().tolist()) == {0, 3}
    assert set(places[..., 1].flatten().tolist()) == {6, 8}
    dropped = torch.stack([one_hot[..., 0] == 0, places[..., 0] == 0, dense[..., 4] == 0, places[..., 1] == 6])
    shares = dropped.double().mean(dim=2)  # (columns, members)
    assert (shares - 0.1).abs().max() < 6 * np.sqrt(0.09 / rows)
    flat = dropped.flatten(0, 1).double()
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 6 / np.sqrt(rows), "columns and members are dropped apart"


def test_without_inputs_the_features_are_those_of_the_row():
    config = MLPConfig(layer_sizes=(4, 4, 2))
    drop = CategoryDropout(config, ((1, 2),), masks=masks_of("host", 1), probability=0.5, device=CPU)
    dense = torch.ones(1, 100, 4)
    drop(dense, None)
    assert (dense[..., [0, 3]] == 1).all()
    assert set(dense[0, :, 1].tolist()) == {0.0, 1.0}
    assert (dense[..., 1] == dense[..., 2]).all()


def tensors_of(model):
    return {name: tensor.tobytes() for name, tensor in model.checkpoint.tensors.items()}


@pytest.mark.parametrize(
    "settings", [{"engine": "numpy", "hidden_sizes": (16,)}, {"recipe": "classic"}, {}, {"members": 2}], ids=str
)
def test_the_seed_decides_what_is_dropped(settings):
    frame = houses(400)
    run = QUICK | {"epochs": 3} | settings
    first, again, other = (
        fit(frame, target="price", name="houses", drop_categories=share, **run) for share in (0.1, 0.1, 0.2)
    )
    assert tensors_of(first) == tensors_of(again)
    assert tensors_of(first) != tensors_of(other)


def test_where_unknown_categories_are_refused_nothing_is_dropped():
    frame, choices = houses(400), ColumnChoices(unknown="refuse")
    first, second = (
        fit(frame, target="price", name="houses", choices=choices, drop_categories=share, **QUICK)
        for share in (0.0, 0.3)
    )
    assert tensors_of(first) == tensors_of(second)


def test_a_table_without_categories_learns_as_it_did():
    frame = houses(400)[["area", "price"]]
    first, second = (fit(frame, target="price", name="houses", drop_categories=share, **QUICK) for share in (0.0, 0.3))
    assert tensors_of(first) == tensors_of(second)


@pytest.mark.parametrize("settings", [{}, {"members": 2}, {"recipe": "classic"}], ids=str)
def test_a_resumed_run_drops_what_an_undisturbed_one_does(tmp_path, settings):
    frame, path, seen = houses(400), tmp_path / "run.safetensors", []
    run = QUICK | {"drop_categories": 0.1} | settings
    whole = fit(frame, target="price", name="houses", **run)
    fit(
        frame,
        target="price",
        name="houses",
        keep=ResumeFile(path),
        on_epoch=seen.append,
        should_stop=lambda: len(seen) == 5,
        **run,
    )
    resumed = fit(frame, target="price", name="houses", keep=ResumeFile(path), resume=True, **run)
    assert resumed.trained.history == whole.trained.history
    assert tensors_of(resumed) == tensors_of(whole)


def test_the_row_of_unknown_categories_stays_zero_and_the_network_learns_around_it():
    model = fit(houses(400), target="price", name="houses", **QUICK)
    offset = model.checkpoint.config.inputs.table_offsets()[0]
    assert not model.checkpoint.tensors["inputs.embedding.weight"][offset].any()


def test_a_held_out_tenth_is_scored_and_its_unknown_rows_are_not_far_off():
    frame = houses()
    held_out = frame.sample(frac=0.1, random_state=1)
    model = fit(frame.drop(held_out.index), target="price", name="houses", epochs=40, hidden_sizes=(64, 64))
    known = set(model.checkpoint.schema.columns[0].categories)
    is_new = ~held_out["hood"].isin(known).to_numpy()
    assert 0 < is_new.sum() < len(held_out) / 4
    rows = held_out.drop(columns="price").to_dict("records")
    errors = np.array(model.predict(rows)) - held_out["price"].to_numpy()
    spread = held_out["price"].std()
    assert np.sqrt(np.mean(errors**2)) < 0.3 * spread
    assert np.sqrt(np.mean(errors[is_new] ** 2)) < 0.5 * spread
    unseen = [row | {"style": "never seen"} for row in rows]
    as_unknown = np.array(model.predict(unseen)) - held_out["price"].to_numpy()
    styles = held_out["style"].map(frame.groupby("style")["price"].mean()) - frame["price"].mean()
    # An unknown category has no information: the error is about the spread that the styles cause, and not more.
    assert np.sqrt(np.mean(as_unknown**2)) < 1.3 * styles.std()


@pytest.mark.parametrize("share", [-0.1, 1.0, "a", True])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(Exception, match=r"drop_categories must be in \[0, 1\)"):
        TrainConfig(drop_categories=share)
