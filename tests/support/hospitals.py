"""Several hospitals and their enclaves over a real space: everything is the product's own but the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from support.enclaves import (
    SimulatedEnclave,
    SimulatedLauncher,
    make_enclave,
    patients,
    publish,
    until,
    write_job,
)
from support.world import World
from trustspace.client import jobs, review
from trustspace.client.broker import Broker
from trustspace.client.code_broker import CodeBroker
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.client.home import PartyHome
from trustspace.domain.bodies import Policy
from trustspace.domain.records import JobRecord, OutputRecord
from trustspace.errors import Unavailable
from trustspace.space.rounds import Board
from trustspace.transport.rounds import Place

NAME = "cytology"
# One developer tries a module's worth of jobs on the same data.
# What is played here is rounds; that models are trained anew to compare with is shown in other tests.
MANY_JOBS = DEFAULT_POLICY.model_copy(
    update={"quiet_millibits_per_developer": 10**9, "reference_trainings": 0, "reexecution": "skip"}
)
TRAIN = """
[job]
title = "Malignancy over several hospitals"
purpose = "A second opinion."
kind = "train"

[parties]
buyer = "City Clinic"

[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 1
learning_rate = 0.05

[federated]
rounds = 3
weight_cap = 1000
wait_seconds = 60

[terms]
minimum_participants = {minimum}
"""
USE = """
[[datasets]]
id = "cytology"
version = 1
columns = ["size", "texture"]
source_unit = "{unit}"
"""


class _Line:
    """An enclave's line to the rounds of the space, which a test can listen to and cut."""

    def __init__(self, relay: Any, hospital: Hospital) -> None:
        self._relay = relay
        self._hospital = hospital
        self.cut = threading.Event()

    def alive(self) -> None:
        if self.cut.is_set():
            raise Unavailable("the line is cut")

    def exchange(self, place: Place, phase: str, *more: Any, **options: Any) -> Any:
        if not self.cut.is_set():
            self._hospital.before(place, phase)
        self.alive()
        found = self._relay.exchange(place, phase, *more, **options)
        self.alive()
        return found

    def __getattr__(self, name: str) -> Any:
        self.alive()
        return getattr(self._relay, name)


class Hospital:
    """A source unit with one dataset, one enclave, and two reviewers unless there are more or fewer.

    ``before`` is called in the run's thread before its enclave says something in a round, ``heard`` in the
    worker's thread with each message that it receives: where a test is to do something at an exact moment.
    Both outlive a restart.
    """

    def __init__(self, joint: Joint, number: int, table: pa.Table, reviewers: int = 2) -> None:
        letter = chr(65 + number)
        self.name = f"Hospital {letter}"
        self.reviewer = f"Dr {letter}"
        self.people = (self.reviewer, *(f"Dr {letter}{n}" for n in range(2, reviewers + 1)))
        self.table = table
        self.home: PartyHome = joint.world.party(self.name, "source-unit", reviewers=self.people)
        self.launcher = SimulatedLauncher()
        self.enclave: SimulatedEnclave
        self.before: Callable[[Place, str], None] = lambda place, phase: None
        self.heard: Callable[[str, dict[str, Any]], None] = lambda program, message: None
        self.away = threading.Event()
        self.attending = threading.Lock()
        self._line: _Line
        self._joint = joint

    @property
    def unit(self) -> str:
        return self.home.fingerprint

    def open(self) -> None:
        """Start the enclave and submit the dataset."""
        self.enclave = make_enclave(
            self._joint.world, self.home, name=f"Enclave {self.name[-1]}", launcher=self.launcher
        )
        self._connect()
        publish(self.home, self._joint.world, self.table, self._joint.dataset, policy=self._joint.policy)

    def _connect(self) -> None:
        self.launcher.heard = lambda program, message: self.heard(program, message)
        self._line = _Line(self.enclave.runner._relay, self)
        self.enclave.runner._relay = self._line  # type: ignore[assignment]

    def restart(self) -> None:
        """The enclave's process ends and another begins; what was in its memory is gone."""
        with self.attending:
            path = self.enclave.path
            self.stop()
            self.launcher = SimulatedLauncher()
            self.enclave = SimulatedEnclave(path, self.launcher)
            self._connect()
        self.away.clear()

    def stop(self) -> None:
        self.enclave.stop()

    def vanish(self) -> None:
        """As if its machine lost power: nothing that the enclave still says arrives. From any thread, also its own."""
        self.away.set()
        self._line.cut.set()
        session = self.enclave.runner._session

        def nothing(*_: Any) -> None:
            self._line.alive()

        session.append = nothing  # type: ignore[assignment]
        self.enclave.runner.stop()

    @property
    def is_idle(self) -> bool:
        """Whether nothing of any run is left in its enclave's memory: no run, no worker, no task."""
        return not self.enclave.runner._runs and not self.launcher._ends


class Joint:
    """So many hospitals, and the parties that a job needs besides."""

    def __init__(
        self, world: World, hospitals: int = 3, tables: Iterable[pa.Table] = (), reviewers: int = 2,
        dataset: str = NAME, policy: Policy = MANY_JOBS,
    ) -> None:  # fmt: skip
        self.world = world
        self.policy = policy
        self.dataset = dataset
        self.developer = world.party("Dev GmbH", "developer")
        self.buyer = world.party("City Clinic", "buyer")
        given = list(tables) or [patients(60 + 30 * n, seed=7 + n) for n in range(hospitals)]
        self.hospitals = [Hospital(self, n, table, reviewers) for n, table in enumerate(given)]
        world.introduce()
        for hospital in self.hospitals:
            hospital.open()
        self.job = ""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def ask(
        self, text: str = TRAIN, *, minimum: int = 3, runs: int = 1, code: str = "", use: str = USE,
        hospitals: Iterable[Hospital] = (), threshold: int = 2,
    ) -> str:  # fmt: skip
        """Submit a job over all (or these) hospitals' data, countersign it, and let everybody grant it.

        Two must approve: on so few patients the evidence is red, which nobody approves alone.
        """
        asked = list(hospitals) or self.hospitals
        self.submit(text, minimum=minimum, code=code, use=use, hospitals=asked)
        for hospital in asked:
            jobs.grant(hospital.home, self.job, runs=runs, small_sums=minimum < 3, threshold=threshold)
        return self.job

    def submit(
        self, text: str = TRAIN, *, minimum: int = 3, code: str = "", use: str = USE,
        hospitals: Iterable[Hospital] = (),
    ) -> str:  # fmt: skip
        """Submit a job over all (or these) hospitals' data and countersign it; nobody has granted it yet."""
        uses = "".join(use.format(unit=h.name) for h in list(hospitals) or self.hospitals)
        path = write_job(
            self.world, text.replace("{minimum}", str(minimum)) + uses, **({"code": code} if code else {})
        )
        self.job = jobs.submit(self.developer, path)
        jobs.countersign(self.buyer, self.job)
        return self.job

    def attend(self, *hospitals: Hospital) -> None:
        """Let brokers and enclaves of these (or all) hospitals attend by themselves, each in its own thread."""
        for hospital in hospitals or self.hospitals:
            self._threads.append(
                threading.Thread(target=self._attending, args=(hospital,), name=hospital.name, daemon=True)
            )
            self._threads[-1].start()

    def attend_developer(self) -> None:
        """Let the developer's broker attend by itself, as it must where code is blind."""
        self._threads.append(threading.Thread(target=self._releasing_code, name="developer", daemon=True))
        self._threads[-1].start()

    def _releasing_code(self) -> None:
        broker, size = CodeBroker(self.developer), 0
        while not self._stop.is_set():
            try:
                size = self.world.ledger.wait_beyond(size, 0.5)
                self._stop.wait(0.03)
                broker.attend()
            except Exception:  # the space may be away
                self._stop.wait(0.1)

    def _attending(self, hospital: Hospital) -> None:
        broker, size = Broker(hospital.home), 0
        while not self._stop.is_set():
            try:
                # Woken by the ledger, as the product's own loops are; now and then anyway.
                size = self.world.ledger.wait_beyond(size, 0.5)
                self._stop.wait(0.03)  # what others say at the same time is attended to in one go
                broker.attend()
                with hospital.attending:
                    if not hospital.away.is_set():
                        hospital.enclave.runner._attend_all()
            except Exception:  # the space may be away, the enclave restarting
                self._stop.wait(0.1)

    def until(self, *states: str, seconds: float = 120.0) -> JobRecord:
        """Wait for the job to be in one of these states."""

        def there() -> bool:
            # Looked up in the space's own view: asking it for proof again and again would slow everybody down.
            return self.world.server is not None and self.world.state(self.job) in states

        until(there, seconds)
        return self.record()

    @property
    def board(self) -> Board:
        """Where the members of the job's run meet, in the space."""
        assert self.world.server is not None
        return self.world.server.relay._boards[self.job].board

    def lapse(self, *lost: Hospital) -> None:
        """Once these alone are waited for, let the time be over for which others wait: the space's clock jumps."""
        units = {hospital.unit for hospital in lost}

        def lacking() -> bool:
            if self.world.server is None or self.job not in self.world.server.relay._boards:
                return False  # nobody has come yet
            course = self.board._course
            with self.board._changed:
                current = course.current
                phase = current.phase if current is not None and not current.fate else None
                return current is not None and phase is not None and set(current.lacking(phase)) == units

        until(lacking)
        clock, jump = self.board._clock, 100_000.0
        self.board._clock = lambda: clock() + jump
        self.board.tick()

    def approve(self, *hospitals: Hospital, person: int | None = None) -> str:
        """As many of each of these (or all) hospitals as must approve the output, or one; returns the job's state then."""
        for hospital in hospitals or self.hospitals:
            case = review.open_case(hospital.home, self.job, hospital.reviewer)
            needed = hospital.people[: case.grant.body.reviewer_threshold]
            for name in needed if person is None else (hospital.people[person],):
                case = review.open_case(hospital.home, self.job, name)
                review.approve(hospital.home, case, comment="seen", accept_red=True)
        return self.world.state(self.job)

    def record(self) -> JobRecord:
        return self.hospitals[0].home.session.job(self.job).job(self.job)

    def output(self) -> Any:
        dossier = self.hospitals[0].home.session.job(self.job)
        return dossier.view.get(OutputRecord, dossier.job(self.job).output)

    def close(self) -> None:
        self._stop.set()
        for hospital in self.hospitals:
            hospital.stop()
        for thread in self._threads:
            thread.join(30)
