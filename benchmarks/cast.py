"""A space in this process, its parties with real homes, and as many jobs in review as a benchmark asks for.

Statements are built directly, with the bodies, seals and signatures that the parties' software would make; they
enter through the space's own ledger writer. Only the network and the sandbox are missing.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.binding import run_name
from trustspace.domain.bodies import (
    Body,
    Challenge,
    Countersignature,
    Dataset,
    DatasetUse,
    Evidence,
    Grant,
    Job,
    KeyRelease,
    Output,
    PartyKey,
    Policy,
    Reviewer,
    RunNonce,
    RunOffer,
)  # fmt: skip
from trustspace.domain.statements import LogReference, Statement, make
from trustspace.domain.trust import TrustFile
from trustspace.enclave.packing import Content, Run, pack_artifact, pack_evidence
from trustspace.evidence.checks import CHECKS
from trustspace.evidence.facts import DigestPair, Judgement, PartMetrics, RunFacts
from trustspace.evidence.report import build_report
from trustspace.jobs.artifacts import encode_json
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.registry import expected_tensors
from trustspace.jobs.sections import METRICS_ARTIFACT, MODEL_ARTIFACT
from trustspace.jobs.spec import parse_job_file
from trustspace.jobs.tensors import write_tensors
from trustspace.ledger.checkpoint import open_checkpoint
from trustspace.ledger.merkle import EMPTY_ROOT
from trustspace.space.home import SpaceHome, initialise
from trustspace.space.service import Space
from trustspace.space.servicers import SpaceServicer
from trustspace.transport.links import SpaceLink
from trustspace.transport.session import Session
from trustspace.transport.tls import Caller, issue, new_key, new_request

DAY = 86400
TIER = "namespaces+landlock+seccomp"
REVIEWER = "Dr Example"
# What is measured takes more jobs of one developer than a source unit would allow.
# What is measured here is statements: nothing was trained, so that nothing of a model is asked.
MANY_JOBS = Policy(
    quiet_millibits_per_developer=10**12,
    reference_trainings=0,
    reexecution="skip",
    not_applicable=tuple(CHECKS),
)
_JOB_FILE = """
[job]
title = "Malignancy from cell measurements"
purpose = "A benchmark."
kind = "train"
[parties]
buyer = "Buyer"
[[datasets]]
id = "cytology"
version = 1
columns = ["radius", "texture", "perimeter"]
[train]
model = "logistic_regression"
target = "diagnosis"
positive = "M"
epochs = 30
"""


class DirectLink(SpaceLink):
    """A party's link to a space in the same process: both sides' conversions, without gRPC between."""

    def __init__(self, space: Space, certificate: bytes) -> None:
        self._stub = _Stub(space, certificate)


class _Stub:
    """Calls the servicer where gRPC's stub would send a message."""

    def __init__(self, space: Space, certificate: bytes) -> None:
        self._servicer = SpaceServicer(space)
        self._certificate = certificate

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._servicer, name)
        return lambda request, timeout: method(request, self)

    def auth_context(self) -> dict[str, list[bytes]]:
        """What the servicer asks its context for."""
        return {"x509_pem_cert": [self._certificate]}


class Cast:
    """The operator's space, a source unit with one reviewer and an enclave, a developer and a buyer."""

    def __init__(self, work: Path) -> None:
        initialise(work / "space", "Space", "127.0.0.1:0", "127.0.0.1:0", ())
        self._home = SpaceHome(work / "space")
        self.space, self.ledger = self._home.open()
        self.unit = PartyHome.create(work / "unit", "Unit", ("source-unit",), reviewers=(REVIEWER,))
        self.developer = PartyHome.create(work / "developer", "Developer", ("developer",))
        self.buyer = PartyHome.create(work / "buyer", "Buyer", ("buyer",))
        self._enclave = self.unit.keys.create_signing_key("enclave").hex()
        self._names = {
            (home.fingerprint, use): home.key_name(use)
            for home, uses in (
                (self.unit, ("act", "grant", "broker", "review")), (self.developer, ("act",)), (self.buyer, ("act",))
            )
            for use in uses
        }  # fmt: skip
        self._enrol()
        self._dataset = self._describe()
        self._parameters = parse_job_file(_JOB_FILE).parameters()
        self._artifacts = self._produce()
        agreed = sha256_hex(canonical_json(self._parameters.to_json()))
        self._digests = (
            DigestPair("parameters", agreed, agreed), DigestPair("dataset cytology", self._dataset, self._dataset)
        )  # fmt: skip
        (self.buyer_key,) = (key.public for key in self.buyer.party.keys if key.use == "receive")

    def close(self) -> None:
        """Stop the writer and close the store."""
        self.ledger.close()
        self._home.store.close()

    def caller(self, home: PartyHome) -> Caller:
        """Who TLS would say is calling."""
        return Caller(home.fingerprint, "client", "")

    def log(self) -> LogReference:
        """The newest checkpoint as a statement names it."""
        standing = self.ledger.standing()
        found = open_checkpoint(standing.note, self.ledger.verifier)
        return LogReference(origin=found.origin, size=found.size, root=found.root.hex())

    def sign(self, home: PartyHome, use: str, body: Body, log: LogReference | None = None) -> Statement:
        """A statement by one of the parties."""
        name = self._names.get((home.fingerprint, use), use)
        return make(
            body, by=home.fingerprint, issued=int(time.time()), nonce=os.urandom(32), log=log or self.log(),
            public=home.keys.public(name), sign=lambda message: home.keys.sign(name, message),
        )  # fmt: skip

    def append(self, statements: Iterable[Statement]) -> None:
        """Append many; those that depend on each other go in separate calls."""
        with ThreadPoolExecutor(32) as submitters:
            for _ in submitters.map(self.ledger.submit, statements):
                pass

    def jobs(self, count: int) -> list[Statement]:
        """Job statements that stand once they are appended; they differ in their nonces."""
        log = self.log()
        use = DatasetUse(
            dataset=self._dataset, source_unit=self.unit.fingerprint,
            columns=tuple(self._parameters.columns_of(0)),
        )  # fmt: skip
        body = Job(
            title="Malignancy", kind="train", purpose="A benchmark.", source_units=(self.unit.fingerprint,),
            developer=self.developer.fingerprint, buyer=self.buyer.fingerprint, buyer_key=self.buyer_key,
            datasets=(use,), code="", parameters=self._parameters.to_json(), minimum_participants=1,
            release_quorum="all", evidence_kind="software", expires=int(time.time()) + 30 * DAY,
        )  # fmt: skip
        return [self.sign(self.developer, "act", body, log) for _ in range(count)]

    def in_review(self, count: int) -> list[str]:
        """So many jobs, each with an output that waits for its review; returns their digests."""
        found: list[str] = []
        jobs = self.jobs(count)
        for start in range(0, count, 100):
            found += self._through_review(jobs[start : start + 100])
        return found

    def _through_review(self, jobs: list[Statement]) -> list[str]:
        unit, log = self.unit, self.log()
        digests = [job.digest for job in jobs]
        self.append(jobs)
        self.append(
            self.sign(self.buyer, "act", Countersignature(job=job, buyer_key=self.buyer_key), log)
            for job in digests
        )
        grants = [self.sign(unit, "grant", self._grant(job), log) for job in digests]
        self.append(grants)
        nonces = [RunNonce(job=job, enclave=self._enclave, challenge=os.urandom(32).hex()) for job in digests]
        self.append(self.sign(unit, "broker", nonce, log) for nonce in nonces)
        offers = [self.sign(unit, "enclave", self._offer(nonce), log) for nonce in nonces]
        self.append(offers)
        runs = list(zip(digests, grants, offers, strict=True))
        self.append(
            self.sign(
                unit, "broker",
                KeyRelease(job=job, grant=grant.digest, offer=offer.digest, dataset=self._dataset, run_number=1,
                           sealed_key=os.urandom(80).hex()), log,
            )
            for job, grant, offer in runs
        )  # fmt: skip
        self.append([self.sign(unit, "enclave", self._output(*run), log) for run in runs])
        return digests

    def _enrol(self) -> None:
        log = LogReference(origin=self._home.settings.origin, size=0, root=EMPTY_ROOT.hex())
        enclave = PartyKey(use="enclave", public=self._enclave, holder="enclave")
        parties = (self.unit, self.developer, self.buyer)
        trust = TrustFile(space=self._home.trusted())
        for home in parties:
            trust = trust.with_party(home.party.name, home.fingerprint)
            body = home.party
            if home is self.unit:
                body = body.model_copy(update={"keys": (*body.keys, enclave)})
            self.ledger.submit(self.sign(home, "root", body, log))
        for home in parties:
            home.save_trust(trust)
            link = DirectLink(self.space, self._certify(home))
            home._session = Session(link, home.trust, home.fingerprint, home.path / "ledger.json")

    def _certify(self, home: PartyHome) -> bytes:
        authority = self._home.authority()
        now = datetime.datetime.now(datetime.UTC)
        return issue(new_request(new_key()), self.caller(home), authority.certificate, authority.key, now)

    def _describe(self) -> str:
        body = Dataset(
            dataset="cytology", version=1, manifest=sha256_hex(b"manifest"), description={"title": "Cytology"},
            mock=self._keep(b"mock"), policy=MANY_JOBS, custody="own", enclave=self._enclave,
        )  # fmt: skip
        statement = self.sign(self.unit, "act", body)
        self.ledger.submit(statement)
        return statement.digest

    def _keep(self, content: bytes) -> str:
        digest = sha256_hex(content)
        self.space.put_blob(self.caller(self.unit), digest, len(content), [content])
        return digest

    def _produce(self) -> tuple[RawArtifact, ...]:
        shapes = expected_tensors(self._parameters.training(), self._parameters.features)
        model = write_tensors({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
        metrics = encode_json({"format": "benchmark", "loss_per_epoch": ["0.1"] * 30})
        return (
            RawArtifact(MODEL_ARTIFACT, "application/x-safetensors", model),
            RawArtifact(METRICS_ARTIFACT, "application/json", metrics),
        )

    def _grant(self, job: str) -> Grant:
        keys = {key.use: key.public for key in self.unit.party.keys if key.holder == REVIEWER}
        return Grant(
            job=job, datasets=(self._dataset,), enclave=self._enclave, reviewer_threshold=1, evidence_kind="software",
            reviewers=(Reviewer(holder=REVIEWER, review=keys["review"], review_open=keys["review-open"]),),
            sandbox_tier="any", runs=1, expires=int(time.time()) + 20 * DAY,
        )  # fmt: skip

    def _offer(self, nonce: RunNonce) -> RunOffer:
        evidence = Evidence(
            kind="software",
            measurement=sha256_hex(b"package"),
            sandbox_tier=TIER,
            platform="benchmark",
            custody="own",
        )
        answered = Challenge(key_holder=self.unit.fingerprint, challenge=nonce.challenge)
        return RunOffer(
            job=nonce.job, run_key=os.urandom(32).hex(), challenges=(answered,), evidence=evidence
        )

    def _output(self, job: str, grant: Statement, offer: Statement) -> Output:
        unit = self.unit.fingerprint
        assert isinstance(grant.body, Grant)
        run, secret = Run(job, run_name(job, [offer.digest]), {unit: grant.body}), os.urandom(32)
        packed = [
            pack_artifact(secret, run, Content(raw.name, raw.media_type, role, raw.data, (unit,)))
            for raw, role in zip(self._artifacts, ("model", "metrics"), strict=True)
        ]
        log = pack_artifact(secret, run, Content("run.log", "text/plain", "log", b"training\n" * 40, (unit,)))
        facts = RunFacts.of(
            self._parameters, self._artifacts, rows=455, patients=455, withheld_patients=114, record_bytes=24,
            digests=self._digests,
            commitments={artifact.name: artifact.commitment for artifact, _ in packed},
            judged=Judgement(PartMetrics(455, 0.1, 0.99, 0.97), PartMetrics(114, 0.1, 0.98, 0.96)),
            sandbox_tier=TIER, sandbox_tier_demanded="any", evidence_kind="software", evidence_kind_demanded="software",
        )  # fmt: skip
        evidence, report = pack_evidence(secret, run, unit, build_report(facts, MANY_JOBS).to_bytes())
        for _, blob in (*packed, log):
            self._keep(blob.data)
        self._keep(report.data)
        return Output(
            job=job, offer=offer.digest, run=run.run, members=(), grants=(grant.digest,),
            artifacts=tuple(a for a, _ in (*packed, log)), evidence=(evidence,), sandbox_tier=TIER,
        )  # fmt: skip
