"""One source unit's rounds with differential privacy: each is steps of DP-SGD from the model that all hold.

All of a unit's steps in all rounds together are what its patients are promised (claim.py), whatever model comes down:
each step bounds what a patient may do, given everything before it. What goes up is the noisy model less the one that
came down, and nothing else: no count of rows, no loss.

A round that is asked again, with the same model, is answered with the same bytes: nothing new is told. With another
model it is refused: that would be a further release, which nobody has counted, and its noise is never this one's
(``Participants.chance_of``).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import nn

from trustspace.errors import InvalidInput
from trustspace.jobs.chance import GENERATOR
from trustspace.jobs.claim import Part, Plan, promised
from trustspace.jobs.optimise import proximal
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import Participants, Turns
from trustspace.jobs.private import Learner, clipped, second_opinion
from trustspace.jobs.training import ModelInputs


class PrivateRounds:
    """The private steps of one source unit, round by round, on rows whose numbers are ``clipped``.

    Raises InvalidInput where the claim cannot be kept with so many patients.
    """

    def __init__(
        self, parameters: Parameters, participants: Participants, inputs: ModelInputs, target: torch.Tensor
    ) -> None:
        self._parameters, self._participants = parameters, participants
        self._inputs, self._target = inputs, target
        self.plan = Plan.of(parameters, participants.count)
        self._last = (0, b"")

    def train(self, module: nn.Module, number: int, common: bytes) -> Part:
        """A round's steps on ``module``, which holds the model of ``common``; its trained weights are changed in place.

        Raises InvalidInput for a round that was trained from another model, or passed, or is none.
        """
        asked = number, hashlib.sha256(common).digest()
        again = asked == self._last
        if not again and not self._last[0] < number <= self.plan.rounds:
            raise InvalidInput("A private training takes each of its rounds once, from one model.")
        self._last = asked
        chance = self._participants.chance_of(number, common)
        learner = Learner(module, self._parameters, self.plan, chance)
        federated = self._parameters.federation()
        if federated.strategy == "fedprox":
            # Worked out of the noisy weights and the common ones alone.
            anchors: dict[torch.Tensor, torch.Tensor] = {
                p: p.detach().clone() for p in learner.update.parameters
            }
            learner.update.adjustment = proximal(anchors, float(federated.proximal or 0))
        turns = Turns(self._participants, self.plan.rate, chance)
        learner.learn(turns, self._inputs, self._target, self.plan.steps_of_a_round)
        learner.hand_over(module)
        print(f"round {number} steps {learner.steps} with differential privacy", flush=True)
        return Part(self.plan.patients, learner.steps, self.plan.noise, GENERATOR)

    def account(self, steps: int) -> float:
        """Epsilon of so many steps by the second accountant."""
        privacy = promised(self._parameters)
        if steps < 1:
            return 0.0
        return second_opinion(replace(self.plan, steps=steps), float(privacy.epsilon), float(privacy.delta))


__all__ = ["PrivateRounds", "clipped"]
