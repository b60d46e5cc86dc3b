"""Real enclaves in real processes, and one of them killed in the middle of a joint job that can do without it."""

import json
import threading

import pytest
from support import processes
from support.enclaves import door, patients, publish, until, write_job
from support.hospitals import MANY_JOBS, TRAIN, USE
from support.world import World

from trustspace.client import jobs, releases, review
from trustspace.client.broker import Broker
from trustspace.client.enclaves import adopt, move, own_enclave
from trustspace.domain.statements import read
from trustspace.enclave import home as enclave_home

pytestmark = [pytest.mark.isolation, pytest.mark.slow]
ROUNDS, PATIENCE = 12, 240


class RealHospital:
    """A source unit with its broker in this process and its enclave in one of its own."""

    def __init__(self, world, letter):
        self.letter, self.world = letter, world
        self.home = world.party(
            f"Hospital {letter}", "source-unit", reviewers=(f"Dr {letter}", f"Prof {letter}")
        )
        self.path = world.path / f"enclave-{letter}"
        self.stop = threading.Event()
        self.enclave = self.broker = None

    def open(self, table):
        enclave_home.initialise(self.path, f"Enclave {self.letter}", "127.0.0.1:0", ())
        card = json.loads((self.path / "card.json").read_bytes())
        adoption = adopt(self.home, card, "127.0.0.1:0")
        enclave_home.accept(self.path, read(enclave_home.Adoption, adoption, "adoption"))
        self.enclave = processes.enclave(self.path)
        move(self.home, own_enclave(self.home, None), self.enclave.said[0])
        publish(self.home, self.world, table, "cytology", policy=MANY_JOBS)
        self.broker = threading.Thread(
            target=Broker(self.world.again(self.home)).serve, args=(self.stop,), daemon=True
        )
        self.broker.start()

    def revealed(self, job):
        """How many sums its enclave has helped to open."""
        path = self.path / "rounds" / f"{job}.reveals"
        return len(path.read_bytes().splitlines()) if path.exists() else 0

    def close(self):
        self.stop.set()
        if self.enclave is not None:
            self.enclave.end()
        if self.broker is not None:
            self.broker.join(30)


@pytest.mark.timeout(600)
def test_a_job_comes_to_its_output_without_an_enclave_that_is_killed():
    world, hospitals = World(subprocess=True), []
    try:
        developer, buyer = world.party("Dev GmbH", "developer"), world.party("City Clinic", "buyer")
        hospitals += [RealHospital(world, letter) for letter in "ABCD"]
        world.introduce()
        for number, hospital in enumerate(hospitals):
            hospital.open(patients(80, seed=7 + number))
        text = TRAIN.replace("rounds = 3", f"rounds = {ROUNDS}").replace(
            "wait_seconds = 60", "wait_seconds = 5"
        )
        text = text.replace("{minimum}", "3") + "[sums]\ndropouts = 1\n"
        uses = "".join(USE.format(unit=f"Hospital {hospital.letter}") for hospital in hospitals)
        job = jobs.submit(developer, write_job(world, text + uses))
        jobs.countersign(buyer, job)
        for hospital in hospitals:
            jobs.grant(hospital.home, job, recovery=True, threshold=2)
        *left, lost = hospitals
        until(lambda: lost.revealed(job) >= 3, PATIENCE)
        lost.enclave.kill()
        assert lost.revealed(job) < ROUNDS

        def state():
            # A developer would be told coarsely, and later.
            return next(j["state"] for j in left[0].home.session.link.view("jobs") if j["statement"] == job)

        until(lambda: state() in ("in-review", "failed"), PATIENCE)
        assert state() == "in-review", [door(h.home).status()["failures"] for h in left]
        for hospital in hospitals:
            for person in (f"Dr {hospital.letter}", f"Prof {hospital.letter}"):  # red, and so approved by two
                case = review.open_case(hospital.home, job, person)
                review.approve(hospital.home, case, comment="seen", accept_red=True)
        found = {d.name: d.content for d in releases.fetch(buyer, job)[0]}
        there = json.loads(found["metrics.json"])["participants_per_round"]
        # All of them up to the round that it was lost in; from then on the others, and no round was lost with it.
        assert there == sorted(there, reverse=True)
        assert set(there) == {4, 3}
        assert len(there) == ROUNDS
    finally:
        for hospital in hospitals:
            hospital.close()
        world.close()
