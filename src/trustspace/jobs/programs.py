"""What a sandbox can be asked to run. The worker inside calls these and nothing else.

A program gets its inputs as memory and hands each artifact to ``emit``; what it prints is the sealed log.
Heavy libraries are imported when a program runs, never by importing this module.

A *session* is a program that stays and is asked things, one after the other: it gets a ``Talk`` as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Inputs = Mapping[str, memoryview]
Emit = Callable[[str, str, bytes], None]
Program = Callable[[Inputs, Emit], None]


class Talk(Protocol):
    """A session's side of its conversation with the enclave.

    ``down`` is memory that the enclave writes and the session reads, ``up`` memory that the session writes;
    neither changes its size. What is in them when is agreed in the messages: the enclave leaves ``down``
    alone from a message until its reply, the session ``up`` from a reply until the next message.
    """

    down: memoryview
    up: memoryview

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message; None when there will be no more, and the session is to return."""

    def reply(self, message: dict[str, Any]) -> None:
        """Answer the message just received, once. Raises ValueError above 64 KiB of JSON, and for NaN."""


Session = Callable[[Inputs, Emit, Talk], None]


def train(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data``, for a custom model ``code``. Out: model.safetensors, metrics.json.

    With differential privacy also in: ``patients`` (int32, whose each row is, by number), ``noise`` (32 secret bytes).
    """
    from trustspace.jobs.training import run

    run(inputs, emit)


def evaluate(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``model``, ``data`` (withheld), maybe ``members``, ``canaries``, ``unrounded``, ``code``.

    Out: metrics.json, also of ``unrounded``: the model before it was rounded for export, on the withheld rows; and
    losses.safetensors: of ``withheld`` and, with ``members``, of ``training``, and of ``canaries``, who stand in no
    metric, with the label that they were given; in the order of the table's rows,
    ``<side>.loss`` F64 [rows] (nats, or squared error in variances of the training target; 0 where a row was left out)
    and ``<side>.used`` U8 [rows]. In a joint training also sums.json: what all source units add up to measure the model
    together.
    """
    from trustspace.jobs.evaluate import run

    run(inputs, emit)


def references(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data`` (rows trained on and withheld), ``halves``, maybe ``code``. Out: losses.safetensors.

    ``halves``: safetensors with ``inside`` U8 [trainings, rows], 1 where a row is in a training. Out: ``loss`` F64
    [trainings, rows] of every row under each model trained anew, and ``used`` U8 [rows], as ``evaluate`` has them.
    """
    from trustspace.jobs.references import run

    run(inputs, emit)


def compute(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data``, ``code``. Out: the declared outputs."""
    from trustspace.jobs.compute import run

    run(inputs, emit)


def train_rounds(inputs: Inputs, emit: Emit, talk: Talk) -> None:
    """One source unit's part of a joint training. In: ``parameters``, ``data``, maybe ``validation``, ``code``.

    Asked, each answered with a message and what it left in ``up``:

    ``{"do": "prepare"}``: ``{"rows", "numbers"}``; up: float64 [numbers], additive, of the training rows.
    ``{"do": "start", "bytes"}``, down: safetensors of the platform's tensors: ``{"parameters", "layout"}``; up:
    float32 [parameters], the start weights, the same from every worker.
    ``{"do": "round", "round", "counted"}``, down: float32 [parameters], the common model (Scaffold: then the
    server's control variate): ``{"rows", "loss", "validation": {"rows", "loss"}}``; up: float32 [parameters],
    the trained model less the common one (Scaffold: then the change of the own control variate).
    ``counted`` (true when left out): whether the last answer went into a sum.

    With differential privacy also in: ``patients``, ``noise``, as ``train`` has them. There is no ``prepare``, a
    round's answer is ``{"private"}`` (claim.Part) alone, and ``{"do": "account", "steps"}`` is answered with
    ``{"epsilon"}``, by the second accountant.
    """
    from trustspace.jobs.rounds_program import run

    run(inputs, emit, talk)


def statistics(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data``. Out: sums.json, from whose sum the enclave makes statistics.json."""
    from trustspace.jobs.counting import run

    run(inputs, emit)


def score(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data``, ``code`` (an encrypted model), ``context``, ``minimum`` (of rows, in digits).

    Out: scores.json; for blinded rows also blinds.json, which stays with the source unit.
    """
    from trustspace.jobs.scoring import run

    run(inputs, emit)


PROGRAMS: dict[str, Program] = {
    "train": train,
    "evaluate": evaluate,
    "references": references,
    "statistics": statistics,
    "compute": compute,
    "score": score,
}
SESSIONS: dict[str, Session] = {"train_rounds": train_rounds}
