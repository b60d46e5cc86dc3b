"""Training with differential privacy for every patient: DP-SGD (Abadi et al. 2016) by Opacus, on chance of our own.

Who is protected is a *patient*, however many rows are theirs. In each step a patient takes part with the same
probability, independently of all others (Poisson sampling), with *one* of their rows, drawn anew; the gradient of that
row is clipped to ``max_gradient_norm``. So one patient changes the sum of a step by at most that norm, and only in the
steps they take part in: exactly what the accountant assumes (privacy/accountant.py), whatever the patient's rows hold.
Rows left out for want of a target change nothing: their patient is drawn like any other, and adds zero.

Nothing else may come from the rows. What inputs are scaled by is the published ranges (jobs/published.py), a gradient
that is no number counts as zero, only trained weights go into the exported network, and the log says nothing of losses.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.accountants import PRVAccountant
from opacus.optimizers import DPOptimizer
from torch import nn

from trustspace.errors import InvalidInput
from trustspace.jobs.chance import GENERATOR, Chance
from trustspace.jobs.claim import Claim, Plan, claim_json, promised, second_error
from trustspace.jobs.features import categorical_mask
from trustspace.jobs.optimise import Optimiser, make_optimiser
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import Participants, Turns
from trustspace.jobs.published import bounds, described, range_of
from trustspace.jobs.training import (
    ModelInputs,
    Rows,
    Trained,
    device_of,
    loss_of,
    loss_target,
    model_inputs,
)

# Numbers in the gradients of all rows of one piece: 128 MiB. A larger batch is taken in pieces.
PIECE_NUMBERS = 1 << 25


def fit(module: nn.Module, rows: Rows, parameters: Parameters, participants: Participants) -> Trained:
    """Train ``module`` in place, privately.

    Raises InvalidInput where the claim cannot be kept with so many patients, or Opacus cannot train the model.
    """
    train, privacy = parameters.training(), promised(parameters)
    plan, chance = Plan.of(parameters, participants.count), Chance(participants.noise)
    platform = described(parameters)
    rows = clipped(rows, parameters)
    inputs = model_inputs(rows, platform, parameters)
    target = loss_target(rows, platform, parameters)
    learner = Learner(module, parameters, plan, chance)
    turns = Turns(participants, plan.rate, chance)
    print(f"training {train.model} with differential privacy, {plan.steps} steps", flush=True)
    learner.learn(turns, inputs, target, plan.steps)
    learner.hand_over(module)
    check = second_opinion(plan, float(privacy.epsilon), float(privacy.delta))
    claim = Claim(plan.patients, learner.steps, plan.noise, check, GENERATOR)
    return Trained(platform, claim_json(parameters, claim))


def clipped(rows: Rows, parameters: Parameters) -> Rows:
    """The rows with every number within its published range."""
    train, features, target = parameters.training(), rows.features, rows.target
    if not train.is_image:
        categorical = categorical_mask(parameters)
        low, high = bounds(parameters)
        features = np.where(categorical, features, np.clip(features, low, high))
    if train.task == "regression":
        target = np.clip(target, *range_of(parameters, train.target))
    return replace(rows, features=features, target=target)


class Learner:
    """A network under Opacus, with noise from ``chance``."""

    def __init__(self, module: nn.Module, parameters: Parameters, plan: Plan, chance: Chance) -> None:
        train, privacy = parameters.training(), promised(parameters)
        self.device = device_of(module)
        self._copy = copy.deepcopy(module)
        _require_per_row(self._copy)
        self.network = GradSampleModule(self._copy, loss_reduction="mean")
        self.network.train()
        update = make_optimiser(
            train.optimiser,
            self._copy.parameters(),
            learning_rate=float(train.learning_rate),
            weight_decay=float(train.weight_decay),
        )
        self.optimiser = NoisyOptimiser(
            update,
            chance,
            noise=plan.noise,
            norm=float(privacy.max_gradient_norm),
            expected=plan.rate * plan.patients,
        )
        self.update = update
        self.steps = 0
        self._task, self._chance = train.task, chance
        numbers = sum(p.numel() for p in update.parameters)
        self._most = max(1, PIECE_NUMBERS // max(1, numbers))

    def learn(self, turns: Turns, inputs: ModelInputs, target: torch.Tensor, steps: int) -> None:
        """Take so many steps, numbered from 0, each of the rows whose turn it is."""
        with warnings.catch_warnings():
            # What Opacus does on purpose: no input has a gradient.
            warnings.filterwarnings("ignore", "Full backward hook")
            for step in range(steps):
                self.seed(int(self._chance.words("layers", step, 1)[0]))
                for piece in self.pieces(torch.from_numpy(turns.rows_of(step))):
                    answers = self.network(inputs.take(piece).to(self.device))
                    loss = loss_of(self._task, answers, target[piece].to(self.device))
                    torch.autograd.backward(loss)
                    self.require_rows(len(piece))
                    self.add(last=False)
                self.add(last=True)

    def seed(self, word: int) -> None:
        """Let layers that draw (dropout) draw anew in every step, as nobody can tell beforehand.

        They draw for one place of a batch after the other, and who takes part moves all others by a place. Draws that
        come from a secret are worth the same in any order, so that the others count as unmoved. From the job's own
        seed it would be known which of them changed with a patient: more than one row's gradient.
        """
        torch.default_generator.manual_seed(word)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(word)

    def require_rows(self, rows: int) -> None:
        """Raise InvalidInput unless every gradient is of one of ``rows`` rows.

        A layer to which each row is many (reshaped to them) would have each of the many clipped by itself.
        """
        found = {len(p.grad_sample) for p in self.optimiser.params if p.grad_sample is not None}
        if found - {rows}:
            raise InvalidInput(
                "A layer of this model takes a row as several, which differential privacy would count one by one.",
                fix="Keep the rows of a batch as the first dimension of what every layer gets.",
            )

    def pieces(self, batch: torch.Tensor) -> Iterator[torch.Tensor]:
        """A batch in pieces whose gradients fit into memory; none of an empty one."""
        for start in range(0, len(batch), self._most):
            self.optimiser.zero_grad()
            yield batch[start : start + self._most]

    def add(self, *, last: bool) -> None:
        """Clip the gradients at hand and add them up; with ``last``, add the noise and take the step."""
        if last:
            self.optimiser.zero_grad()
        # A parameter that the answers do not depend on has no gradient; every row's is zero.
        each = [p.grad_sample for p in self.optimiser.params if p.grad_sample is not None]
        rows = len(each[0]) if each else 0
        for parameter in self.optimiser.params:
            if parameter.grad_sample is None:
                parameter.grad_sample = parameter.new_zeros((rows, *parameter.shape))
        self.optimiser.signal_skip_step(do_skip=not last)
        self.optimiser.step()
        if last:
            self.optimiser.zero_grad()
            self.steps += 1

    def hand_over(self, module: nn.Module) -> None:
        """Put the trained weights, and nothing else, into ``module``, which Opacus never touched.

        Raises InvalidInput when one of them is no number, which the noisy weights alone decide.
        """
        learned = dict(self._copy.named_parameters())
        if not all(bool(torch.isfinite(tensor).all()) for tensor in learned.values()):
            raise InvalidInput("Training diverged.", fix="Lower train.learning_rate.")
        with torch.no_grad():
            for name, tensor in module.named_parameters():
                tensor.copy_(learned[name])


class _Update:
    """Our own optimiser with the face of torch's, as Opacus' wants it."""

    def __init__(self, optimiser: Optimiser) -> None:
        self._optimiser = optimiser
        self.param_groups: list[dict[str, Any]] = [{"params": optimiser.parameters}]
        self.state: Mapping[Any, Any] = {}
        self.defaults: Mapping[str, Any] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._optimiser.zero_grad()

    def step(self) -> None:
        self._optimiser.step()


class NoisyOptimiser(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimiser with noise from a cryptographic generator, added in 64 bits."""

    def __init__(
        self, optimiser: Optimiser, chance: Chance, *, noise: float, norm: float, expected: float
    ) -> None:
        super().__init__(
            _Update(optimiser), noise_multiplier=noise, max_grad_norm=norm, expected_batch_size=expected,
            loss_reduction="mean",
        )  # fmt: skip
        self._chance = chance
        self._draws = 0

    def clip_and_accumulate(self) -> None:
        """As Opacus has it, but a gradient without a finite length counts as zero: else one row could spoil the sum."""
        samples = self.grad_samples
        if samples and len(samples[0]):
            # No number anywhere in it makes the length none, and is found faster so.
            sound = torch.stack([g.flatten(1).norm(dim=1) for g in samples]).sum(dim=0).isfinite()
            if not bool(sound.all()):
                for parameter in self.params:
                    parameter.grad_sample[~sound] = 0.0
        super().clip_and_accumulate()

    def add_noise(self) -> None:
        """Gaussian noise of ``noise_multiplier`` times the norm on each sum."""
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            total = parameter.summed_grad.detach()
            drawn = self._chance.normal("noise", self._draws, total.numel())
            self._draws += 1
            noise = torch.from_numpy(drawn * deviation).reshape(total.shape).to(total.device)
            parameter.grad = (total.to(torch.float64) + noise).to(total.dtype)


def _require_per_row(module: nn.Module) -> None:
    """Raise InvalidInput for a network in which rows of a batch meet, or that Opacus cannot take apart by rows."""
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        raise InvalidInput(
            "Batch normalisation mixes the rows of a batch, which differential privacy rules out.",
            fix="Use torch.nn.GroupNorm or LayerNorm instead.",
        )
    if GradSampleModule.validate(module) or not any(p.requires_grad for p in module.parameters()):
        raise InvalidInput(
            "Opacus cannot train this model: a trainable layer has buffers, or there is nothing to train.",
            fix="Use layers without buffers, such as Linear, Conv2d, GroupNorm and LayerNorm.",
        )


def second_opinion(plan: Plan, epsilon: float, delta: float) -> float:
    """Epsilon by Opacus' numerical composition (Gopi, Lee and Wutschitz 2021), an upper bound."""
    accountant = PRVAccountant()
    accountant.history = [(plan.noise, plan.rate, plan.steps)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta, eps_error=second_error(epsilon, plan.steps)))
