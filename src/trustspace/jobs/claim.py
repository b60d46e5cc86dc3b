"""What a private training claims and what was seen of it. No torch in here: the enclave reads these.

A *plan* follows from the signed parameters and the number of patients alone; a *claim* is what the training reports in
its metrics.json, of which it holds nothing else.

Over several source units each one's part is private by itself, against all others together (record-level privacy of
each silo: Lowy and Razaviyayn, "Private Federated Learning Without a Trusted Server" (2023); Liu, Hu, Wu and Smith, "On
Privacy and Personalization in Cross-Silo Federated Learning" (2022)): its plan covers its steps in all rounds, from its
own number of patients. What is made of the sum depends on its patients through these steps alone. So the metrics.json
of all says what was agreed; what each one did, its own enclave sees (a *part* of each round) and its report says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.chance import GENERATOR
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.metrics import decimal_text, is_decimal_text
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.sections import METRICS_ARTIFACT
from trustspace.jobs.sections_private import Privacy
from trustspace.privacy.accountant import epsilon_of, noise_for

PRIVATE_FORMAT = "trustspace-private-training-v1"
JOINT_PRIVATE_FORMAT = "trustspace-private-federated-v1"
# The other is what a report would have to say of noise from torch's own generator.
GENERATORS: tuple[str, str] = (GENERATOR, "not cryptographic")
MAX_STEPS = 10_000_000


@dataclass(frozen=True)
class Plan:
    """How a private training goes: who takes part in a step with probability ``rate``; ``noise`` in clipping norms.

    ``steps``: of all ``rounds`` together, in each as many.
    """

    patients: int
    rate: float
    steps: int
    noise: float
    rounds: int = 1

    @property
    def steps_of_a_round(self) -> int:
        """How many steps a round is; all of them where there are no rounds."""
        return self.steps // self.rounds

    @classmethod
    def of(cls, parameters: Parameters, patients: int) -> Self:
        """From what is signed. Raises InvalidInput where the claim cannot be kept with so many patients."""
        privacy = promised(parameters)
        if patients < 1 or Decimal(privacy.delta) * patients >= 1:
            raise InvalidInput(
                "privacy.delta is not below 1 divided by the number of patients.",
                fix="Lower it: at 1 divided by their number, one patient could be given away whole.",
            )
        rate, steps, rounds = pace_of(parameters, patients)
        noise = noise_for(float(privacy.epsilon), rate, steps, float(privacy.delta))
        if noise is None or steps > MAX_STEPS:
            raise InvalidInput(
                "No amount of noise keeps privacy.epsilon over so many steps.",
                fix="Raise privacy.epsilon, lower train.epochs, federated.rounds or train.batch_size.",
            )
        return cls(patients, rate, steps, noise, rounds)


def promised(parameters: Parameters) -> Privacy:
    """The [privacy] section; raises InvalidInput for a job without one."""
    if parameters.privacy is None:
        raise InvalidInput("This job claims no differential privacy.")
    return parameters.privacy


def pace(batch_size: int, epochs: int, patients: int) -> tuple[float, int]:
    """The chance that a patient takes part in a step, and how many steps ``epochs`` passes are."""
    if batch_size >= patients:
        return 1.0, epochs
    return batch_size / patients, -(-epochs * patients // batch_size)


def pace_of(parameters: Parameters, patients: int) -> tuple[float, int, int]:
    """The chance that a patient takes part in a step of this training, its steps in all rounds, and its rounds."""
    train, federated = parameters.training(), parameters.federated
    rate, steps = pace(train.batch_size, train.epochs, patients)
    if federated is None:
        return rate, steps, 1
    return rate, federated.rounds * (federated.local_steps or steps), federated.rounds


def second_error(epsilon: float, steps: int) -> float:
    """How exact the second accountant is asked to be; its memory grows with epsilon, steps and exactness."""
    return 0.01 * max(1.0, epsilon) * max(1.0, math.sqrt(steps / 20_000))


@dataclass(frozen=True)
class Claim:
    """What a training says it did. ``check``: epsilon by the second accountant; ``generator``: of the noise."""

    patients: int
    steps: int
    noise: float
    check: float
    generator: str


def claim_json(parameters: Parameters, claim: Claim) -> dict[str, Any]:
    """metrics.json of a private training: what was agreed and done, and no number that the rows decided.

    How many patients there were is told, as every training tells it; the promise is about what their rows hold.
    """
    train, privacy = parameters.training(), promised(parameters)
    rate, _ = pace(train.batch_size, train.epochs, claim.patients)
    return {
        "format": PRIVATE_FORMAT,
        "model": train.model,
        "epochs": train.epochs,
        "batch_size": train.batch_size,
        "threads": parameters.limits.threads,
        "patients": claim.patients,
        "sample_rate": decimal_text(rate),
        "steps": claim.steps,
        "noise_multiplier": decimal_text(claim.noise),
        "max_gradient_norm": privacy.max_gradient_norm,
        "delta": privacy.delta,
        "epsilon": privacy.epsilon,
        "epsilon_accounted": decimal_text(epsilon_of(claim.noise, rate, claim.steps, float(privacy.delta))),
        "epsilon_second_accountant": decimal_text(claim.check),
        "generator": claim.generator,
    }


def read_claim(value: Any, parameters: Parameters) -> Claim:
    """The claim in a metrics.json. Raises VerificationFailed unless it is exactly what a private training reports."""
    said = value if isinstance(value, dict) else {}
    patients, steps = said.get("patients"), said.get("steps")
    noise, check = said.get("noise_multiplier"), said.get("epsilon_second_accountant")
    if (
        type(patients) is int
        and 1 <= patients < 1 << 53
        and type(steps) is int
        and 0 <= steps <= MAX_STEPS
        and is_decimal_text(noise)
        and is_decimal_text(check)
        and said.get("generator") in GENERATORS
    ):
        claim = Claim(patients, steps, float(str(noise)), float(str(check)), str(said["generator"]))
        # Everything else follows: there is no room in it for anything.
        if claim.noise >= 0 and math.isfinite(claim.check) and claim_json(parameters, claim) == value:
            return claim
    raise VerificationFailed("Artifact {name} is not what training reports.", name=METRICS_ARTIFACT)


def joint_claim_json(parameters: Parameters, participants: Sequence[int]) -> dict[str, Any]:
    """metrics.json of a private training over several source units: what was agreed, and how many took part by round.

    Nothing in it comes from the rows, nor from how many patients somebody has.
    """
    train, federated, privacy = parameters.training(), parameters.federation(), promised(parameters)
    length = (
        {"epochs_per_round": train.epochs}
        if federated.local_steps is None
        else {"steps_per_round": federated.local_steps}
    )
    return {
        "format": JOINT_PRIVATE_FORMAT,
        "model": train.model,
        "strategy": federated.strategy,
        "rounds": federated.rounds,
        **length,
        "batch_size": train.batch_size,
        "participants_per_round": list(participants),
        "max_gradient_norm": privacy.max_gradient_norm,
        "delta": privacy.delta,
        "epsilon": privacy.epsilon,
    }


def check_claim(value: Any, parameters: Parameters) -> None:
    """Raise VerificationFailed unless ``value`` is exactly what a private training reports, of whichever kind."""
    if parameters.federated is None:
        read_claim(value, parameters)
        return
    counts = value.get("participants_per_round") if isinstance(value, dict) else None
    fewest, most = parameters.terms.minimum_participants, len(parameters.datasets)
    if (
        isinstance(counts, list)
        and len(counts) == parameters.federated.rounds
        and all(type(count) is int and fewest <= count <= most for count in counts)
        and joint_claim_json(parameters, counts) == value
    ):
        return
    raise VerificationFailed("Artifact {name} is not what training reports.", name=METRICS_ARTIFACT)


@dataclass(frozen=True)
class Part:
    """What a worker says that it did in a round: ``patients`` it draws from, ``steps``, their ``noise``, and whence."""

    patients: int
    steps: int
    noise: float
    generator: str

    def to_json(self) -> dict[str, Any]:
        """As a worker says it."""
        return {
            "patients": self.patients, "steps": self.steps, "noise_multiplier": decimal_text(self.noise),
            "generator": self.generator,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """As an enclave reads it. Raises VerificationFailed unless it is of this form."""
        said = value if isinstance(value, dict) else {}
        patients, steps, noise = (said.get(name) for name in ("patients", "steps", "noise_multiplier"))
        if (
            set(said) == {"patients", "steps", "noise_multiplier", "generator"}
            and type(patients) is int
            and 0 <= patients < 1 << 53
            and type(steps) is int
            and 0 <= steps <= MAX_STEPS
            and is_decimal_text(noise)
            and float(str(noise)) >= 0
            and said["generator"] in GENERATORS
        ):
            return cls(patients, steps, float(str(noise)), str(said["generator"]))
        raise VerificationFailed("The worker does not say how much noise it added.")

    def then(self, later: Part) -> Part:
        """Both together, each number as the promise would be weakest."""
        same = self.patients == later.patients
        return Part(
            self.patients if same else 0, self.steps + later.steps, min(self.noise, later.noise),
            self.generator if self.generator == later.generator else GENERATORS[1],
        )  # fmt: skip


@dataclass(frozen=True)
class PrivateTraining:
    """A private training as its enclave sees it: what was promised, what was done, and what that is worth.

    ``patients`` is the enclave's own count, ``told_patients`` the training's. ``accounted``: epsilon worked out here,
    of the noise and the steps that the training tells and of the rate that follows from the enclave's count;
    ``check``: the second accountant's, worked out beside the training.
    """

    epsilon: float
    delta: float
    patients: int
    told_patients: int
    rate: float
    steps: int
    noise: float
    accounted: float
    check: float
    generator: str


def observed(
    parameters: Parameters, artifacts: Sequence[RawArtifact], patients: int
) -> PrivateTraining | None:
    """What a run over one dataset shows of its claim; None for a job without one, and for one over several.

    Raises VerificationFailed for metrics of no form.
    """
    found = next((raw.data for raw in artifacts if raw.name == METRICS_ARTIFACT), None)
    if parameters.privacy is None or parameters.federated is not None or found is None:
        return None
    try:
        value = json.loads(found)
    except ValueError:
        value = None
    claim = read_claim(value, parameters)
    part = Part(claim.patients, claim.steps, claim.noise, claim.generator)
    return seen(parameters, part, claim.check, patients)


def seen(parameters: Parameters, part: Part, check: float, patients: int) -> PrivateTraining:
    """What a training by ``part`` is worth; ``check``: by the second accountant, ``patients``: by the enclave."""
    privacy = promised(parameters)
    rate, _, _ = pace_of(parameters, max(1, patients))
    epsilon, delta = float(privacy.epsilon), float(privacy.delta)
    return PrivateTraining(
        epsilon, delta, patients, part.patients, rate, part.steps, part.noise,
        epsilon_of(part.noise, rate, part.steps, delta), check, part.generator,
    )  # fmt: skip
