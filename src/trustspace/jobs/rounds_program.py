"""The session ``train_rounds``: one source unit's part of a joint training, asked round by round.

With differential privacy a round is what ``rounds_private`` makes of it, and nothing else is told of the rows.

It holds the rows for the whole run, and between two rounds nothing else but Scaffold's control variate: each
round's answer follows from the model handed down, so that a round asked twice is answered alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustspace.errors import InvalidInput
from trustspace.jobs.federation import Layout, prepared
from trustspace.jobs.metrics import decimal_text, is_decimal_text
from trustspace.jobs.models import PREFIX, build, exported
from trustspace.jobs.optimise import Optimiser, make_optimiser, proximal, shifted
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.participants import Participants
from trustspace.jobs.programs import Emit, Inputs, Talk
from trustspace.jobs.tensors import read_tensors
from trustspace.jobs.training import (
    ModelInputs,
    Rows,
    assess,
    code_of,
    loss_target,
    model_inputs,
    one_pass,
    parameters_of,
    participants_of,
    read_rows,
    set_up,
    table_of,
    training_device,
)

Vector = NDArray[np.float32]
# A message holds 64 KiB; the rest of the answer is small.
_MAX_LAYOUT_BYTES = 60 << 10


def run(inputs: Inputs, emit: Emit, talk: Talk) -> None:
    """The program: see :func:`trustspace.jobs.programs.train_rounds`."""
    del emit  # what leaves is what the enclave makes of the sum
    parameters = parameters_of(inputs)
    rows = read_rows(table_of(inputs), parameters)
    private = participants_of(inputs, rows, parameters)
    if private is None and len(rows.target) < 2:
        raise InvalidInput(
            "Fewer than two rows have a usable value in column {column}.", column=parameters.training().target
        )
    watched = read_rows(table_of(inputs, "validation"), parameters) if "validation" in inputs else None
    if private is None:
        print(f"{len(rows.target)} rows to train on, {rows.left_out} left out", flush=True)
    member: _Member | None = None
    while (message := talk.receive()) is not None:
        match message:
            case {"do": "prepare"} if private is None:
                numbers = prepared(parameters, rows.features, rows.target, rows.left_out)
                _hand_up(talk, numbers)
                talk.reply({"rows": len(rows.target), "numbers": len(numbers)})
            case {"do": "start", "bytes": int(size)}:
                platform = read_tensors(bytes(talk.down[:size]))
                member = _Member(parameters, code_of(inputs), rows, watched, platform, private)
                _hand_up(talk, member.start_weights())
                talk.reply({"parameters": member.size, "layout": [[n, list(s)] for n, s in member.layout]})
            case {"do": "round", "round": int(number)} if member is not None and number >= 1:
                talk.reply(member.train(number, talk, counted=message.get("counted", True) is True))
            case {"do": "account", "steps": int(steps)} if member is not None and member.private is not None:
                talk.reply({"epsilon": decimal_text(member.private.account(steps))})
            case _:
                raise InvalidInput("The session was asked something that it cannot do now.")


def round_seed(seed: int, number: int) -> int:
    """The seed of a round's order of batches, 32 bits; that of the first round is the job's own."""
    if number == 1:
        return seed
    return int.from_bytes(hashlib.sha256(f"trustspace round {seed} {number}".encode()).digest()[:4])


class _Member:
    """One source unit's network and rows, ready for rounds."""

    def __init__(
        self,
        parameters: Parameters,
        code: Mapping[str, str] | None,
        rows: Rows,
        watched: Rows | None,
        platform: Mapping[str, NDArray[Any]],
        private: Participants | None,
    ) -> None:
        self.parameters, self.platform, self.watched = parameters, platform, watched
        set_up(parameters)
        self.module = build(parameters, code).to(training_device(parameters))
        self.private = None
        if private is not None:
            # Seconds, for Opacus and what it imports: only where it is used.
            from trustspace.jobs.rounds_private import PrivateRounds, clipped

            rows = clipped(rows, parameters)
        self.inputs: ModelInputs = model_inputs(rows, platform, parameters)
        self.target = loss_target(rows, platform, parameters)
        if private is not None:
            self.private = PrivateRounds(parameters, private, self.inputs, self.target)
        # In the order of names, as in a model file; the tensors are the network's own.
        self.tensors = dict(sorted((PREFIX + n, t) for n, t in exported(self.module).items()))
        self.layout: Layout = tuple((name, tuple(t.shape)) for name, t in self.tensors.items())
        self.size = sum(tensor.numel() for tensor in self.tensors.values())
        if len(json.dumps(self.layout)) > _MAX_LAYOUT_BYTES:
            raise InvalidInput(
                "The custom model has too many tensors for training over several source units.",
                fix="Join small tensors, or shorten the names of modules.",
            )
        # Counters of batch norm and the like: every round begins with them as they were built.
        state = self.module.state_dict().items()
        self.kept = {name: tensor.clone() for name, tensor in state if not tensor.is_floating_point()}
        self.control: Vector | None = None
        self.pending: tuple[int, Vector] | None = None

    def start_weights(self) -> Vector:
        """The seeded start weights, float32 [size]: the same from every worker."""
        return np.concatenate(
            [t.detach().to("cpu", torch.float32).numpy().ravel() for t in self.tensors.values()]
        )

    def train(self, number: int, talk: Talk, *, counted: bool) -> dict[str, Any]:
        """One round from the model in ``talk.down``; the update (and control change) goes to ``talk.up``.

        ``counted``: whether this worker's last answer went into a sum; if not, its control variate stays.
        """
        train, federated = self.parameters.training(), self.parameters.federation()
        common = np.frombuffer(talk.down, np.float32, self.size)
        self._load(common)
        seed = round_seed(train.seed, number)
        torch.manual_seed(seed)
        if self.private is not None:
            part = self.private.train(self.module, number, bytes(talk.down[: 4 * self.size]))
            self._hand_up_update(talk, common)
            return {"private": part.to_json()}
        validation = self._validate()
        optimiser = make_optimiser(
            train.optimiser,
            self.module.parameters(),
            learning_rate=float(train.learning_rate),
            weight_decay=float(train.weight_decay),
        )
        correction: Vector | None = None
        if federated.strategy == "fedprox":
            anchors: dict[torch.Tensor, torch.Tensor] = {p: p.detach().clone() for p in optimiser.parameters}
            optimiser.adjustment = proximal(anchors, float(federated.proximal or 0))
        elif federated.strategy == "scaffold":
            correction = np.array(np.frombuffer(talk.down, np.float32, self.size, offset=4 * self.size))
            control = self._own_control(number, correction, counted=counted)
            optimiser.adjustment = shifted(self._shifts(optimiser, correction - control))
        order = torch.Generator().manual_seed(seed)
        loss, seen, steps = self._steps(optimiser, order)
        if not abs(loss) < 1e12:
            raise InvalidInput(
                "Training diverged in round {round}.",
                fix="Lower train.learning_rate or standardise.",
                round=number,
            )
        update = self._hand_up_update(talk, common)
        if correction is not None:
            change = self._control_change(optimiser, update, correction, steps)
            self.pending = (number, control + change)
            np.frombuffer(talk.up, np.float32, self.size, offset=4 * self.size)[:] = change
        print(f"round {number} rows {seen} steps {steps} loss {loss:.6f}", flush=True)
        return {"rows": len(self.target), "loss": decimal_text(loss), "validation": validation}

    def _steps(self, optimiser: Optimiser, order: torch.Generator) -> tuple[float, int, int]:
        """Mean loss over the rows seen, their number, and the steps taken."""
        wanted = self.parameters.federation().local_steps
        total, seen, steps = 0.0, 0, 0
        passes = 0
        while steps < wanted if wanted is not None else passes < self.parameters.training().epochs:
            left = None if wanted is None else wanted - steps
            done = one_pass(
                self.module, self.inputs, self.target, optimiser, order, self.parameters, most_steps=left
            )
            total, seen, steps, passes = (
                total + done.loss_sum,
                seen + done.rows,
                steps + done.steps,
                passes + 1,
            )
        return total / seen, seen, steps

    def _load(self, vector: Vector) -> None:
        with torch.no_grad():
            for name, part in self._parts(vector):
                self.tensors[name].copy_(torch.from_numpy(np.array(part)))
            state = self.module.state_dict()
            for name, tensor in self.kept.items():
                state[name].copy_(tensor)

    def _parts(self, vector: Vector) -> list[tuple[str, Vector]]:
        """A vector cut into the tensors that it is made of: views, in the layout's order."""
        parts, start = [], 0
        for name, tensor in self.tensors.items():
            parts.append((name, vector[start : start + tensor.numel()].reshape(tuple(tensor.shape))))
            start += tensor.numel()
        return parts

    def _hand_up_update(self, talk: Talk, common: Vector) -> Vector:
        update: Vector = np.frombuffer(talk.up, np.float32, self.size)
        for (name, before), (_, after) in zip(self._parts(common), self._parts(update), strict=True):
            np.subtract(self.tensors[name].detach().cpu().numpy(), before, out=after)
        return update

    def _validate(self) -> dict[str, Any]:
        """How the common model that a round begins with does on the rows that watch."""
        rows = 0 if self.watched is None else len(self.watched.target)
        if self.watched is None or rows == 0:
            return {"rows": 0, "loss": decimal_text(0.0)}
        loss = decimal_text(assess(self.module, self.watched, self.platform, self.parameters).loss)
        if not is_decimal_text(loss):
            raise InvalidInput(
                "The loss on the validation rows is no number.", fix="Lower train.learning_rate."
            )
        return {"rows": rows, "loss": loss}

    def _own_control(self, number: int, server: Vector, *, counted: bool) -> Vector:
        """This unit's control variate; of a new (or restarted) worker the server's: no correction at first."""
        if self.pending is not None and self.pending[0] != number:
            if counted:
                self.control = self.pending[1]
            self.pending = None
        if self.control is None:
            self.control = server.copy()
        return self.control

    def _trained(self, optimiser: Optimiser) -> dict[str, torch.Tensor]:
        """The tensors that gradients change, by their names in the model file."""
        trained = set(optimiser.parameters)
        return {PREFIX + n: p for n, p in self.module.named_parameters() if p in trained}

    def _shifts(self, optimiser: Optimiser, vector: Vector) -> dict[torch.Tensor, torch.Tensor]:
        parts = dict(self._parts(vector))
        return {p: torch.from_numpy(parts[name]).to(p.device) for name, p in self._trained(optimiser).items()}

    def _control_change(self, optimiser: Optimiser, update: Vector, server: Vector, steps: int) -> Vector:
        """Scaffold, option II: the new control variate less the old, (x - y) / (K * rate) - c.

        Only for what gradients change: running statistics have no gradient to correct.
        """
        rate = np.float32(float(self.parameters.training().learning_rate) * steps)
        change: Vector = np.zeros(self.size, np.float32)
        trained = self._trained(optimiser)
        for (name, part), (_, moved), (_, common) in zip(
            self._parts(change), self._parts(update), self._parts(server), strict=True
        ):
            if name in trained:
                part[...] = -moved / rate - common
        return change


def _hand_up(talk: Talk, numbers: NDArray[Any]) -> None:
    np.frombuffer(talk.up, numbers.dtype, len(numbers))[:] = numbers
