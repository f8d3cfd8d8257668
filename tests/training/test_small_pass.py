"""Small networks take their steps in NumPy: these are torch's steps up to rounding. Other networks stay with torch."""

import numpy as np
import pytest
import torch
from sign_matrices import matrices

from training.config import resolve
from training.engines import small_pass, trainer
from training.engines.engine import Matrices
from training.engines.gradients import BatchGradient, SmallBatchGradient
from training.engines.member_rates import MemberRates
from training.engines.trainer import Trainer

CPU = torch.device("cpu")


def trainer_of(members=1, *, data=None, rates=None, **settings):
    # 150 rows in batches of 40: the last batch of an epoch has another size.
    plain = {"recipe": "classic", "hidden_sizes": (16, 8), "epochs": 5, "batch_size": 40, "members": members}
    config = resolve({**plain, **settings}, task="classification")
    return Trainer(
        config, config.architecture(in_features=4, out_features=2), data or matrices(), device=CPU, rates=rates
    )


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        # A bias before BatchNorm has the gradient 0, and Adam makes full steps of its rounding errors.
        {"dropout": 0.5, "bias": False},
        {"dropout": 0.0, "normalization": "layer", "activation": "mish", "clip_norm": 0.1},
        {"learned_activation": True, "activation": "selu", "weight_decay": 0.1, "optimizer": "adamw", "bias": False},
        {"normalization": "none", "parametrization": "ntk", "label_smoothing": 0.1},
    ],
    ids=["dropout", "layer norm", "learned activation", "ntk"],
)
def test_steps_in_numpy_are_torchs_up_to_rounding(monkeypatch, settings, members):
    """Compares two trainers with the same seed, so with the same batches, masks and dropped categories."""
    data = matrices()
    weight = np.random.default_rng(2).uniform(0.5, 2, len(data.x))
    data = Matrices(
        x=data.x,
        y=data.y,
        validation_x=data.validation_x,
        validation_y=data.validation_y,
        weight=weight,
        categories=((1, 2),),
    )
    rates = MemberRates(learning_rates=np.array([1.0, 0.3, 2.0])) if members == 3 else None
    settings = {"drop_categories": 0.2, "learning_rate": 0.01, **settings}
    by_numpy = trainer_of(members, data=data, rates=rates, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "is_small", lambda config, rows: False)
        by_torch = trainer_of(members, data=data, rates=rates, **settings)
    assert isinstance(by_numpy._step._learn, SmallBatchGradient)
    assert not isinstance(by_torch._step._learn, SmallBatchGradient)
    for _ in range(3):
        torch.testing.assert_close(by_numpy.epoch(), by_torch.epoch(), rtol=1e-4, atol=1e-5)
    for name, expected in by_torch.network.tensors().items():
        np.testing.assert_allclose(by_numpy.network.tensors()[name], expected, rtol=2e-3, atol=2e-4, err_msg=name)


def test_a_batch_of_one_row_takes_the_running_statistics():
    many, one = trainer_of(dropout=0.0), trainer_of(dropout=0.0)
    for each in (many, one):
        each.epoch()
    before = one.network.tensors()
    one.step(torch.tensor([[3]]), rate=0.0)
    after = one.network.tensors()
    assert all(np.array_equal(after[name], value) for name, value in before.items()), "no statistic has moved"
    assert all(np.isfinite(value).all() for value in after.values())


def test_small_are_networks_whose_layers_are_narrow_for_the_batch():
    def gradient(hidden, **settings):
        return type(trainer_of(hidden_sizes=hidden, **settings)._step._learn)

    widest = small_pass._SMALL // 40
    assert gradient((widest,)) is SmallBatchGradient
    assert gradient((widest + 1,)) is BatchGradient
    assert gradient((widest // 2 + 1,), members=2) is BatchGradient
    assert gradient((16,), precision="bfloat16") is BatchGradient


def test_numbers_that_overflow_cause_no_warning():
    diverging = trainer_of(normalization="none", learning_rate=1e30)
    diverging.epoch()
    assert not np.isfinite(float(diverging.epoch()))
