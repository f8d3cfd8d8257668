"""Target statistics of categories: no row sees its own target, and what is served is what was learned."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import axon
from models.errors import ConfigError
from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from models.network.mlp import MLP
from models.store import Store
from training.config import resolve
from training.data.column_choices import ColumnChoices
from training.engines.network.losses import SquaredError
from training.engines.network.masks import HostMasks
from training.engines.network.network import MemberBatch, Network
from training.engines.target_statistics import PRIOR_ROWS, ordered_means, statistics_size, target_statistics
from training.engines.trainer import Trainer
from training.fit import fit
from training.prepared_rows import prepare
from training.resume import ResumeFile
from training.sources import read_table

CPU = torch.device("cpu")
RUN = {"recipe": "default", "hidden_sizes": (12,), "epochs": 4, "category_statistics": True}
SIZE = 2  # learned columns of the embedding, in the test of the gradients


def shops(rows, *, shops=60, seed=0, noise=1.0):
    """Returns a table whose target is mostly the effect of a shop; some cells are missing."""
    rng = np.random.default_rng(seed)
    shop = rng.integers(0, shops, rows)
    effect = np.random.default_rng(7).normal(size=shops)
    frame = pd.DataFrame({"shop": [f"s{i}" for i in shop], "x": rng.normal(size=rows)})
    frame["y"] = 2 * effect[shop] + frame.x + noise * rng.normal(size=rows)
    frame.loc[rng.random(rows) < 0.05, "shop"] = None
    return frame


def prepared(frame, settings=RUN, **choices):
    table, config = read_table(frame, target="y", settings=settings, choices=ColumnChoices(**choices))
    return prepare(table, config), config


def statistics_of(frame, settings=RUN, **choices):
    rows, config = prepared(frame, settings, **choices)
    data = rows.matrices()
    return rows, data, target_statistics(rows.architecture, data, seed=config.seed)


def test_a_row_sees_the_rows_before_it_only():
    rng = np.random.default_rng(0)
    column, weight, order = rng.integers(0, 9, 200), rng.uniform(0, 2, 200), rng.permutation(200)
    targets = rng.normal(size=(200, 2))
    found = ordered_means(column, targets, weight, order)
    for at, row in enumerate(order):
        before = [other for other in order[:at] if column[other] == column[row]]
        expected = (targets[before] * weight[before, None]).sum(axis=0) / (weight[before].sum() + PRIOR_ROWS)
        assert found[row] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weighted", [0, 1, 1e-4, 1e4])
def test_the_table_has_means_and_counts_of_the_training_part(weighted):
    frame = shops(500)
    frame["w"] = (weighted or 1) * np.random.default_rng(1).uniform(0.1, 3, 500)
    rows, _, found = statistics_of(frame, **({"weight": "w"} if weighted else {}))
    train = frame.iloc[rows.split.train]
    weights = train.w / train.w.mean() if weighted else pd.Series(1.0, train.index)  # only their ratios count
    centred = train.y - np.average(train.y, weights=weights)
    scaled = centred / np.sqrt(np.average(centred**2, weights=weights))
    known = train.shop.notna()
    by_shop = pd.DataFrame({"shop": train.shop, "sum": scaled * weights, "weight": weights, "one": 1})[known]
    sums = by_shop.groupby("shop").sum()
    logarithms = np.log1p(sums.one)
    spread = logarithms[train.shop[known]]
    [column] = [column for column in rows.schema.columns if column.name == "shop"]
    table = found.tables[0]
    assert table.shape == (len(column.categories) + 1, 2)
    assert (table[0] == 0).all(), "a cell without category has no statistics"
    for place, name in enumerate(column.categories, start=1):
        mean = sums["sum"][name] / (sums.weight[name] + PRIOR_ROWS)
        count = (logarithms[name] - spread.mean()) / spread.std(ddof=0)
        assert table[place] == pytest.approx([mean, count], abs=1e-4)
    assert found.rows.shape == (1, len(train), 1, 1)


def test_the_own_fold_has_no_part_in_a_members_statistics():
    settings = RUN | {"members": 3, "folds": True}
    rows, data, found = statistics_of(shops(400), settings)
    own = data.folds == 1
    changed = target_statistics(rows.architecture, replace(data, y=np.where(own, data.y + 5, data.y)), seed=0)
    assert found.tables.shape[0] == 3
    assert (found.tables[1] == changed.tables[1]).all()
    assert (found.rows[1][~own] == changed.rows[1][~own]).all()
    assert (found.tables[0] != changed.tables[0]).any()
    assert (found.tables[2] != changed.tables[2]).any()


@pytest.mark.parametrize(("classes", "size"), [(2, 2), (3, 4), (10, 11), (11, 1)])
def test_classes_have_a_mean_each_up_to_ten(classes, size):
    frame = shops(900)
    frame["y"] = [f"c{i}" for i in np.random.default_rng(0).integers(0, classes, 900)]
    rows, _, found = statistics_of(frame)
    assert statistics_size(classes) == size == found.tables.shape[2]
    assert rows.architecture.inputs.embedding_size == 8 + size
    shown = frame.iloc[rows.split.train]
    if classes == 3:
        [column] = [column for column in rows.schema.columns if column.name == "shop"]
        of_shop = shown[shown.shop == column.categories[4]]
        for label in range(3):
            share = (shown.y == f"c{label}").mean()
            centred = ((of_shop.y == f"c{label}") - share) / np.sqrt(share * (1 - share))
            assert found.tables[0, 5, label] == pytest.approx(centred.sum() / (len(of_shop) + PRIOR_ROWS), abs=1e-5)


@pytest.mark.parametrize("members", [1, 2])
def test_gradients_are_autograds_and_statistics_are_not_learned(members):
    """Checks gradients against networks in which every row is a category of its own with the seen statistics."""
    rng = np.random.default_rng(0)
    rows, categories = 40, 6
    category = rng.integers(0, categories + 1, rows)  # 0 for unknown
    category[:3] = 0

    def config(count, members=1):
        inputs = InputConfig(numbers=(0,), indices=(1,), categories=(count,), embedding_size=SIZE + 2, scale=True)
        return MLPConfig(layer_sizes=(2, 5, 1), output="linear", inputs=inputs, members=members)

    tables = rng.normal(size=(members, categories + 1, 2)).astype(np.float32)
    tables[:, 0] = 0
    network = Network(
        config(categories, members), masks=HostMasks(np.zeros(members), seed=0), statistics=tables, device=CPU,
        dtype=torch.float64,
    )  # fmt: skip
    states = [MLP(config(categories), generator=torch.Generator().manual_seed(i)).to_tensors() for i in range(members)]
    stacked = {name: np.stack([state[name] for state in states]) for name in states[0]}
    network.load(stacked if members > 1 else states[0])
    seen = rng.normal(size=(members, rows, 1, 1))
    x, target = rng.normal(size=(rows, 1)), rng.normal(size=rows)
    batch = MemberBatch(
        dense=torch.from_numpy(x).expand(members, -1, -1),
        rows=torch.from_numpy(category)[:, None].expand(members, -1, -1),
        target=torch.from_numpy(target)[None],
        weight=None,
        statistics=torch.from_numpy(seen),
    )
    losses = network.learn(batch, SquaredError())
    for i in range(members):
        module = MLP(config(rows)).double()
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name != "inputs.embedding.weight":
                    parameter.copy_(torch.from_numpy(states[i][name]))
            table = np.zeros((rows + 1, SIZE + 2))
            table[1:, :SIZE] = states[i]["inputs.embedding.weight"][category, :SIZE]
            table[1:, SIZE:] = tables[i, category]
            table[1:, SIZE] = np.where(category > 0, seen[i, :, 0, 0], 0)
            module.inputs.embedding.weight.copy_(torch.from_numpy(table))
        own = torch.from_numpy(np.column_stack([x[:, 0], np.arange(1, rows + 1)]))
        loss = torch.square(module(own)[:, 0] - torch.from_numpy(target)).mean()
        loss.backward()
        assert losses[i].item() == pytest.approx(loss.item(), rel=1e-6)
        for name, parameter in module.named_parameters():
            gradient = parameter.grad.numpy()
            found = network.parameters.gradients[name][i].numpy()
            if name == "inputs.embedding.weight":
                by_category = np.zeros((categories + 1, SIZE))
                np.add.at(by_category, category, gradient[1:, :SIZE])
                by_category[0] = 0  # the row of a cell without category is not learned
                gradient = by_category
            np.testing.assert_allclose(found, gradient, atol=1e-6)
    saved = network.tensors()["inputs.embedding.weight"].reshape(members, categories + 1, SIZE + 2)
    np.testing.assert_allclose(saved[..., SIZE:], tables)
    np.testing.assert_allclose(saved[..., :SIZE], stacked["inputs.embedding.weight"][..., :SIZE])


@pytest.mark.parametrize("more", [{}, {"members": 2}, {"members": 3, "folds": True}], ids=["one", "two", "folds"])
def test_statistics_stay_in_training_while_the_embedding_learns(more):
    rows, config = prepared(shops(400), RUN | more)
    data = rows.matrices()
    trainer = Trainer(config, rows.architecture, data, device=CPU)
    before = trainer.network.tensors()["inputs.embedding.weight"]
    for _ in range(2):
        trainer.epoch()
    after = trainer.network.tensors()["inputs.embedding.weight"]
    tables = target_statistics(rows.architecture, data, seed=config.seed).tables
    expected = np.broadcast_to(tables, (config.members, *tables.shape[1:])).reshape(*before.shape[:-1], 2)
    assert (after[..., -2:] == expected).all()
    assert (after[..., :-2] != before[..., :-2]).any()


@pytest.mark.parametrize(
    "more",
    [{}, {"members": 2, "distill": True}, {"members": 3, "folds": True}, {"metric": "mae"}],
    ids=["one", "distilled", "folds", "mae"],
)
def test_what_is_served_is_the_model_that_was_evaluated(more, tmp_path):
    frame = shops(500)
    model = fit(frame, target="y", name="shops", **RUN | more)
    store = Store(tmp_path / "store")
    model.publish(store)
    test = frame.iloc[model.split.test]
    answers = np.array(axon.load("shops", store=store.root).predict(test.drop(columns="y")))
    assert float(np.sqrt(np.mean((answers - test.y) ** 2))) == pytest.approx(model.metrics["test"]["rmse"], rel=1e-4)
    with pytest.warns(UserWarning, match="a category that training did not see"):
        unknown = axon.load("shops", store=store.root).predict(pd.DataFrame({"shop": ["new"], "x": [0.0]}))
    assert np.isfinite(unknown).all()


def test_statistics_help_where_categories_have_few_rows():
    frame = shops(1_200, shops=300, noise=0.5)
    run = RUN | {"epochs": 30, "hidden_sizes": (32,)}

    def error(on):
        settings = [run | {"category_statistics": on, "seed": seed} for seed in range(2)]
        return np.mean([fit(frame, target="y", name="shops", **one).metrics["test"]["rmse"] for one in settings])

    assert error(True) < error(False)


def test_the_same_run_gives_the_same_bytes_also_after_a_pause(tmp_path):
    frame = shops(300)
    whole = fit(frame, target="y", name="shops", **RUN).checkpoint
    again = fit(frame, target="y", name="shops", **RUN).checkpoint
    assert all((whole.tensors[name] == again.tensors[name]).all() for name in whole.tensors)
    path = tmp_path / "run.resume"
    seen = []
    stop = {"on_epoch": seen.append, "should_stop": lambda: len(seen) == 2}
    stopped = fit(frame, target="y", name="shops", keep=ResumeFile(path), **stop, **RUN)
    assert stopped.trained.epochs_run == 2
    resumed = fit(frame, target="y", name="shops", keep=ResumeFile(path), resume=True, **RUN).checkpoint
    assert all((whole.tensors[name] == resumed.tensors[name]).all() for name in whole.tensors)


def test_settings_without_embeddings_are_refused():
    with pytest.raises(ConfigError, match="embedding_size is 0: give it, such as 8"):
        resolve({"recipe": "classic", "category_statistics": True}, task="regression")
    with pytest.raises(ConfigError, match="category_statistics must be true or false"):
        resolve({"category_statistics": 1}, task="regression")
    with pytest.raises(ConfigError, match="the numpy engine has no category_statistics=True"):
        resolve({"engine": "numpy", "category_statistics": True}, task="regression")


def test_tables_without_such_columns_have_no_statistics():
    frame = shops(200).drop(columns="shop")
    _, _, found = statistics_of(frame)
    assert found is None
    model = fit(frame, target="y", name="plain", **RUN)
    same = fit(frame, target="y", name="plain", **RUN | {"category_statistics": False})
    assert all(
        (model.checkpoint.tensors[name] == same.checkpoint.tensors[name]).all() for name in same.checkpoint.tensors
    )
