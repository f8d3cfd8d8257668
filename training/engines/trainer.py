"""A trainer: networks, rows and an optimiser, with the operations epoch, step and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import MLPConfig
from training.config import TrainConfig
from training.data.class_balance import class_shares
from training.engines.engine import Matrices, batches
from training.engines.folds import MemberFolds
from training.engines.gradients import BatchGradient, SmallBatchGradient
from training.engines.graphed_steps import Amounts, DeviceSteps, GraphedSteps
from training.engines.initial import initial_tensors
from training.engines.member_rates import MemberRates, smoothing_of
from training.engines.network.category_dropout import CategoryDropout
from training.engines.network.device_masks import DeviceMasks
from training.engines.network.masks import HostMasks, Masks
from training.engines.network.network import Network
from training.engines.objective import loss_of
from training.engines.rows import DeviceRows
from training.engines.schedules import LEARNING_RATES, REGULARIZATIONS
from training.engines.selection import SelectionFigure, figure_of
from training.engines.small_pass import is_small
from training.engines.step import Step
from training.engines.target_statistics import target_statistics
from training.engines.unseen_features import without_unseen
from training.recipes import learning_rate_factor

_EVALUATED_CELLS = 4_000_000  # cells of the widest layer, over all members, per evaluated batch: 16 MB
_EVALUATED_ROWS = 8192


@dataclass(frozen=True, slots=True)
class MemberEvaluation:
    """The figures of each member on the validation part, as tensors on the device.

    Attributes:
        loss: (members,) mean loss.
        error: (members,) share of misclassified rows; for a regression, the loss.
        figure: (members,) figure of `select_by` of which less is better; None for the loss or the error.
    """

    loss: Tensor
    error: Tensor
    figure: Tensor | None = None


class Trainer:
    """Trains `architecture.members` networks at once. On a CPU, the same arguments give the same bytes.

    The trainer does not use torch's global random generators.

    Attributes:
        config: settings of the run.
        network: networks of all members.
        steps_an_epoch: number of batches per epoch.
        steps_done: number of steps taken so far.
    """

    def __init__(
        self,
        config: TrainConfig,
        architecture: MLPConfig,
        data: Matrices,
        *,
        device: torch.device,
        rates: MemberRates | None = None,
    ) -> None:
        """Draws the initial weights and copies weights and rows to the device.

        Args:
            config: settings of the run.
            architecture: architecture of the networks, with their number as `members`.
            data: rows and targets.
            device: torch device of weights and rows.
            rates: hyperparameters that differ between the members; None for no difference.
        """
        rates = rates or MemberRates()
        members = architecture.members
        self.config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        dropouts = np.full(members, architecture.dropout) if rates.dropouts is None else rates.dropouts
        self._masks: Masks
        if device.type == "cpu":
            self._masks = host_masks = HostMasks(dropouts, seed=config.seed)
        else:
            self._masks = device_masks = DeviceMasks(dropouts, seed=config.seed, device=device)
        statistics = target_statistics(architecture, data, seed=config.seed) if config.category_statistics else None
        tables = None if statistics is None else statistics.tables[np.arange(members) % len(statistics.tables)]
        ntk = config.parametrization == "ntk"
        self.network = Network(
            architecture,
            masks=self._masks,
            ntk=ntk,
            bf16=config.precision == "bfloat16",
            factor=learning_rate_factor if ntk else _alike,
            member_rates=None if rates.learning_rates is None else torch.from_numpy(rates.learning_rates),
            statistics=tables,
            device=device,
        )
        sample = data.x if config.initialization == "data" else None
        tensors = initial_tensors(architecture, sample=sample, statistics=tables, generator=self._generator)
        self.network.load(tensors if data.folds is None else without_unseen(tensors, architecture, data))
        self._train = DeviceRows(
            architecture,
            data.x,
            data.y,
            data.weight,
            taught=data.taught,
            statistics=None if statistics is None else statistics.rows,
            device=device,
        )
        self._validation = DeviceRows(
            architecture, data.validation_x, data.validation_y, data.validation_weight, device=device
        )
        self._shares = None if architecture.task == "regression" else _shares(architecture, data, device)  # (classes,)
        smoothing = smoothing_of(config, rates, device)
        has_teacher, largest = data.taught is not None, float(data.y.max())
        self._loss = loss_of(
            config,
            self._shares,
            smoothing=smoothing,
            has_teacher=has_teacher,
            largest=largest,
            targets=architecture.out_features,
        )
        self._folds = None if data.folds is None else MemberFolds(data.folds, members, data.weight, device=device)
        learned = len(self._train) if self._folds is None else self._folds.learned
        size = min(config.batch_size_for(len(self._train)), learned)
        cuts = batches(learned, size)
        self._cuts = [cut for cut in cuts if cut[1] - cut[0] >= size] if config.drop_last else cuts
        if config.rows_per_epoch is not None:
            self._cuts = self._cuts[: max(config.rows_per_epoch // size, 1)]
        self._device = device
        category_dropout = None
        if (share := config.drop_categories) and data.categories:
            category_dropout = CategoryDropout(
                architecture, data.categories, masks=self._masks, probability=share, device=device
            )
        parts = self.network, self._train, self._loss, category_dropout
        by_numpy = device.type == "cpu" and config.precision == "float32" and is_small(architecture, size)
        gradient = SmallBatchGradient(*parts, masks=host_masks) if by_numpy else BatchGradient(*parts)
        self._step = Step(config, self.network.parameters, gradient, weight_decays=rates.weight_decays)
        self._adam = self._step.adam
        self._device_steps: DeviceSteps | None = None
        if device.type == "cuda":
            self._device_steps = GraphedSteps(self._step, device_masks)
        self._rate_of = LEARNING_RATES[config.schedule]
        self._regularization_of = REGULARIZATIONS[config.regularization]
        self.steps_an_epoch = len(self._cuts)
        self.steps_done = 0
        self._epochs = config.epochs
        self._planned_at = (0, 0.0)  # step and time of the schedule at which `_epochs` was planned

    @torch.inference_mode()  # the derivatives are written by hand, and each call is faster without autograd
    def epoch(self) -> Tensor:
        """Trains one epoch; returns the mean training loss of each member, (members,), on the device."""
        members, rows = self.network.config.members, len(self._train)
        taken = self._cuts[-1][1]  # rows of an epoch: the rest of the order would only take memory
        if self._folds is None:
            order = torch.empty((members, taken), dtype=torch.int64)
            for of_member in order:
                of_member.copy_(torch.randperm(rows, generator=self._generator)[:taken])
        else:
            order = self._folds.order(self._generator, taken)
        order = order.to(self._device)  # (members, taken)
        total = torch.zeros(members, device=self._device)
        learned = sum(end - begin for begin, end in self._cuts)
        with _quiet():
            for (begin, end), loss in zip(self._cuts, self._steps(order), strict=True):
                total.add_(loss, alpha=(end - begin) / learned)
        return total

    def _steps(self, order: Tensor) -> Iterator[Tensor]:
        """Runs the steps of an epoch. Yields the losses of each step, (members,), which the next step overwrites."""
        amounts = [self._amounts_of(self.steps_done + i) for i in range(self.steps_an_epoch)]
        cuts = (order[:, begin:end] for begin, end in self._cuts)
        if self._device_steps is None:
            for batch, step in zip(cuts, amounts, strict=True):
                yield self._take(batch, step)
            return
        for batch, step_amounts in zip(cuts, self._device_steps.on_device(amounts), strict=True):
            self.steps_done += 1
            yield self._device_steps.take(batch, step_amounts)

    def plan(self, epochs: int) -> None:
        """Sets the number of epochs in all; the schedules continue from the present point to their end."""
        if epochs != self._epochs:
            self._planned_at = (self.steps_done, self._time_of(self.steps_done))
            self._epochs = epochs

    def _time_of(self, step: float) -> float:
        """Returns the time of the schedules at a step, from 0 to 1."""
        begin, time = self._planned_at
        left = self._epochs * self.steps_an_epoch - begin
        return time + (step - begin) / left * (1 - time) if left > 0 else 1.0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step, by the schedule."""
        return self._amounts_of(max(self.steps_done - 1, 0)).rate

    @torch.inference_mode()
    def step(self, order: Tensor, *, rate: float, regularization: float = 1.0) -> Tensor:
        """Trains one step on one batch.

        Args:
            order: (members, b) row numbers of the training part.
            rate: learning rate.
            regularization: factor on dropout and weight decay, from 0 to 1.

        Returns:
            (members,) loss of each member on the batch before the step, on the device.
        """
        with _quiet():
            return self._take(order, Amounts(rate, self.config.weight_decay * regularization, regularization))

    def _amounts_of(self, step: int) -> Amounts:
        """Returns the scheduled hyperparameters of a step, counted from 0."""
        time = self._time_of(step + 0.5)  # the middle of the step: waves begin at 0
        regularization = self._regularization_of(time)
        return Amounts(
            rate=self.config.learning_rate * self._rate_of(time),
            decay=self.config.weight_decay * regularization,
            regularization=regularization,
        )

    def _take(self, order: Tensor, amounts: Amounts) -> Tensor:
        if self.config.regularization != "constant":
            self._masks.scale_probabilities(amounts.regularization)
        loss = self._step(order, rate=amounts.rate, decay=amounts.decay)
        self.steps_done += 1
        return loss

    def random_batch(self) -> Tensor:
        """Draws (members, b) row numbers for a step outside of an epoch."""
        (begin, end), rows = self._cuts[0], len(self._train)
        members = self.network.config.members
        order = [torch.randperm(rows, generator=self._generator)[: end - begin] for _ in range(members)]
        return torch.stack(order).to(self._device)

    @torch.inference_mode()
    def evaluate(self) -> MemberEvaluation:
        """Evaluates each member on the validation part, without dropout."""
        if self._folds is not None:
            return self._evaluate_folds(self._folds)
        network, rows = self.network, len(self._validation)
        members = network.config.members
        loss = torch.zeros(members, device=self._device)
        error = torch.zeros(members, device=self._device)
        rows_at_once = min(max(_EVALUATED_CELLS // (members * widest(network.config)), 1), _EVALUATED_ROWS)
        figure = figure_of(self.config.select_by, members, self._shares, rows=rows)
        for batch in self._validation.parts(rows_at_once, members):
            out = network.forward(batch)
            share = batch.target.shape[1] / rows
            loss.add_(self._loss(out, batch.target, batch.weight, gradient=False), alpha=share)
            if network.config.task == "classification":
                wrong = (out.argmax(dim=-1) != batch.target).to(loss.dtype)  # (members, b)
                if batch.weight is not None:
                    wrong = wrong * batch.weight
                error.add_(wrong.mean(dim=1), alpha=share)
            if figure is not None:
                figure.add(out, batch.target, batch.weight)
        return _evaluation(loss, loss if network.config.task == "regression" else error, figure)

    def _evaluate_folds(self, folds: MemberFolds) -> MemberEvaluation:
        """Evaluates each member on its own fold."""
        network = self.network
        members = network.config.members
        loss = torch.zeros(members, device=self._device)
        error = torch.zeros(members, device=self._device)
        rows_at_once = min(max(_EVALUATED_CELLS // (members * widest(network.config)), 1), _EVALUATED_ROWS)
        figure = figure_of(self.config.select_by, members, self._shares, rows=len(self._train))
        for order, share in folds.parts(rows_at_once):
            batch = replace(self._train.batch(order), weight=share * order.shape[1])
            out = network.forward(batch)
            loss.add_(self._loss(out, batch.target, batch.weight, gradient=False))
            if network.config.task == "classification":
                error.add_(((out.argmax(dim=-1) != batch.target) * share).sum(dim=1))
            if figure is not None:
                figure.add(out, batch.target, share)
        return _evaluation(loss, loss if network.config.task == "regression" else error, figure)

    def evolve(
        self, parents: NDArray[np.int64], *, learning_rates: NDArray[np.float64], dropouts: NDArray[np.float64]
    ) -> None:
        """Copies the state of a parent into each member and sets new hyperparameters; the answers become the parent's.

        The trainer must have learning rates for each member. A member that diverges does not affect the others.

        Args:
            parents: (members,) index of the member whose weights and optimiser moments each member copies; the own
                index for no copy.
            learning_rates: (members,) new factors on the learning rate of the config.
            dropouts: (members,) new dropout probabilities.

        Raises:
            ConfigError: the trainer has no learning rates for each member.
        """
        index = torch.from_numpy(parents).to(self._device)
        scale = self.network.exploit(index, torch.from_numpy(learning_rates))  # factor on θ', (members, 1)
        first, second = self._adam.moments
        # θ = fθ', so the gradient of θ' is proportional to f, and θ' to 1/f.
        first.copy_(first[index] / scale)
        second.copy_(second[index] / scale**2)
        self._masks.set_probabilities(dropouts)
        self._apply_member_rates()

    def weights(self) -> list[Tensor]:
        """Returns copies of all tensors of inference, (members, …) each. After `evolve`, the copies are invalid."""
        return [tensor.clone() for tensor in self.current()]

    def set_weights(self, weights: list[Tensor]) -> None:
        """Sets the tensors of inference to copies from `weights`."""
        for tensor, value in zip(self.current(), weights, strict=True):
            tensor.copy_(value)
        self.network.parameters.refresh()

    def tensors_of(self, weights: list[Tensor]) -> dict[str, NDArray[np.float32]]:
        """Returns copies from `weights` in the form of a checkpoint; the present weights stay."""
        present = self.weights()
        self.set_weights(weights)
        tensors = self.network.tensors()
        self.set_weights(present)
        return tensors

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns everything that the next step depends on, except the rows, for `restore`: arrays by name."""
        return {
            **{f"weights.{i}": tensor.cpu().numpy().copy() for i, tensor in enumerate(self.current())},
            **{f"adam.{name}": array for name, array in self._adam.state().items()},
            "generator": self._generator.get_state().numpy().copy(),
            **{f"masks.{name}": array for name, array in self._masks.state().items()},
            "steps_done": np.array(self.steps_done),
            "plan": np.array([self._epochs, *self._planned_at], dtype=np.float64),
            **self._evolved(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores a `state`; on a CPU, training then continues bit for bit."""
        for i, tensor in enumerate(self.current()):
            tensor.copy_(torch.from_numpy(state[f"weights.{i}"]))
        self._adam.restore(_part(state, "adam."))
        self._generator.set_state(torch.from_numpy(state["generator"]))
        self._masks.restore(_part(state, "masks."))
        self.steps_done = int(state["steps_done"])
        if "plan" in state:  # not in a state that an earlier version of Axon wrote
            epochs, step, time = state["plan"].tolist()
            self._epochs, self._planned_at = int(epochs), (int(step), time)
        self.network.parameters.refresh()
        if "member_rates" in state:
            self.network.parameters.set_member_rates(torch.from_numpy(state["member_rates"]))
            self._masks.set_probabilities(state["dropouts"])
            self._apply_member_rates()

    def current(self) -> list[Tensor]:
        """Returns all tensors of inference without a copy, (members, …) each."""
        return [self.network.parameters.flat, *self.network.running_statistics()]

    def _evolved(self) -> dict[str, NDArray[Any]]:
        """Returns the hyperparameters of the members that `evolve` may have changed."""
        rates = self.network.parameters.member_rates
        return (
            {}
            if rates is None
            else {"member_rates": rates.numpy().copy(), "dropouts": self._masks.probabilities.copy()}
        )

    def _apply_member_rates(self) -> None:
        self._step.set_decay()
        if self._device_steps is not None:
            self._device_steps.forget()


def _part(state: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def widest(config: MLPConfig) -> int:
    """Returns the largest number of values that a layer, or the periodic embedding, has for one row of one member."""
    waves = 0 if config.inputs is None else len(config.inputs.numbers) * config.inputs.frequencies
    return max(waves, *config.linear_sizes)


def _shares(architecture: MLPConfig, data: Matrices, device: torch.device) -> Tensor:
    """Returns the share of each class in the training part, (classes,) float32."""
    shares = class_shares(data.y, architecture.out_features, data.weight)
    return torch.from_numpy(shares.astype(np.float32)).to(device)


def _evaluation(loss: Tensor, error: Tensor, figure: SelectionFigure | None) -> MemberEvaluation:
    return MemberEvaluation(loss, error, None if figure is None else figure.result().to(loss))


def _quiet() -> np.errstate:
    """Silences NumPy's warnings of overflows. After the epoch, the log refuses a loss that is not finite."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _alike(name: str) -> float:
    return 1.0
