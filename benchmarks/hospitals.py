"""The whole platform for the rounds' benchmark: a space, brokers and enclaves as processes, over mutual TLS.

Enclaves run real sandboxes and are the product's own; that they note their rounds' times is all that is added.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.spans import Round, load, peak_kib
from trustspace.client import datasets, jobs
from trustspace.client.enclaves import adopt, enclave_link, move, own_enclave
from trustspace.client.home import PartyHome
from trustspace.demo.processes import Child, Processes
from trustspace.domain.statements import read
from trustspace.enclave import home as enclave_home
from trustspace.space.home import SpaceHome, initialise

HERE = Path(__file__).parent
REVIEWER = "Dr Example"
_JOB = """
[job]
title = "Benchmark"
purpose = "How long a round takes."
kind = "train"
[parties]
buyer = "buyer"
[code]
path = "code"
[train]
model = "custom"
target = "finding"
positive = "ill"
optimiser = "sgd"
learning_rate = 0.01
epochs = 1
batch_size = {batch}
seed = 1
max_parameters = {parameters}
{image}
[federated]
strategy = "fedavg"
rounds = {rounds}
[limits]
wall_seconds = 3600
memory_mib = {memory}
output_mib = {output}
[terms]
minimum_participants = 2
withheld_percent = 20
"""
_USE = """
[[datasets]]
id = "{dataset}"
version = 1
columns = {columns}
source_unit = "unit-{number}"
"""


@dataclass(frozen=True)
class Work:
    """What a job computes: a network of so many parameters, from code beside this file, on a made-up table."""

    name: str
    code: str
    parameters: int
    table: pa.Table
    batch: int

    @property
    def columns(self) -> list[str]:
        """The columns trained on."""
        return [name for name in self.table.column_names if name not in ("patient", "finding")]

    def job(self, units: int, rounds: int) -> str:
        """The text of a job over the first so many source units."""
        mib = -(-4 * self.parameters // (1 << 20))
        text = _JOB.format(
            batch=self.batch, parameters=self.parameters, rounds=rounds, memory=2048 + 8 * mib, output=mib + 16,
            image="image_size = 32\nchannels = 3" if self.columns == ["image"] else "",
        )  # fmt: skip
        uses = (
            _USE.format(dataset=self.name, columns=json.dumps(self.columns), number=number)
            for number in range(units)
        )
        return text + "".join(uses)


def lenet(images: int) -> Work:
    """Random images of 32 x 32 in three colours, and a network of 61,241 parameters."""
    draw = np.random.default_rng(1)
    cells = []
    for pixels in draw.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        cells.append(file.getvalue())
    return Work("lenet", "lenet", 61_241, _table({"image": pa.array(cells, pa.binary())}, images), 32)


def large(parameters: int) -> Work:
    """A model of so many parameters that computes next to nothing."""
    draw = np.random.default_rng(1)
    columns = {name: pa.array(draw.normal(size=60)) for name in ("size", "texture")}
    return Work("large", "large", parameters, _table(columns, 60), 60)


def _table(columns: dict[str, pa.Array], rows: int) -> pa.Table:
    named = {"patient": [f"p{i:06d}" for i in range(rows)], **columns}
    return pa.table({**named, "finding": ["ill" if i % 2 else "well" for i in range(rows)]})


class Hospitals:
    """So many source units with an enclave and a broker each, a developer, a buyer, and their space."""

    def __init__(self, work: Path, count: int) -> None:
        self._work = work
        self._processes = _Noting(work / "logs", "en")
        self._spans = [work / f"spans-{number}" for number in range(count)]
        self._read = [0] * count
        try:
            self._move_in(count)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self._processes.stop_all()

    def _move_in(self, count: int) -> None:
        work, processes = self._work, self._processes
        initialise(work / "space", "Space", "127.0.0.1:0", "127.0.0.1:0", ())
        self.space = processes.start("space", work / "space", "space", "serve")
        listens = self.space.wait_ready()
        home = SpaceHome(work / "space")

        def party(name: str, role: Any, reviewers: tuple[str, ...] = ()) -> PartyHome:
            made = PartyHome.create(work / name, name, (role,), reviewers=reviewers)
            made.enrol(home.invite(name, (role,), listens["listen"], listens["enrol_listen"]))
            return made

        self.units = [party(f"unit-{number}", "source-unit", (REVIEWER,)) for number in range(count)]
        self.developer, self.buyer = party("developer", "developer"), party("buyer", "buyer")
        home.store.close()
        everybody = (*self.units, self.developer, self.buyer)
        for one in everybody:
            for other in everybody:
                if other is not one:
                    one.pin(other.party.name, other.fingerprint)
        self.enclaves: list[Child] = []
        for number, unit in enumerate(self.units):
            path = work / f"enclave-{number}"
            enclave_home.initialise(path, f"Enclave {number}", "127.0.0.1:0", ())
            card = json.loads((path / "card.json").read_bytes())
            adoption = read(enclave_home.Adoption, adopt(unit, card, "127.0.0.1:0"), "adoption")
            enclave_home.accept(path, adoption)
            self.enclaves.append(processes.note(f"enclave-{number}", path, self._spans[number]))
        for number, (unit, enclave) in enumerate(zip(self.units, self.enclaves, strict=True)):
            move(unit, own_enclave(unit, None), enclave.wait_ready()["listen"])
            processes.start(f"broker-{number}", work / f"unit-{number}", "broker", "serve").wait_ready()
        self.tier = str(self.enclaves[0].ready["sandbox_tier"])

    def describe(self, task: Work) -> None:
        """Every source unit submits the table as a dataset of its own."""
        file = self._work / f"{task.name}.parquet"
        pq.write_table(task.table, file)
        for unit in self.units:
            proposal = datasets.propose(file, task.name, patient_column="patient")
            datasets.submit(unit, proposal, dataset=task.name)

    def run(
        self, task: Work, members: int, rounds: int, *, seconds: float, whole: bool = True
    ) -> list[list[Round]]:
        """A job over the first so many source units: of every round, what each member noted.

        ``whole``: wait until its output is handed in, too. Raises RuntimeError when it fails or takes too long.
        """
        folder = self._work / f"job-{time.monotonic_ns()}"
        shutil.copytree(HERE / task.code, folder / "code")
        model = folder / "code/model.py"
        model.write_text(
            model.read_text(encoding="utf-8").replace("NUMBERS = 1000", f"NUMBERS = {task.parameters}"),
            encoding="utf-8",
        )
        (folder / "job.toml").write_text(task.job(members, rounds), encoding="utf-8")
        job = jobs.submit(self.developer, folder / "job.toml")
        jobs.countersign(self.buyer, job)
        for unit in self.units[:members]:
            # Two may sum only because every grant says in words what that means.
            jobs.grant(unit, job, small_sums=True)
        deadline = time.monotonic() + seconds
        while True:
            noted = [load(file)[self._read[n] :] for n, file in enumerate(self._spans[:members])]
            state = self.units[0].session.job(job).job(job).state
            trained = all(any(r.number == rounds for r in member) for member in noted)
            if trained and (not whole or state == "in-review"):
                break
            if state in ("failed", "refused") or time.monotonic() > deadline or self._lost():
                raise RuntimeError(f"the job is {state}: {self._failures(members)}")
            time.sleep(0.2)
        noted = [load(file)[self._read[n] :] for n, file in enumerate(self._spans[:members])]
        for number, member in enumerate(noted):
            self._read[number] += len(member)
        return [
            [next(r for r in member if r.number == number) for member in noted]
            for number in range(1, rounds + 1)
        ]

    def _lost(self) -> bool:
        return any(not Path(f"/proc/{child.pid}").exists() for child in self.enclaves)

    def _failures(self, members: int) -> str:
        found = []
        for unit in self.units[:members]:
            found += [str(f) for f in enclave_link(unit, own_enclave(unit, None)).status()["failures"]]
        return "; ".join(found)

    def workers(self, number: int) -> list[int]:
        """The processes that an enclave has started: its launcher, and what runs in sandboxes."""
        return descendants(self.enclaves[number].pid)


class _Noting(Processes):
    """Also starts enclaves that note their rounds."""

    def note(self, name: str, home: Path, spans: Path) -> Child:
        log = self._logs / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TRUSTSPACE_")}
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.spans", spans, "--home", str(home), "--json", "enclave", "serve"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment,
                cwd=HERE.parent, start_new_session=True,
            )  # fmt: skip
        child = Child(name, log, process)
        self._children.append(child)
        return child


def descendants(pid: int) -> list[int]:
    """Every process below one, as far as it is shown to us."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            below.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        children = below.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def reset_peak(pid: int) -> None:
    """Let a process's peak begin again from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


@dataclass
class Usage:
    """Peaks of what can only be seen while it lasts: by name, KiB of memory or of disk."""

    peaks: dict[str, int] = field(default_factory=dict)

    def at_least(self, name: str, value: int) -> None:
        """Keep the largest."""
        self.peaks[name] = max(self.peaks.get(name, 0), value)


class Watch:
    """Looks at the platform's workers and disks a few times a second, until closed."""

    def __init__(self, hospitals: Hospitals, members: Sequence[int]) -> None:
        self.usage = Usage()
        self._hospitals = hospitals
        self._members = members
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        hospitals = self._hospitals
        while not self._stop.wait(0.2):
            self.usage.at_least("space disk", _unnamed_kib(hospitals.space.pid))
            for number in self._members:
                peaks = [peak_kib(pid) for pid in hospitals.workers(number)]
                self.usage.at_least("sandbox memory", max(peaks, default=0))
                notes = hospitals._work / f"enclave-{number}/rounds"
                self.usage.at_least("enclave disk", _folder_kib(notes))
        self.usage.at_least("space memory", peak_kib(hospitals.space.pid))
        for number in self._members:
            self.usage.at_least("enclave memory", peak_kib(hospitals.enclaves[number].pid))


def _unnamed_kib(pid: int) -> int:
    """What the files hold that a process has open and that have no name any more."""
    total = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(link).endswith("(deleted)"):
                total += os.stat(link).st_blocks // 2
        except OSError:
            continue
    return total


def _folder_kib(folder: Path) -> int:
    total = 0
    for file in folder.glob("*"):
        try:
            total += file.stat().st_blocks // 2
        except OSError:
            continue
    return total
