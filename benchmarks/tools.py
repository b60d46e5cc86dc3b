"""Public membership tools on the very models that a run judged: their exported bytes, and the enclave's own split.

What the enclave hands to its evaluation is kept on its way there (:class:`Keeper`); from it comes what the exported
model says of each row (:func:`answers`), and a tool is told that, and who was trained on (:class:`Tools`). The tools
judge models by what these say of people; of tables and files they have no notion.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np

from benchmarks.peers.environments import CACHE, TOOLS, Unavailable
from benchmarks.peers.process import Driven
from trustspace.sandbox.launcher import Launcher
from trustspace.sandbox.task import Task

KEPT = "evaluate"
# Of the normal distribution, one-sided 5 %.
QUANTILE = 1.645


class Keeper:
    """Passes everything on to a launcher, and keeps what the last evaluation was given."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self.given: dict[str, bytes] = {}

    def as_launcher(self) -> Launcher:
        """This, where a launcher is wanted."""
        return cast(Launcher, self)

    def submit(self, task: Task) -> Any:
        """See ``Launcher``."""
        if task.program == KEPT:
            self.given = {
                name: os.pread(place, os.fstat(place).st_size, 0) for name, place in task.inputs.items()
            }
        return self._launcher.submit(task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)


def answers(given: Mapping[str, bytes]) -> dict[str, Any]:
    """What a tool is asked: for every row that was trained on or withheld, the exported model's class probabilities.

    ``given``: the inputs of an evaluation. Computed by the platform's own functions, the developer's code with them.
    """
    from trustspace.jobs import training
    from trustspace.jobs.models import build, load_arrays
    from trustspace.jobs.tensors import read_tensors

    inputs = {name: memoryview(data) for name, data in given.items()}
    parameters, tensors = training.parameters_of(inputs), read_tensors(given["model"])
    module = build(parameters, training.code_of(inputs))
    load_arrays(module, tensors)
    outputs, labels, members = [], [], []
    for side in ("members", "data"):
        rows = training.read_rows(training.table_of(inputs, side), parameters)
        logits = training.answers_of(module, rows, tensors, parameters)[:, 0]
        positive = np.exp(-np.logaddexp(0.0, -logits))
        outputs.append(np.stack([1.0 - positive, positive], axis=1))
        labels.append(training.scaled_target(rows, tensors).astype(np.int64))
        members.append(np.full(len(logits), side == "members"))
    return {
        "outputs": np.concatenate(outputs).tolist(),
        "labels": np.concatenate(labels).tolist(),
        "members": np.concatenate(members).tolist(),
    }


def beyond_chance(found: Mapping[str, Any]) -> bool:
    """Whether an area is above 0.5 by more than chance: the Mann-Whitney statistic's null variance, one-sided 5 %."""
    inside, outside = found["judged"]
    spread = float(np.sqrt((inside + outside + 1) / (12 * inside * outside)))
    return bool(found["auc"] > 0.5 + QUANTILE * spread)


class Tools:
    """The tools that can be had here; ``missing`` says of the others why not."""

    def __init__(self, cache: Path = CACHE) -> None:
        self.missing: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._driven: dict[str, Driven] = {}
        self._stack = ExitStack()
        with ExitStack() as stack:
            for peer in TOOLS:
                try:
                    driven = stack.enter_context(Driven(peer, cache))
                except Unavailable as why:
                    self.missing[peer.scheme] = str(why)
                else:
                    self._driven[peer.scheme] = driven
                    self.versions |= driven.versions
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def judge(self, given: Mapping[str, bytes], seed: int) -> dict[str, Any]:
        """What each tool finds of the model in ``given``; one that ends is left out from then on."""
        if not self._driven:
            return {}
        asked = answers(given) | {"seed": seed}
        found = {}
        for name, driven in list(self._driven.items()):
            try:
                told = driven.ask(asked)
            except Unavailable as why:
                self.missing[name] = str(why)
                del self._driven[name]
            else:
                told["beyond_chance"] = beyond_chance(told)
                found[name] = {k: round(v, 4) if isinstance(v, float) else v for k, v in told.items()}
        return found
