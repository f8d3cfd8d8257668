"""Parameters are counted as in torch, and hyperparameters are all settings of a run."""

import pytest

from models.network.mlp import MLP
from training.config import OPTIONAL, TrainConfig
from training.run_parts import hyperparameters_of, outcome_of, parameters_of
from training.studies import parameters
from training.studies.plain_fit import fit_plain


@pytest.fixture(scope="module")
def result():
    return parameters.run(quick=True)


def test_the_claim_holds(result):
    assert result.holds
    first, again, reseeded, wider = result.runs
    assert first.values.tobytes() == again.values.tobytes() != reseeded.values.tobytes()
    assert (len(first.values), len(wider.values)) == (67, 131)


def test_all_settings_are_listed_and_nothing_else(result):
    saved = tuple(name for name in TrainConfig.setting_names() if name not in OPTIONAL)
    assert tuple(result.hyperparameters) == saved
    assert result.hyperparameters["hidden_sizes"] == [parameters.WIDTH]
    assert result.hyperparameters["seed"] == 0


def test_running_statistics_are_no_parameters():
    from training.fit import fit

    model = fit("iris", recipe="classic", hidden_sizes=(4,), epochs=2)
    module = MLP.from_tensors(model.checkpoint.config, model.checkpoint.tensors)
    found = {tensor.name: tensor for tensor in parameters_of(model.checkpoint)}
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tuple(parameter.shape) for name, parameter in module.named_parameters()
    }
    for name, parameter in module.named_parameters():
        assert (found[name].least, found[name].most) == (parameter.min().item(), parameter.max().item())
        assert found[name].mean == pytest.approx(parameter.double().mean().item(), rel=1e-6, abs=1e-9)
    assert not {*hyperparameters_of(model.checkpoint)} & {*outcome_of(model.checkpoint)}
    assert outcome_of(model.checkpoint)["epochs_run"] == 2


def test_a_run_that_depends_on_more_than_its_hyperparameters_is_found_out(monkeypatch):
    seeds = iter(range(100, 200))

    def forgetful(dataset, *, hidden_sizes, epochs, seed):
        return fit_plain(dataset, hidden_sizes=hidden_sizes, epochs=2, seed=next(seeds))

    monkeypatch.setattr(parameters, "fit_plain", forgetful)
    assert not parameters.run(quick=True).holds
