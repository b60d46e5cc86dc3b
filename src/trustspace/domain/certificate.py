"""A certificate: offline proof that a release went the way it had to.

One JSON file with the statements of a job, each with its inclusion in one checkpoint, and that checkpoint with
its witnesses' cosignatures. Whoever holds a trust file verifies it without any server: signatures against
pinned roots, inclusion against the pinned ledger, and the whole story by replaying it under the same rules
that the space applies.

The buyer's receipt is part of it: no receipt stands after a revocation, so a buyer who had fetched what opens an
output, and whose output was then revoked, gets no certificate that holds. What is revoked after the receipt stays a
certificate's blind spot, unless the file was made anew since.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from trustspace.crypto.canonical import verify_commitment
from trustspace.domain.bodies import Count, Digest, Hex, Identifier
from trustspace.domain.records import DecisionRecord, GrantRecord, JobRecord, OfferRecord, OutputRecord
from trustspace.domain.replay import MemoryView, replay, replayed_job
from trustspace.domain.statements import Statement, parse, read
from trustspace.domain.trust import TrustFile
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger.checkpoint import open_checkpoint
from trustspace.ledger.merkle import leaf_hash, verify_inclusion

MAX_BYTES = 32 << 20
Text = Annotated[str, Field(max_length=2 << 20)]


class ProvenStatement(BaseModel):
    """A statement's exact bytes (base64), its index in the ledger, and its inclusion proof (hex)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    envelope: Text
    index: Count
    inclusion: Annotated[tuple[Hex, ...], Field(max_length=64)]


class ReleasedArtifact(BaseModel):
    """What opens an artifact's commitment: with it anybody can check a file against the output."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: Identifier
    salt: Digest
    content_bytes: Count


class Certificate(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal["trustspace-certificate-v1"] = "trustspace-certificate-v1"
    job: Digest
    checkpoint: Text
    statements: Annotated[tuple[ProvenStatement, ...], Field(min_length=1, max_length=4096)]
    artifacts: tuple[ReleasedArtifact, ...] = ()

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=1).encode()


@dataclass(frozen=True)
class Verified:
    """What a certificate proves, once it is verified."""

    job: JobRecord
    view: MemoryView
    artifacts: tuple[str, ...]
    sandbox_tier: str
    evidence_kind: str
    ledger_size: int
    source_units: tuple[str, ...]
    reviewers: tuple[str, ...]


def build(
    job: str,
    entries: Iterable[tuple[bytes, int, tuple[bytes, ...]]],
    checkpoint: str,
    artifacts: Iterable[ReleasedArtifact],
) -> Certificate:
    """Put a certificate together from (envelope, index, inclusion proof) entries, oldest first."""
    statements = tuple(
        ProvenStatement(
            envelope=base64.b64encode(envelope).decode(),
            index=index,
            inclusion=tuple(h.hex() for h in inclusion),
        )
        for envelope, index, inclusion in entries
    )
    return Certificate(job=job, checkpoint=checkpoint, statements=statements, artifacts=tuple(artifacts))


def load(data: bytes) -> Certificate:
    """Parse a certificate file.

    Raises:
        InvalidInput: it is none.

    """
    if len(data) > MAX_BYTES:
        raise InvalidInput("The certificate is larger than {limit} bytes.", limit=MAX_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput("The file is not a certificate.") from None
    return read(Certificate, value, "certificate")


def verify(certificate: Certificate, trust: TrustFile) -> Verified:
    """Verify a certificate offline.

    Raises:
        VerificationFailed: any signature, proof, pinned party or rule does not hold.

    """
    checkpoint = open_checkpoint(
        certificate.checkpoint, trust.space.ledger_key, trust.witnesses, trust.witness_quorum
    )
    statements = []
    for proven in certificate.statements:
        statement = _statement(proven)
        leaf = leaf_hash(bytes.fromhex(statement.digest))
        proof = tuple(bytes.fromhex(h) for h in proven.inclusion)
        verify_inclusion(leaf, proven.index, checkpoint.size, proof, checkpoint.root)
        statements.append(statement)
    if [p.index for p in certificate.statements] != sorted({p.index for p in certificate.statements}):
        raise VerificationFailed("The certificate's statements are not in the ledger's order.")
    view = replay(statements, trust)
    job = replayed_job(view, certificate.job)
    if job.state != "released":
        raise VerificationFailed("The certificate's job is {state}, not released.", state=job.state)
    if not job.receipt:
        raise VerificationFailed(
            "The certificate holds no receipt: the release may have been revoked before."
        )
    return _summary(certificate, view, job, checkpoint.size)


def _statement(proven: ProvenStatement) -> Statement:
    try:
        return parse(base64.b64decode(proven.envelope, validate=True))
    except ValueError:  # binascii.Error, and what it says of letters that are no ASCII
        raise VerificationFailed("A statement in the certificate is not base64.") from None


def _summary(certificate: Certificate, view: MemoryView, job: JobRecord, size: int) -> Verified:
    output = view.get(OutputRecord, job.output)
    if output is None:
        raise VerificationFailed("The certificate lacks the output.")
    released = job.released
    if not {a.name for a in certificate.artifacts} <= set(released):
        raise VerificationFailed("The certificate names an artifact that was not released.")
    offers = [view.get(OfferRecord, digest) for digest in job.offers.values()]
    kinds = sorted({offer.body.evidence.kind for offer in offers if offer})
    decisions = [view.get(DecisionRecord, digest) for digest in output.decisions.values()]
    names = {
        reviewer.review: reviewer.holder
        for grant in (view.get(GrantRecord, digest) for digest in job.grants.values())
        if grant
        for reviewer in grant.body.reviewers
    }
    return Verified(
        job=job, view=view, artifacts=released, sandbox_tier=output.body.sandbox_tier,
        evidence_kind=", ".join(kinds), ledger_size=size, source_units=tuple(job.body.source_units),
        reviewers=tuple(names[d.reviewer] for d in decisions if d),
    )  # fmt: skip


def verify_content(certificate: Certificate, verified: Verified, name: str, content: bytes) -> None:
    """Check that a file is the artifact that was reviewed and released.

    Raises:
        VerificationFailed: it is not, or the certificate does not open that artifact's commitment.

    """
    opening = next((a for a in certificate.artifacts if a.name == name), None)
    output = verified.view.get(OutputRecord, verified.job.output)
    if opening is None or output is None:
        raise VerificationFailed("The certificate has no artifact {name}.", name=name[:64])
    commitment = next(a.commitment for a in output.body.artifacts if a.name == name)
    verify_commitment(commitment, content, bytes.fromhex(opening.salt))
