"""Many source units over a real space, before there are joint runs: everybody is real but the enclaves.

The enclaves' part is played by the test, with their keys: it seals no data, runs nothing, and packs an output
for all units as the rules demand. Brokers, reviewers and the buyer are the product's own.
"""

from __future__ import annotations

import os
from typing import Any

from support.enclaves import CODE, TIER
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
    DatasetUse,
    Evidence,
    Job,
    Output,
    PartyKey,
    Policy,
    RunOffer,
)  # fmt: skip
from trustspace.domain.records import ChallengeRecord, GrantRecord, OutputRecord
from trustspace.domain.statements import Statement
from trustspace.enclave.packing import Content, Run, pack_artifact, pack_evidence
from trustspace.evidence.facts import DigestPair, RunFacts
from trustspace.evidence.report import build_report
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.spec import Parameters

POLICY = Policy(not_applicable=("withheld_metrics:compute",))
SECRET_LOG = b"a traceback with a patient's name in it"


class PlayedUnit:
    """A hospital with its reviewers, a published dataset, and the keys of its enclave in the test's hands."""

    def __init__(self, world: World, name: str, people: tuple[str, ...]) -> None:
        self.home: PartyHome = world.party(name, "source-unit", reviewers=people)
        self.people = people
        self.dataset_name = f"cytology-{name.lower().replace(' ', '-')}"
        self.enclave = self.home.keys.create_signing_key("enclave-played").hex()
        self.home.publish((*self.home.party.keys, PartyKey(use="enclave", public=self.enclave, holder=name)))
        self.run_key = OneTimeKey.generate()
        self.dataset = ""

    def describe(self) -> None:
        """Publish a dataset whose key is in the hospital's key store, as its client would."""
        self.home.keys.create_data_key(key_of(self.dataset_name, 1))
        mock = os.urandom(32)
        self.home.session.link.put_blob(mock, sha256_hex(mock), len(mock))
        body = Dataset(
            dataset=self.dataset_name, version=1, manifest=sha256_hex(os.urandom(32)),
            description={"title": self.dataset_name, "columns": [{"name": "size"}]}, mock=sha256_hex(mock),
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
    """So many hospitals, of so many reviewers each, and one job over all of their data."""

    def __init__(self, world: World, units: int = 3, reviewers: int = 3, threshold: int = 2) -> None:
        self.world, self.threshold = world, threshold
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
        self.contents = {"summary.json": b'{"mean":"1.5"}', "groups.json": b'{"M":41,"B":59}'}
        self.job = self._ask()

    def _ask(self) -> str:
        outputs = [{"name": n, "media_type": "application/json", "max_bytes": 4096} for n in self.contents]
        self.parameters = Parameters.model_validate({
            "kind": "compute",
            "datasets": [{"id": u.dataset_name, "version": 1, "columns": ["size"]} for u in self.units],
            "compute": {"outputs": outputs},
            "terms": {"withheld_percent": 0, "minimum_participants": len(self.units)},
        })  # fmt: skip
        code = make_bundle({"main.py": CODE})
        self.developer.session.link.put_blob(code, sha256_hex(code), len(code))
        key = next(k.public for k in self.buyer.party.keys if k.use == "receive")
        body = Job(
            title="Means", kind="compute", purpose="A study.",
            source_units=tuple(u.home.fingerprint for u in self.units), developer=self.developer.fingerprint,
            buyer=self.buyer.fingerprint, buyer_key=key,
            datasets=tuple(
                DatasetUse(dataset=u.dataset, source_unit=u.home.fingerprint, columns=("size",)) for u in self.units
            ),
            code=sha256_hex(code), parameters=self.parameters.to_json(), minimum_participants=len(self.units),
            release_quorum="all", evidence_kind="software", expires=self.developer.session.now() + 86400,
        )  # fmt: skip
        digest = self.developer.submit(body, "act").digest
        jobs.countersign(self.buyer, digest)
        return digest

    def record(self) -> Any:
        return self.units[0].home.session.job(self.job).job(self.job)

    def record_output(self) -> Output:
        dossier = self.units[0].home.session.job(self.job)
        found = dossier.view.get(OutputRecord, dossier.job(self.job).output)
        assert found is not None
        return found.body

    def grant(self) -> None:
        for unit in self.units:
            jobs.grant(unit.home, self.job, threshold=self.threshold)

    def offer(self) -> None:
        """Brokers give challenges, enclaves answer them."""
        for unit in self.units:
            Broker(unit.home).attend()
        for unit in self.units:
            dossier = unit.home.session.job(self.job)
            given = {
                c.source_unit: c.challenge
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
                challenges=tuple(Challenge(source_unit=u, challenge=c) for u, c in given.items()),
            ))  # fmt: skip

    def release_keys(self) -> list[int]:
        return [Broker(unit.home).attend() for unit in self.units]

    def pack(self, **changes: Any) -> Output:
        """The joint output, as every enclave would pack it; blobs are uploaded, the statement is not made."""
        unit, record = self.units[0], self.record()
        dossier = unit.home.session.job(self.job)
        grants = {u: dossier.view.get(GrantRecord, record.grants[u]) for u in record.body.source_units}
        run = Run(self.job, record.offers[unit.home.fingerprint], {u: g.body for u, g in grants.items() if g})
        secret, everybody = os.urandom(32), tuple(record.body.source_units)
        contents = [Content(n, "application/json", "result", d, everybody) for n, d in self.contents.items()]
        contents.append(Content("run.log", "text/plain", "log", SECRET_LOG, (unit.home.fingerprint,)))
        packed = [pack_artifact(secret, run, content) for content in contents]
        commitments = {a.name: a.commitment for a, _ in packed if a.role != "log"}
        evidence = []
        for one in self.units:
            sealed, blob = pack_evidence(secret, run, one.home.fingerprint, self._report(commitments))
            evidence.append(sealed)
            one.home.session.link.put_blob(blob.data, blob.digest, len(blob.data))
            # The unit that hands in uploads for all: what one refers to, one has handed over.
            unit.home.session.link.put_blob(blob.data, blob.digest, len(blob.data))
        for _, blob in packed:
            unit.home.session.link.put_blob(blob.data, blob.digest, len(blob.data))
        body = Output(
            job=self.job, offer=run.offer, grants=tuple(record.grants[u] for u in record.body.source_units),
            artifacts=tuple(a for a, _ in packed), evidence=tuple(evidence), sandbox_tier=TIER,
        )  # fmt: skip
        return body.model_copy(update=changes)

    def _report(self, commitments: dict[str, str]) -> bytes:
        artifacts = [RawArtifact(n, "application/json", d) for n, d in self.contents.items()]
        digest = sha256_hex(canonical_json(self.parameters.to_json()))
        pairs = [DigestPair("parameters", digest, digest)]
        code = self.record().body.code
        pairs.append(DigestPair("code", code, code))
        facts = RunFacts.of(
            self.parameters, artifacts, digests=pairs, commitments=commitments, rows=100, patients=100,
            withheld_patients=0, record_bytes=64, evaluation=(None, None), sandbox_tier=TIER,
            sandbox_tier_demanded="any", evidence_kind="software", evidence_kind_demanded="software", custody="own",
            history=(),
        )  # fmt: skip
        return build_report(facts, POLICY).to_bytes()

    def hand_in(self) -> None:
        self.units[0].act(self.pack())

    def until_review(self) -> Consortium:
        self.grant()
        self.offer()
        assert self.release_keys() == [1] * len(self.units)
        self.hand_in()
        return self
