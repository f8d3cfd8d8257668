"""The engines learn, keep the best epoch by validation, clip gradients by norm, stop on request, and are repeatable."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.errors import ConfigError
from models.network.config import MLPConfig
from models.network.mlp import MLP
from training.config import resolve
from training.engines import numpy_engine, perceptron_engine, torch_engine
from training.engines.device import choose_device
from training.engines.engine import EpochLog, Matrices, batches
from training.engines.network.adam import Adam
from training.errors import TrainingError

ENGINES = {"torch": torch_engine, "numpy": numpy_engine}


def data(rows=60, *, regression=False, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    score = x @ np.array([1, -2, 0.5]) + noise * rng.normal(size=rows)
    y = (score / score.std()).astype(np.float32) if regression else (score > 0).astype(np.int64)
    cut = rows * 2 // 3
    return Matrices(x=x[:cut], y=y[:cut], validation_x=x[cut:], validation_y=y[cut:])


def train(engine, matrices, *, regression=False, **settings):
    # Small and plain; additions of the default recipe have tests of their own.
    plain = {"hidden_sizes": (8,), "epochs": 20}
    if engine == "torch":
        plain |= {"recipe": "classic", "normalization": "none", "dropout": 0.0, "learning_rate": 0.003}
    config = resolve({"engine": engine, **plain, **settings}, task="regression" if regression else "classification")
    architecture = config.architecture(
        in_features=matrices.x.shape[1], out_features=1 if regression else 2, output="linear" if regression else None
    )
    module = {**ENGINES, "perceptron": perceptron_engine}[engine]
    return config, architecture, lambda **callbacks: module.train(config, architecture, matrices, **callbacks)


def validation_loss(architecture, tensors, matrices):
    """Computes the validation loss with torch, whichever engine trained the network."""
    with torch.no_grad():
        out = MLP.from_tensors(architecture, tensors).eval()(torch.from_numpy(matrices.validation_x))
        y = torch.from_numpy(matrices.validation_y)
        if architecture.output == "linear":
            return float(torch.nn.functional.mse_loss(out[:, 0], y))
        return float(torch.nn.functional.cross_entropy(out, y))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("regression", [False, True])
def test_the_kept_tensors_are_those_of_the_best_epoch_by_validation(engine, regression):
    # Noise and a high rate: the validation loss goes up and down, so the last epoch is not the best.
    matrices = data(regression=regression, noise=2.0)
    _, architecture, run = train(
        engine, matrices, regression=regression, epochs=60, patience=None, learning_rate=0.1, hidden_sizes=(32,)
    )
    epochs = []
    trained = run(on_epoch=epochs.append)
    losses = trained.history["validation_loss"]
    assert len(losses) == trained.epochs_run == 60
    assert trained.stopped == "epochs"
    assert trained.best_epoch == int(np.argmin(losses)) + 1 < 60
    kept = validation_loss(architecture, trained.tensors, matrices)
    assert kept == pytest.approx(min(losses), rel=1e-4, abs=1e-6)
    assert [epoch.number for epoch in epochs if epoch.is_best][-1] == trained.best_epoch
    assert [epoch.measures["validation_loss"] for epoch in epochs] == losses


@pytest.mark.parametrize("engine", ENGINES)
def test_an_epoch_tells_the_learning_rate_of_its_last_step(engine):
    _, _, run = train(engine, data(), epochs=4, batch_size=10, learning_rate=0.008)  # 40 rows: four steps an epoch
    epochs = []
    run(on_epoch=epochs.append)
    shift = {"torch": 0.5, "numpy": 0.0}[engine]  # fraction of a step at which its time is taken
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx(
        [0.004 * (1 + math.cos(math.pi * (4 * number - 1 + shift) / 16)) for number in (1, 2, 3, 4)]
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_patience_ends_the_run_that_many_epochs_after_the_best(engine):
    _, _, run = train(
        engine, data(noise=2.0), epochs=500, patience=5, learning_rate=0.1, hidden_sizes=(32,), batch_size=8
    )
    trained = run()
    assert trained.stopped == "patience"
    assert trained.epochs_run == trained.best_epoch + 5 < 500


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_is_asked_to_stop_keeps_its_best_epoch(engine):
    matrices = data()
    _, architecture, run = train(engine, matrices, epochs=500, patience=None)
    seen = []
    trained = run(on_epoch=seen.append, should_stop=lambda: len(seen) == 3)
    assert (trained.stopped, trained.epochs_run) == ("asked", 3)
    assert validation_loss(architecture, trained.tensors, matrices) == pytest.approx(
        min(trained.history["validation_loss"]), rel=1e-4
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(engine):
    def tensors(seed):
        _, _, run = train(engine, data(), seed=seed, epochs=3, **({"dropout": 0.3} if engine == "torch" else {}))
        return b"".join(tensor.tobytes() for tensor in run().tensors.values())

    assert tensors(1) == tensors(1) != tensors(2)


def test_torchs_global_generator_is_the_callers():
    _, _, run = train("torch", data(), dropout=0.5, epochs=2)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_clipped_at_the_norm(engine):
    """Checks the length of one step of plain descent, at most rate × norm; for Adam, checks the gradients."""
    matrices = data(regression=True)
    matrices = Matrices(x=100 * matrices.x, y=100 * matrices.y, validation_x=matrices.x, validation_y=matrices.y)
    config, architecture, run = train(
        engine, matrices, regression=True, epochs=1, batch_size=40, clip_norm=1.0, weight_decay=0.0, learning_rate=0.5
    )
    if engine == "numpy":
        rng = np.random.default_rng(config.seed)
        before = numpy_engine.NumpyMLP(architecture, rng=rng).to_tensors()
        after = run().tensors
        length = math.sqrt(sum(np.square(after[name] - before[name]).sum() for name in before))
        assert length == pytest.approx(0.5 * 1.0, rel=1e-4)
        return
    norms = []
    step = Adam.step

    def spy(self, rate):
        norms.append(float(torch.linalg.vector_norm(self._tensors[1][0])))
        return step(self, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adam, "step", spy)
        run()
    assert norms == [pytest.approx(1.0, rel=1e-4)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("error")
def test_a_run_that_diverges_names_the_epoch_and_the_remedy(engine):
    _, _, run = train(engine, data(regression=True), regression=True, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"in epoch \d+: nothing was kept; try a smaller learning rate"):
        run()


@pytest.mark.parametrize("rows", [2, 17, 33, 34])
@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalisation_copes_with_a_row_that_is_left_over(rows, normalization):
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    y = np.arange(rows) % 2
    matrices = Matrices(x=x, y=y, validation_x=x, validation_y=y)
    _, architecture, run = train("torch", matrices, normalization=normalization, batch_size=16, epochs=2)
    assert set(run().tensors) == set(architecture.tensor_shapes())


def test_both_optimisers_learn():
    for optimizer in ("adam", "adamw"):
        _, _, run = train("torch", data(300), optimizer=optimizer, epochs=60, learning_rate=0.02, batch_size=32)
        assert min(run().history["validation_loss"]) < 0.1


def test_without_hidden_layers_it_is_logistic_regression():
    matrices = data(300, noise=1.0)
    _, _, run = train(
        "torch",
        matrices,
        hidden_sizes=(),
        optimizer="adam",
        weight_decay=0.0,
        epochs=200,
        learning_rate=0.05,
        batch_size=200,
        patience=None,
        clip_norm=1e9,
    )
    assert min(run().history["train_loss"]) == pytest.approx(_logistic_loss(matrices), rel=1e-2)


def _logistic_loss(matrices):
    oracle = LogisticRegression(C=1e6).fit(matrices.x, matrices.y)
    return -oracle.predict_log_proba(matrices.x)[np.arange(len(matrices.y)), matrices.y].mean()


class TestPerceptron:
    def test_it_says_when_it_has_converged(self):
        x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.float32)
        y = np.array([0, 0, 0, 1])
        _, _, run = train("perceptron", Matrices(x=x, y=y, validation_x=x, validation_y=y), hidden_sizes=(), epochs=100)
        epochs = []
        trained = run(on_epoch=epochs.append)
        assert trained.stopped == "converged"
        assert trained.history["mistakes"][-1] == 0
        assert [epoch.measures["mistakes"] for epoch in epochs] == trained.history["mistakes"]
        assert "converged" in trained.verdict

    def test_it_says_that_it_never_will(self):
        x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.float32)
        y = np.array([0, 1, 1, 0])
        _, _, run = train("perceptron", Matrices(x=x, y=y, validation_x=x, validation_y=y), hidden_sizes=(), epochs=100)
        trained = run()
        assert trained.stopped == "cycled"
        assert "cannot converge" in trained.verdict

    def test_it_stops_when_asked_with_whole_weights(self):
        _, architecture, run = train("perceptron", data(noise=5.0), hidden_sizes=(), epochs=1000)
        seen = []
        trained = run(on_epoch=seen.append, should_stop=lambda: len(seen) == 2)
        assert (trained.stopped, trained.epochs_run) == ("asked", 2)
        assert {name: tensor.shape for name, tensor in trained.tensors.items()} == architecture.tensor_shapes()


@pytest.mark.parametrize(
    ("setting", "named"),
    [({"activation": "gelu"}, "gelu"), ({"dropout": 0.1}, "dropout"), ({"normalization": "batch"}, "normalization")],
)
def test_the_numpy_engine_refuses_what_it_does_not_have(setting, named):
    _, _, run = train("numpy", data(), **setting)
    with pytest.raises(ConfigError, match=named):
        run()


@pytest.mark.parametrize(("rows", "size"), [(1, 16), (16, 16), (17, 16), (18, 16), (33, 16), (48, 16), (3, 1)])
def test_batches_cover_the_rows_once_and_leave_no_row_alone(rows, size):
    cuts = batches(rows, size)
    assert [row for begin, end in cuts for row in range(begin, end)] == list(range(rows))
    if size > 1 and rows > 1:
        assert all(1 < end - begin <= size + 1 for begin, end in cuts)


def test_of_two_equal_epochs_the_first_is_the_best():
    log = EpochLog(epochs=3, patience=2, on_epoch=lambda epoch: None)
    assert [log.add(validation_loss=loss) for loss in (0.5, 0.5, 0.5)] == [True, False, False]
    assert log.is_out_of_patience


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError, match=device):
        choose_device(device)


def test_auto_is_a_device_that_is_there():
    assert choose_device() in ("cpu", "cuda")


def test_an_architecture_may_come_from_anywhere():
    architecture = MLPConfig(layer_sizes=(3, 4, 2), normalization="layer", dropout=0.2)
    config = resolve({"recipe": "classic", "epochs": 1}, task="classification")
    trained = torch_engine.train(config, architecture, data())
    assert trained.architecture == architecture


def test_patience_counts_from_the_last_epoch_that_was_better_and_not_just_as_good():
    """Keeps the later of epochs with equal error, but ends a run that does not improve."""
    matrices = data(60)
    _, _, run = train(
        "torch", matrices, select_by="error", patience=4, epochs=300, learning_rate=0.02, hidden_sizes=(16,)
    )
    trained = run()
    errors = trained.history["validation_error"]
    least = min(errors)
    assert trained.stopped == "patience"
    assert trained.epochs_run == errors.index(least) + 1 + 4 < 300
    assert trained.best_epoch == len(errors) - errors[::-1].index(least)


def test_a_run_of_one_step_learns_something():
    config = resolve({"epochs": 1}, task="classification")
    architecture = config.architecture(in_features=3, out_features=2)
    kept = torch_engine.train(config, architecture, data()).tensors
    first = torch_engine.Trainer(config, architecture, data(), device=torch.device("cpu")).network.tensors()
    assert any((kept[name] != first[name]).any() for name in kept)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_one_row_is_enough_for_the_data_driven_start(normalization):
    x, y = np.ones((1, 3), dtype=np.float32), np.zeros(1, dtype=np.int64)
    matrices = Matrices(x=x, y=y, validation_x=x, validation_y=y)
    settings = {"epochs": 1, "normalization": normalization, "hidden_sizes": (4,)}
    config = resolve(settings, task="classification")
    architecture = config.architecture(in_features=3, out_features=2)
    tensors = torch_engine.train(config, architecture, matrices).tensors
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_the_numpy_engine_decays_weights_and_no_biases():
    matrices = data(noise=1.0)
    _, architecture, run = train("numpy", matrices, epochs=1, batch_size=40, learning_rate=0.5, weight_decay=0.0)
    config, _, decayed = train("numpy", matrices, epochs=1, batch_size=40, learning_rate=0.5, weight_decay=0.01)
    start = numpy_engine.NumpyMLP(architecture, rng=np.random.default_rng(config.seed)).to_tensors()
    plain, shrunk = run().tensors, decayed().tensors
    for name, tensor in plain.items():
        expected = tensor if name.endswith("bias") else tensor - 0.5 * 0.01 * start[name]
        np.testing.assert_allclose(shrunk[name], expected, atol=1e-6)
