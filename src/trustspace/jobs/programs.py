"""What a sandbox can be asked to run. The worker inside calls these and nothing else.

A program gets its inputs as memory and hands each artifact to ``emit``; what it prints is the sealed log.
Heavy libraries are imported when a program runs, never by importing this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Inputs = Mapping[str, memoryview]
Emit = Callable[[str, str, bytes], None]
Program = Callable[[Inputs, Emit], None]


def train(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data``, for a custom model ``code``. Out: model.safetensors, metrics.json."""
    from trustspace.jobs.training import run

    run(inputs, emit)


def evaluate(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``model``, ``data`` (withheld), maybe ``members``, ``code``. Out: metrics.json."""
    from trustspace.jobs.evaluate import run

    run(inputs, emit)


def compute(inputs: Inputs, emit: Emit) -> None:
    """In: ``parameters``, ``data``, ``code``. Out: the declared outputs."""
    from trustspace.jobs.compute import run

    run(inputs, emit)


PROGRAMS: dict[str, Program] = {"train": train, "evaluate": evaluate, "compute": compute}
