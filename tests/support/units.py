"""Many source units over a real space, without joint training: everybody is real but the enclaves.

The enclaves' part is played by the test, with their keys: they open no data, run nothing, and pack from one agreed
secret what a joint training would leave. Clients, brokers, reviewers and the buyer are the product's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from support.enclaves import TIER, write_job
from support.world import World
from trustspace.client import jobs
from trustspace.client.broker import Broker
from trustspace.client.datasets import key_of
from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain.bodies import (
    Challenge,
    Dataset,
    Evidence,
    Output,
    PartyKey,
    Policy,
    RunFailed,
    RunOffer,
)  # fmt: skip
from trustspace.domain.records import ChallengeRecord, GrantRecord, OutputRecord
from trustspace.domain.statements import Statement
from trustspace.enclave.packing import Content, Run, pack_artifact, pack_evidence
from trustspace.evidence.facts import DigestPair, Judgement, RunFacts
from trustspace.evidence.report import build_report
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import write_tensors

POLICY = Policy()
SECRET_LOG = b"a traceback with a patient's name in it"
HEAD = """
[job]
title = "Malignancy from size"
purpose = "A study."
kind = "{kind}"

[parties]
buyer = "City Clinic"

[terms]
minimum_participants = {minimum}
"""
TRAIN = """
[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 3
"""
COMPUTE = """
[code]
path = "code"

[compute]
outputs = [{ name = "summary.json", media_type = "application/json", max_bytes = 4096 }]
"""
USE = """
[[datasets]]
id = "{dataset}"
version = 1
columns = ["size"]
source_unit = "{unit}"
"""
MEDIA = {
    "model.safetensors": ("application/x-safetensors", "model"),
    "metrics.json": ("application/json", "metrics"),
    "summary.json": ("application/json", "result"),
}


class PlayedUnit:
    """A hospital with its reviewers, a published dataset, and the keys of its enclave in the test's hands."""

    dataset_name = "cytology"

    def __init__(self, world: World, name: str, people: tuple[str, ...]) -> None:
        self.name, self.people = name, people
        self.home: PartyHome = world.party(name, "source-unit", reviewers=people)
        self.enclave = self.home.keys.create_signing_key("enclave-played").hex()
        self.home.publish((*self.home.party.keys, PartyKey(use="enclave", public=self.enclave, holder=name)))
        self.run_key = OneTimeKey.generate()
        self.dataset = ""

    def describe(self) -> None:
        """Publish a dataset whose key is in the hospital's key store, as its client would."""
        self.home.keys.create_data_key(key_of(self.dataset_name, 1))
        mock = os.urandom(32)
        self.home.session.link.put_blob(mock, sha256_hex(mock), len(mock))
        columns = [{"name": "size"}, {"name": "diagnosis"}]
        body = Dataset(
            dataset=self.dataset_name, version=1, manifest=sha256_hex(os.urandom(32)),
            description={"title": self.dataset_name, "columns": columns}, mock=sha256_hex(mock),
            policy=POLICY, custody="own", enclave=self.enclave,
        )  # fmt: skip
        self.dataset = self.home.submit(body, "act").digest

    def act(self, body: Any) -> Statement:
        """Say something as the enclave."""
        key = self.home.keys.public("enclave-played")
        return self.home.session.submit(
            body, public=key, sign=lambda m: self.home.keys.sign("enclave-played", m)
        )


class Consortium:
    """So many hospitals, of so many reviewers each, and one job over all of their data.

    ``minimum`` is the job's minimum of participants: all of them, unless told otherwise. A job of kind
    "compute" leaves a result of each hospital's own.
    """

    def __init__(
        self, world: World, units: int = 3, reviewers: int = 3, threshold: int = 2, minimum: int = 0,
        kind: str = "train",
    ) -> None:  # fmt: skip
        self.world, self.threshold, self.minimum, self.kind = world, threshold, minimum or units, kind
        self.developer = world.party("Dev GmbH", "developer")
        self.buyer = world.party("City Clinic", "buyer")
        self.units = [
            PlayedUnit(
                world,
                f"Hospital {chr(65 + n)}",
                tuple(f"Dr {chr(65 + n)}{r}" for r in range(1, reviewers + 1)),
            )
            for n in range(units)
        ]
        world.introduce()
        for unit in self.units:
            unit.describe()
        # What the members' enclaves agree on before they pack.
        self.secret = os.urandom(32)
        model = write_tensors({"linear.weight": np.array([[0.5]], dtype=np.float32)})
        self.contents = {"model.safetensors": model, "metrics.json": b'{"auc":"0.910000"}'}
        if kind == "compute":
            self.contents = {"summary.json": b'{"mean":"1.500000"}'}
        self.job = self._ask()
        self.parameters = Parameters.from_json(self.record().body.parameters)

    def _ask(self) -> str:
        uses = "".join(USE.format(dataset=u.dataset_name, unit=u.name) for u in self.units)
        head = HEAD.format(kind=self.kind, minimum=self.minimum)
        text = head + uses + (TRAIN if self.kind == "train" else COMPUTE)
        digest = jobs.submit(self.developer, write_job(self.world, text))
        jobs.countersign(self.buyer, digest)
        return digest

    def record(self) -> Any:
        return self.units[0].home.session.job(self.job).job(self.job)

    def record_output(self) -> Output:
        dossier = self.units[0].home.session.job(self.job)
        found = dossier.view.get(OutputRecord, dossier.job(self.job).output)
        assert found is not None
        return found.body

    def grant(self, runs: int = 1) -> None:
        few = self.kind == "train" and 1 < len(self.units) and self.minimum < 3
        for unit in self.units:
            jobs.grant(unit.home, self.job, threshold=self.threshold, runs=runs, small_sums=few)

    def offer(self, numbers: Iterable[int] | None = None) -> None:
        """Brokers give challenges, enclaves (all of them, unless told which) answer them."""
        for unit in self.units:
            Broker(unit.home).attend()
        for unit in self.units if numbers is None else [self.units[n] for n in numbers]:
            dossier = unit.home.session.job(self.job)
            given = {
                c.key_holder: c.challenge
                for c in dossier.view.all(ChallengeRecord)
                if c.enclave == unit.enclave and not c.used
            }
            evidence = Evidence(
                kind="software",
                measurement=sha256_hex(b"package"),
                sandbox_tier=TIER,
                platform="test",
                custody="own",
            )
            unit.act(RunOffer(
                job=self.job, run_key=unit.run_key.public.hex(), evidence=evidence,
                challenges=tuple(Challenge(key_holder=u, challenge=c) for u, c in given.items()),
            ))  # fmt: skip

    def release_keys(self) -> list[int]:
        return [Broker(unit.home).attend() for unit in self.units]

    def fail(self, number: int, reason: Any = "host") -> None:
        """One enclave says that its part of the run is over; "host" also when it was restarted."""
        unit = self.units[number]
        offer = self.record().offers[unit.home.fingerprint]
        unit.act(RunFailed(job=self.job, offer=offer, reason=reason))

    def pack(self, number: int = 0, members: Iterable[int] | None = None, **changes: Any) -> Output:
        """What one enclave hands in, its blobs uploaded. Members are those whose offers stand, unless told which."""
        unit, record = self.units[number], self.record()
        dossier = unit.home.session.job(self.job)
        grants = {u: dossier.view.get(GrantRecord, record.grants[u]) for u in record.body.source_units}
        # Before a run is on there is none to name.
        run = Run(self.job, record.run or sha256_hex(b"none"), {u: g.body for u, g in grants.items() if g})
        everybody, me = tuple(record.body.source_units), unit.home.fingerprint
        joined = [self.units[n].home.fingerprint for n in members] if members is not None else record.offers
        named = tuple(sorted(joined)) if record.body.is_joint else ()
        dropped = set(everybody) - set(named) if named[:1] == (me,) else set()
        contents = [
            Content(self.own(name, number), *MEDIA[name], data, everybody if self.kind == "train" else (me,))
            for name, data in self.contents.items()
        ]
        contents.append(Content(self.numbered("run.log", number), "text/plain", "log", SECRET_LOG, (me,)))
        packed = [pack_artifact(self.secret, run, content, seal_for={me, *dropped}) for content in contents]
        report = self._report({a.name: a.commitment for a, _ in packed if a.role != "log"})
        evidence = [
            pack_evidence(self.secret, run, one, report) for one in everybody if one in {me, *dropped}
        ]
        for _, blob in (*packed, *evidence):
            unit.home.session.link.put_blob(blob.data, blob.digest, len(blob.data))
        body = Output(
            job=self.job, offer=record.offers[me], run=run.run, members=named,
            grants=tuple(record.grants[u] for u in everybody), artifacts=tuple(a for a, _ in packed),
            evidence=tuple(sealed for sealed, _ in evidence), sandbox_tier=TIER,
        )  # fmt: skip
        return body.model_copy(update=changes)

    @staticmethod
    def numbered(name: str, number: int) -> str:
        """``run.log`` for the first unit, ``run-2.log`` and so on for the others: names do not collide."""
        stem, suffix = name.rsplit(".", 1)
        return name if number == 0 else f"{stem}-{number + 1}.{suffix}"

    def own(self, name: str, number: int) -> str:
        """The name under which one unit's enclave hands an artifact in: a joint one has the same everywhere."""
        return name if self.kind == "train" else self.numbered(name, number)

    def _report(self, commitments: dict[str, str]) -> bytes:
        artifacts = [RawArtifact(n, MEDIA[n][0], d) for n, d in self.contents.items()]
        digest, code = sha256_hex(canonical_json(self.parameters.to_json())), self.record().body.code
        ran = [DigestPair("parameters", digest, digest), *([DigestPair("code", code, code)] if code else [])]
        facts = RunFacts.of(
            self.parameters, artifacts, digests=ran, commitments=commitments,
            rows=100, patients=100, withheld_patients=0, record_bytes=64, judged=Judgement(), sandbox_tier=TIER,
            sandbox_tier_demanded="any", evidence_kind="software", evidence_kind_demanded="software", custody="own",
            history=(),
        )  # fmt: skip
        return build_report(facts, POLICY).to_bytes()

    def hand_in(self, *numbers: int) -> None:
        """These enclaves hand in, or all of them."""
        for number in numbers or range(len(self.units)):
            self.units[number].act(self.pack(number))

    def until_review(self) -> Consortium:
        self.grant()
        self.offer()
        assert self.release_keys() == [1] * len(self.units)
        self.hand_in()
        return self
