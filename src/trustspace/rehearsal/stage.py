"""A granted job as the ledger would have it, but for the signatures: all keys are made up and thrown away.

An enclave's code asks nothing but records and keys. What it seals to a reviewer is opened here with the key that
was made for that.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trustspace.aggregation.paillier.keys import PrivateKey
from trustspace.crypto.canonical import SALT_BYTES, canonical_json, sha256_hex, verify_commitment
from trustspace.crypto.padding import unpad
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain.binding import EVIDENCE, artifact_context, score_context, share_binding
from trustspace.domain.bodies import (
    SMALL_SUMS,
    BlindCode,
    DatasetUse,
    Evidence,
    Grant,
    Job,
    Reviewer,
    SealedEvidence,
    recovery_words,
)
from trustspace.domain.budget import privacy_of
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, View
from trustspace.domain.replay import MemoryView
from trustspace.domain.rules_request import needs_small_sums
from trustspace.domain.statements import dump
from trustspace.domain.tiers import ANY_TIER, stronger
from trustspace.enclave.meeting import Identity, Roster
from trustspace.enclave.opening import Order
from trustspace.enclave.output import Produced
from trustspace.evidence.report import Report
from trustspace.jobs.agreement import sum_terms
from trustspace.jobs.blind import declared
from trustspace.jobs.encrypted_model import encrypt_model
from trustspace.jobs.spec import JobFile, Parameters
from trustspace.rehearsal.samples import Sample, digest_of
from trustspace.transport.session import Dossier

RUN = digest_of("run")


class Stage:
    """Everything that the enclaves of a job's source units work from."""

    def __init__(
        self,
        file: JobFile,
        code: bytes,
        samples: Sequence[Sample],
        evidence: Evidence,
        model: Sequence[int] = (),
    ) -> None:
        self.samples = tuple(samples)
        self.job, self.parameters = _job(file, code, samples)
        if model:
            key = PrivateKey.generate()
            code = encrypt_model(key, model, self.parameters.scoring(), score_context(self.job))
            self.job = self.job.model_copy(update={"code": sha256_hex(code)})
        self._code = code
        self._evidence = evidence
        self._keys = {sample.unit: Ed25519PrivateKey.generate() for sample in samples}
        self._opens = {sample.unit: OneTimeKey.generate() for sample in samples}
        digest = sha256_hex(canonical_json(dump(self.job)))
        self.offers = {sample.unit: digest_of(f"offer {sample.unit}") for sample in samples}
        self._grants = {unit: digest_of(f"grant {unit}") for unit in self.offers}
        self.record = JobRecord(
            statement=digest, state="running", issued=0, body=self.job, grants=self._grants, offers=self.offers,
            run=RUN,
        )  # fmt: skip
        view = MemoryView()
        view.install([self.record, *map(_dataset, samples), *map(self._grant, samples)])
        self._dossier = Dossier((), (), "", view)

    def _grant(self, sample: Sample) -> GrantRecord:
        terms = self.parameters.terms
        reviewer = Reviewer(
            holder="rehearsal", review=digest_of(f"reviewer {sample.unit}"),
            review_open=self._opens[sample.unit].public.hex(),
        )  # fmt: skip
        body = Grant(
            job=self.record.statement, datasets=(sample.statement,), enclave=self._public(sample.unit).hex(),
            reviewers=(reviewer,), reviewer_threshold=1, evidence_kind=terms.evidence_kind,
            sandbox_tier=stronger(ANY_TIER, terms.sandbox_tier), runs=1, expires=0,
            small_sums=SMALL_SUMS if needs_small_sums(self.job) else "", recovery=recovery_words(self.job),
            privacy_millis=privacy_of(self.job),
        )  # fmt: skip
        return GrantRecord(statement=self._grants[sample.unit], source_unit=sample.unit, body=body)

    def _public(self, unit: str) -> bytes:
        return self._keys[unit].public_key().public_bytes_raw()

    def order(self, sample: Sample) -> Order:
        """What this source unit's enclave would be told to run."""
        grant = self._dossier.view.get(GrantRecord, self._grants[sample.unit])
        assert grant is not None
        evidence = self._evidence.model_copy(update={"custody": sample.body.custody})
        return Order(
            self._dossier, self.record, grant, sample.unit, self.offers[sample.unit], OneTimeKey.generate(), (),
            evidence, self._code, (),
        )  # fmt: skip

    @property
    def view(self) -> View:
        """What the statements of this job would add up to."""
        return self._dossier.view

    def identity(self, unit: str) -> Identity:
        """The source unit's enclave towards the others."""
        return Identity(unit, self.offers[unit], self._public(unit), self._keys[unit].sign)

    def roster(self) -> Roster:
        """Whose enclaves are in the run."""
        return Roster({unit: (offer, self._public(unit)) for unit, offer in self.offers.items()})

    def report(self, unit: str, produced: Produced) -> Report:
        """The evidence that was sealed for this source unit's reviewers, opened as one of them would."""
        evidence = next(e for e in produced.evidence if e.source_unit == unit)
        blob = next(b.data for b in produced.own_blobs if b.digest == evidence.blob)
        key = self._opens[unit].open(bytes.fromhex(evidence.keys[0].sealed), self._info(unit, evidence))
        content = unpad(open_bytes(key, artifact_context(self.record.statement, RUN, EVIDENCE), blob))
        verify_commitment(evidence.commitment, content[SALT_BYTES:], content[:SALT_BYTES])
        return Report.from_bytes(content[SALT_BYTES:])

    def _info(self, unit: str, evidence: SealedEvidence) -> bytes:
        return share_binding(
            job=self.record.statement, run=RUN, artifact=EVIDENCE, source_unit=unit,
            reviewer=evidence.keys[0].reviewer,
        )  # fmt: skip


def _job(file: JobFile, code: bytes, samples: Sequence[Sample]) -> tuple[Job, Parameters]:
    """The job's body as submitting it would sign it, with made-up parties."""
    asked = file.parameters()
    named = tuple(
        use.model_copy(update={"id": sample.body.dataset, "source_unit": None})
        for use, sample in zip(asked.datasets, samples, strict=True)
    )
    parameters = asked.model_copy(update={"datasets": named})
    uses = tuple(
        DatasetUse(
            dataset=sample.statement, source_unit=sample.unit,
            columns=tuple(dict.fromkeys(parameters.columns_of(place))),
        )
        for place, sample in enumerate(samples)
    )  # fmt: skip
    body = Job(
        title=file.job.title, kind=file.job.kind, purpose=file.job.purpose,
        source_units=tuple(sample.unit for sample in samples), developer=digest_of("developer"),
        buyer=digest_of("buyer"), buyer_key=OneTimeKey.generate().public.hex(), datasets=uses,
        code=sha256_hex(code) if code else "", parameters=parameters.to_json(),
        minimum_participants=parameters.terms.minimum_participants, release_quorum=parameters.terms.release_quorum,
        evidence_kind=parameters.terms.evidence_kind, expires=0, blind=_blind(file, parameters, code),
        sums=sum_terms(parameters),
    )  # fmt: skip
    return body, parameters


def _blind(file: JobFile, parameters: Parameters, code: bytes) -> BlindCode | None:
    """What the job would say of blind code. Nothing is sealed here; reviewers would see the same words."""
    if file.code is None or not file.code.blind:
        return None
    salt = bytes(SALT_BYTES)
    return declared(parameters, code, salt, len(code), host_can_read=file.code.host_can_read)


def _dataset(sample: Sample) -> DatasetRecord:
    return DatasetRecord(
        statement=sample.statement, source_unit=sample.unit, state="sealed", issued=0, body=sample.body
    )
