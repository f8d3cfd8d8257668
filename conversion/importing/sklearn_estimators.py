"""Linear models and MLPs of scikit-learn as layers: weights, activations, and what the last layer's outputs mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from conversion.importing.imported_model import Float64Array, ImportRefused
from conversion.importing.sklearn_steps import class_name
from models.columns.labels import Label
from models.network.config import LayerActivation, NetworkOutput

_REGRESSIONS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)
_DECIDERS = (
    "LinearSVC",
    "PassiveAggressiveClassifier",
    "Perceptron",
    "RidgeClassifier",
    "RidgeClassifierCV",
)
_LOGISTIC = ("LinearDiscriminantAnalysis", "LogisticRegression", "LogisticRegressionCV")
_MLP_ACTIVATIONS: Mapping[str, LayerActivation] = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of an estimator.

    Attributes:
        weights: weights of each Linear, `(out, in)` float64.
        biases: biases of each Linear, `(out,)` float64.
        activation: function between two Linears.
        last: function after the last Linear; None for none.
        output: meaning of the outputs.
        labels: labels of the classes, in the order of the answers; empty for a regression.
    """

    weights: tuple[Float64Array, ...]
    biases: tuple[Float64Array, ...]
    activation: LayerActivation = "identity"
    last: LayerActivation | None = None
    output: NetworkOutput = "linear"
    labels: tuple[Label, ...] = ()

    @property
    def outputs(self) -> int:
        """Number of outputs of the last Linear."""
        return len(self.biases[-1])

    def rescaled(self, factor: Float64Array, shift: Float64Array, path: str) -> Layers:
        """Returns the layers of `factor·value + shift`, where both are `(outputs,)`.

        Raises:
            ImportRefused: The values are exponentials, and the result is no exponential.
        """
        if self.output == "exponential":
            if shift.any() or (factor <= 0).any():
                raise ImportRefused(f"{path} shifts the values of a logarithmic link, which Axon lacks.")
            return replace(self, biases=(*self.biases[:-1], self.biases[-1] + np.log(factor)))  # f·e^z = e^(z + log f)
        weights = (*self.weights[:-1], self.weights[-1] * factor[:, None])
        return replace(self, weights=weights, biases=(*self.biases[:-1], self.biases[-1] * factor + shift))


def layers_of(estimator: Any, path: str) -> Layers:
    """Returns the layers of a fitted estimator.

    Args:
        estimator: classifier or regressor of scikit-learn.
        path: place of the estimator, for messages.

    Raises:
        ImportRefused: The estimator is not an MLP or a linear model, or a classifier with several targets.
    """
    name = class_name(estimator)
    if name is None or name not in _ESTIMATORS:
        raise ImportRefused(
            f"{path} is a {type(estimator).__name__}, which is neither an MLP nor a linear model: Axon takes "
            f"{', '.join(sorted(_ESTIMATORS))}, alone or as the last step of a Pipeline."
        )
    try:
        return _ESTIMATORS[name](estimator, path)
    except AttributeError as error:
        raise ImportRefused(f"{path} is not fitted, or of an unknown version of scikit-learn: {error}.") from error


def _regression(estimator: Any, path: str) -> Layers:
    weight = _weights(estimator)  # (targets, features)
    bias = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64).ravel(), (len(weight),))
    return Layers(weights=(weight,), biases=(bias,))


def _tweedie(estimator: Any, path: str) -> Layers:
    """Returns the layers of a generalised linear model with the link log, or of Tweedie's with the identity."""
    link = getattr(estimator, "link", "log")
    if link == "auto":
        link = "identity" if estimator.power <= 0 else "log"
    layers = _regression(estimator, path)
    return replace(layers, output="exponential") if link == "log" else layers


def _decider(estimator: Any, path: str) -> Layers:
    """Returns the layers of a classifier that compares scores; two classes have the scores 0 and z."""
    weight, bias, labels = _scores(estimator, path)
    if len(weight) == 1:
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    return Layers(weights=(weight,), biases=(bias,), output="argmax", labels=labels)


def _logistic(estimator: Any, path: str) -> Layers:
    weight, bias, labels = _scores(estimator, path)
    multinomial = getattr(estimator, "multi_class", "auto") == "multinomial"
    if len(weight) == 1:
        factor = 2.0 if multinomial else 1.0  # softmax of -z and z, which is σ(2z)
        return Layers(weights=(factor * weight,), biases=(factor * bias,), output="sigmoid", labels=labels)
    one_against_rest = getattr(estimator, "multi_class", "auto") == "ovr" or (
        getattr(estimator, "solver", None) == "liblinear" and not multinomial
    )
    return _one_against_rest(weight, bias, labels) if one_against_rest else _softmax(weight, bias, labels)


def _sgd_classifier(estimator: Any, path: str) -> Layers:
    if estimator.loss == "modified_huber":
        raise ImportRefused(
            f"{path} has the probabilities of loss='modified_huber', which no network gives: train with "
            "loss='log_loss', or 'hinge'."
        )
    if estimator.loss != "log_loss":
        return _decider(estimator, path)
    weight, bias, labels = _scores(estimator, path)
    if len(weight) == 1:
        return Layers(weights=(weight,), biases=(bias,), output="sigmoid", labels=labels)
    return _one_against_rest(weight, bias, labels)


def _mlp_classifier(estimator: Any, path: str) -> Layers:
    labels = _labels(estimator, path)
    output: NetworkOutput | None = {"softmax": "softmax", "logistic": "sigmoid"}.get(estimator.out_activation_)  # type: ignore[assignment]
    if output is None:
        raise ImportRefused(f"{path} has the output activation {estimator.out_activation_!r}, which Axon lacks.")
    return replace(_mlp(estimator, path), output=output, labels=labels)


def _mlp_regressor(estimator: Any, path: str) -> Layers:
    if estimator.out_activation_ != "identity":
        raise ImportRefused(f"{path} has the output activation {estimator.out_activation_!r}, which Axon lacks.")
    return _mlp(estimator, path)


def _mlp(estimator: Any, path: str) -> Layers:
    if estimator.activation not in _MLP_ACTIVATIONS:
        raise ImportRefused(f"{path} has the activation {estimator.activation!r}, which Axon lacks.")
    return Layers(
        weights=tuple(np.asarray(weight, dtype=np.float64).T for weight in estimator.coefs_),
        biases=tuple(np.asarray(bias, dtype=np.float64) for bias in estimator.intercepts_),
        activation=_MLP_ACTIVATIONS[estimator.activation],
    )


def _transformed_target(estimator: Any, path: str) -> Layers:
    """Returns the layers of a regressor whose target was scaled, with the scaling undone in the last layer."""
    layers = layers_of(estimator.regressor_, f"{path} → regressor")
    inverse = estimator.transformer_
    name = class_name(inverse)
    if name == "StandardScaler":
        scale = np.ones(layers.outputs) if inverse.scale_ is None else inverse.scale_
        return layers.rescaled(scale, inverse.mean_ if inverse.with_mean else np.zeros(layers.outputs), path)
    if name == "MinMaxScaler" and not getattr(inverse, "clip", False):
        return layers.rescaled(1 / inverse.scale_, -inverse.min_ / inverse.scale_, path)
    if name == "FunctionTransformer" and inverse.inverse_func is None:
        return layers
    if name == "FunctionTransformer" and inverse.inverse_func is np.exp and layers.output == "linear":
        return replace(layers, output="exponential")
    raise ImportRefused(
        f"{path} → transformer is a {type(inverse).__name__}, whose inverse is neither affine nor np.exp: scale the "
        "target with a StandardScaler, a MinMaxScaler, or func=np.log and inverse_func=np.exp."
    )


def _scores(estimator: Any, path: str) -> tuple[Float64Array, Float64Array, tuple[Label, ...]]:
    """Returns weights, (scores, features), biases, (scores,), and labels; two classes have one score."""
    labels = _labels(estimator, path)
    weight = _weights(estimator)
    bias = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64).ravel(), (len(weight),))
    if len(weight) != (1 if len(labels) == 2 else len(labels)):
        raise ImportRefused(f"{path} has {len(weight)} scores for {len(labels)} labels: several labels a row?")
    return weight, bias, labels


def _weights(estimator: Any) -> Float64Array:
    """Returns the weights, (outputs, features), also of an estimator that was made sparse."""
    weight = estimator.coef_.toarray() if hasattr(estimator.coef_, "toarray") else estimator.coef_
    return np.atleast_2d(np.asarray(weight, dtype=np.float64))


def _labels(estimator: Any, path: str) -> tuple[Label, ...]:
    # Only the binarizer of an MLP or a ridge tells a matrix of labels from classes with the same numbers.
    if str(getattr(getattr(estimator, "_label_binarizer", None), "y_type_", "")).startswith("multilabel"):
        raise ImportRefused(f"{path} has several labels a row, and Axon answers one: train one model for each.")
    classes = estimator.classes_
    if isinstance(classes, list) or getattr(classes, "ndim", 1) != 1:
        raise ImportRefused(f"{path} has several targets, and Axon answers one: train one model for each.")
    labels = tuple(classes.tolist())
    if len(labels) < 2:
        raise ImportRefused(f"{path} knows one class only, {labels[0]!r}.")
    return labels


def _softmax(weight: Float64Array, bias: Float64Array, labels: tuple[Label, ...]) -> Layers:
    return Layers(weights=(weight,), biases=(bias,), output="softmax", labels=labels)


def _one_against_rest(weight: Float64Array, bias: Float64Array, labels: tuple[Label, ...]) -> Layers:
    """Returns the layers of `σ(z)/Σσ(z)`, which is the softmax of ln σ(z)."""
    return Layers(weights=(weight,), biases=(bias,), last="logsigmoid", output="softmax", labels=labels)


_ESTIMATORS: Mapping[str, Callable[[Any, str], Layers]] = {
    **dict.fromkeys(_REGRESSIONS, _regression),
    **dict.fromkeys(_DECIDERS, _decider),
    **dict.fromkeys(_LOGISTIC, _logistic),
    "MLPClassifier": _mlp_classifier,
    "MLPRegressor": _mlp_regressor,
    "SGDClassifier": _sgd_classifier,
    **dict.fromkeys(("GammaRegressor", "PoissonRegressor", "TweedieRegressor"), _tweedie),
    "TransformedTargetRegressor": _transformed_target,
}
