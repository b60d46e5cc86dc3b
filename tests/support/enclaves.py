"""Enclaves for tests that are not about isolation: real doors and real keys, programs run in this very process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from support.simulated import TIER, SimulatedLauncher
from support.world import World
from trustspace.client import datasets
from trustspace.client.enclaves import adopt, enclave_link, move, own_enclave
from trustspace.client.home import PartyHome
from trustspace.domain.statements import read
from trustspace.enclave import home as enclave_home
from trustspace.enclave.runner import Runner
from trustspace.enclave.server import EnclaveServer

__all__ = [
    "CODE", "JOB", "TIER", "TRAIN", "SimulatedEnclave", "SimulatedLauncher", "door", "make_enclave", "patients",
    "publish", "until", "write_job",
]  # fmt: skip


class SimulatedEnclave(EnclaveServer):
    """A real enclave but for its launcher. It attends only when told to, so that tests decide what happens when."""

    def __init__(self, path: Path, launcher: SimulatedLauncher | None = None, listen: str = "") -> None:
        self.path = path
        self.launcher = launcher or SimulatedLauncher()  # type: ignore[assignment]
        with mock.patch.object(Runner, "start"):
            self._start(path, listen)

    def attend(self) -> None:
        """Look at every job once, and wait for the run that begins."""
        self.runner._attend_all()
        for run in list(self.runner._runs.values()):
            if run.job is not None:
                run.job.result(120)

    def failures(self) -> list[Any]:
        return self.runner.failures()


def make_enclave(
    world: World, owner: PartyHome, *, name: str = "Enclave A", launcher: SimulatedLauncher | None = None,
    custody: Any = "own",
) -> SimulatedEnclave:  # fmt: skip
    """Make an enclave, have its source unit adopt it, and start it."""
    path = world.path / f"enclave-{name.lower().replace(' ', '-')}"
    enclave_home.initialise(path, name, "127.0.0.1:0", ())
    card = json.loads((path / "card.json").read_bytes())
    adoption = adopt(owner, card, "127.0.0.1:0", custody=custody)
    enclave_home.accept(path, read(enclave_home.Adoption, adoption, "adoption"))
    enclave = SimulatedEnclave(path, launcher)
    move(owner, own_enclave(owner, name), enclave.listen)
    return enclave


def door(owner: PartyHome, name: str | None = None) -> Any:
    """The owner's link to its enclave's door."""
    return enclave_link(owner, own_enclave(owner, name))


def patients(count: int = 120, seed: int = 7) -> pa.Table:
    """Two numbers that say something about a diagnosis, for as many patients, each value unlike any other."""
    import numpy as np

    draw = np.random.default_rng(seed)
    ill = draw.random(count) < 0.4
    return pa.table({
        "size": draw.normal(10, 2, count) + 4 * ill,
        "texture": draw.normal(1, 0.2, count) + 0.3 * ill,
        "diagnosis": pa.array(np.where(ill, "M", "B")),
        "patient": pa.array([f"patient-{n:05d}" for n in range(count)]),
    })  # fmt: skip


def publish(
    owner: PartyHome, world: World, table: pa.Table | None = None, name: str = "cytology", **options: Any
) -> str:
    """Submit a table as a dataset; returns its statement's digest."""
    import pyarrow.csv

    path = world.path / f"{name}.csv"
    pyarrow.csv.write_csv(patients() if table is None else table, path)
    proposal = datasets.propose(path, "Cytology", patient_column="patient")
    return datasets.submit(owner, proposal, dataset=name, **options)


JOB = """
[job]
title = "Mean size by diagnosis"
purpose = "Planning a study."
kind = "compute"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "cytology"
version = 1
columns = ["size", "diagnosis"]

[code]
path = "code"

[compute]
outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }]
"""
CODE = """
def run(inputs, outputs):
    table = inputs.table()
    print("looked at", table.num_rows, "rows")
    sizes = table.column("size").to_pylist()
    outputs.json("summary.json", {"rows": table.num_rows, "mean": f"{sum(sizes) / len(sizes):.3f}"})
"""
TRAIN = """
[job]
title = "Malignancy"
purpose = "A second opinion."
kind = "train"

[parties]
buyer = "City Clinic"

[[datasets]]
id = "cytology"
version = 1
columns = ["size", "texture"]

[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 3
"""


def write_job(world: World, text: str = JOB, code: str = CODE) -> Path:
    """A job file and its code beside it."""
    folder = world.path / "job"
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "main.py").write_text(code, encoding="utf-8")
    (folder / "job.toml").write_text(text, encoding="utf-8")
    return folder / "job.toml"


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait for something to be true; returns it."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, "it did not happen in time"
        threading.Event().wait(0.02)
    return found
