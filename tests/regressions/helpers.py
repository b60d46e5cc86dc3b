"""A hospital with an enclave and a dataset, a developer, a buyer; every step happens when a test says so."""

from __future__ import annotations

import threading
from typing import Any

from support.enclaves import CODE, JOB, SimulatedEnclave, make_enclave, publish, write_job
from support.world import World, trio

from trustspace.client import jobs, review
from trustspace.client.broker import Broker
from trustspace.client.home import PartyHome
from trustspace.domain.bodies import KeyRelease
from trustspace.domain.statements import Statement, parse
from trustspace.errors import Unavailable

FAILING = "def run(inputs, outputs):\n    raise ValueError('no')\n"


class Stage:
    """The story of one source unit. Nothing attends to anything by itself."""

    def __init__(self) -> None:
        self.world = World()
        self.hospital, self.developer, self.buyer = trio(self.world)
        self.enclave = make_enclave(self.world, self.hospital)
        self.dataset = publish(self.hospital, self.world)
        self.broker = Broker(self.hospital)

    def close(self) -> None:
        self.enclave.stop()
        self.world.close()

    def ask(self, text: str = JOB, code: str = CODE) -> str:
        """Submitted and countersigned."""
        job = jobs.submit(self.developer, write_job(self.world, text, code))
        jobs.countersign(self.buyer, job)
        return job

    def granted(self, text: str = JOB, code: str = CODE, **options: Any) -> str:
        job = self.ask(text, code)
        jobs.grant(self.hospital, job, **options)
        return job

    def offered(self, **options: Any) -> str:
        """Granted, challenged, and offered a run; no key is released yet."""
        job = self.granted(**options)
        self.broker.attend()
        self.enclave.attend()
        return job

    def run(self) -> None:
        """One whole run of every job that waits for one."""
        for _ in range(2):
            self.broker.attend()
            self.enclave.attend()

    def reviewed(self, text: str = JOB) -> str:
        """An output waits for its reviewer."""
        job = self.granted(text)
        self.run()
        assert self.state(job) == "in-review"
        return job

    def case(self, job: str) -> review.Case:
        return review.open_case(self.hospital, job, "Dr Li")

    def approve(self, job: str) -> None:
        review.approve(self.hospital, self.case(job), accept_red=True, comment="seen")

    def state(self, job: str) -> str:
        return self.world.state(job)

    def logged(self, job: str, kind: str) -> list[Statement]:
        """The statements of this type that the ledger has of a job."""
        return [parse(e.envelope) for e in self.world.ledger.store.of_job(job) if e.type == kind]

    def restart_enclave(self) -> None:
        self.enclave.stop()
        self.enclave = SimulatedEnclave(self.enclave.path, self.enclave.launcher)


def crash_before_release(home: PartyHome, monkeypatch: Any) -> None:
    """From now on this party's process dies between counting a run and logging the release of its key."""
    submit = home.submit

    def die(body: Any, use: Any, holder: str | None = None) -> Statement:
        if isinstance(body, KeyRelease):
            raise Unavailable("killed here")
        return submit(body, use, holder)

    monkeypatch.setattr(home, "submit", die)


def stay(world: World) -> None:
    """Let the space come back to the same address when it is restarted."""
    path = world.home / "space.toml"
    text = path.read_text(encoding="utf-8")
    assert 'listen = "127.0.0.1:0"' in text
    path.write_text(text.replace('listen = "127.0.0.1:0"', f'listen = "{world.listen}"', 1), encoding="utf-8")


class Impatient(threading.Event):
    """A stop signal for loops under test: waiting takes no time, and after so many waits it is set."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.left = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        if self.left <= 0:
            self.set()
        return self.is_set()
