"""One hospital's story over a real space, told in steps, for tests that attack it in between."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from support.enclaves import (
    CODE,
    JOB,
    SimulatedEnclave,
    SimulatedLauncher,
    make_enclave,
    patients,
    publish,
    write_job,
)  # fmt: skip
from support.world import World
from trustspace.client import jobs, releases, review
from trustspace.client.broker import Broker
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain.bodies import Policy
from trustspace.domain.records import JobRecord

PEOPLE = ("Dr Li", "Dr Wang")
# A job with two results and a log in which a row's value is printed.
TWO_OUTPUTS = JOB.replace(
    'outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }]',
    'outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 },\n'
    '           { name = "groups.json", media_type = "application/json", max_bytes = 4096 }]',
)
TWO_OUTPUTS_CODE = """
def run(inputs, outputs):
    table = inputs.table()
    print("the first row is", table.column("size")[0].as_py())
    sizes = table.column("size").to_pylist()
    outputs.json("summary.json", {"rows": table.num_rows, "mean": f"{sum(sizes) / len(sizes):.3f}"})
    groups = table.column("diagnosis").to_pylist()
    outputs.json("groups.json", {name: groups.count(name) for name in sorted(set(groups))})
"""


class Story:
    """Hospital A with two reviewers (``people``: whose keys lie in its own home), Dev GmbH, City Clinic and an auditor; a dataset; a job when asked for."""

    def __init__(
        self,
        *,
        table: pa.Table | None = None,
        launcher: SimulatedLauncher | None = None,
        policy: Policy | None = None,
        people: tuple[str, ...] = PEOPLE,
    ) -> None:
        self.world = World()
        self.table = patients() if table is None else table
        self.hospital = self.world.party("Hospital A", "source-unit", reviewers=people)
        self.developer = self.world.party("Dev GmbH", "developer")
        self.buyer = self.world.party("City Clinic", "buyer")
        self.auditor = self.world.party("Auditor", "auditor")
        self.world.introduce()
        self.enclave: SimulatedEnclave = make_enclave(self.world, self.hospital, launcher=launcher)
        self.dataset = publish(self.hospital, self.world, self.table, policy=policy or DEFAULT_POLICY)
        self.job = ""

    @property
    def launcher(self) -> Any:
        return self.enclave.launcher

    @property
    def state(self) -> str:
        return self.world.state(self.job)

    @property
    def record(self) -> JobRecord:
        found = self.world.ledger.view.get(JobRecord, self.job)
        assert found is not None
        return found

    def close(self) -> None:
        self.enclave.stop()
        self.world.close()

    # -- the steps

    def ask(self, text: str = TWO_OUTPUTS, code: str = TWO_OUTPUTS_CODE) -> str:
        self.job = jobs.submit(self.developer, write_job(self.world, text, code))
        jobs.countersign(self.buyer, self.job)
        return self.job

    def grant(self, **options: Any) -> str:
        options.setdefault("reviewers", ("Dr Li",))
        return jobs.grant(self.hospital, self.job, **options)

    def offer(self) -> None:
        """The broker gives its challenge, the enclave answers with a one-time key."""
        assert Broker(self.hospital).attend() == 0
        self.enclave.attend()

    def release_key(self) -> int:
        return Broker(self.hospital).attend()

    def run(self) -> str:
        """Offer, release, run; returns the state after it."""
        self.offer()
        assert self.release_key() == 1
        self.enclave.attend()
        return self.state

    def until_review(self, **options: Any) -> Story:
        self.ask(**{k: options.pop(k) for k in ("text", "code") if k in options})
        self.grant(**options)
        assert self.run() == "in-review", self.enclave.failures()
        return self

    def case(self, reviewer: str = "Dr Li") -> review.Case:
        return review.open_case(self.hospital, self.job, reviewer)

    def approve(self, reviewer: str = "", artifacts: tuple[str, ...] = (), **options: Any) -> str:
        """This person approves, or as many of those whom the grant names as must."""
        options = {"comment": "a second opinion is needed", "accept_red": True, **options}
        grant = self.case(reviewer or "Dr Li").grant.body
        everybody = tuple(person.holder for person in grant.reviewers[: grant.reviewer_threshold])
        for name in (reviewer,) if reviewer else everybody:
            review.approve(self.hospital, self.case(name), artifacts, **options)
        return self.state

    def reject(self, reviewer: str = "Dr Li") -> str:
        review.reject(self.hospital, self.case(reviewer), comment="no")
        return self.state

    def fetch(self) -> Any:
        return releases.fetch(self.buyer, self.job)

    def run_key(self) -> OneTimeKey:
        """The enclave's one-time key of the run that is on."""
        key: OneTimeKey = self.enclave.runner._runs[self.job].key
        return key


__all__ = ["CODE", "PEOPLE", "TWO_OUTPUTS", "TWO_OUTPUTS_CODE", "Story"]
