"""The buyer: open what every source unit approved, check it is what they reviewed, keep the proof."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from trustspace.client.acting import SEALING
from trustspace.client.home import PartyHome
from trustspace.client.notices import require_not_revoked
from trustspace.crypto.canonical import verify_commitment
from trustspace.crypto.padding import unpad
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import Share, combine, decode_share
from trustspace.domain.binding import artifact_context, handover_binding
from trustspace.domain.bodies import Artifact, Receipt, UnitShares
from trustspace.domain.certificate import Certificate, ReleasedArtifact, build, verify
from trustspace.domain.records import DecisionRecord, JobRecord, OutputRecord
from trustspace.domain.trust import TrustFile
from trustspace.errors import (
    InvalidTransition,
    NotFound,
    PermissionDenied,
    Unavailable,
    VerificationFailed,
)
from trustspace.ledger.checkpoint import open_checkpoint
from trustspace.storage.files import write_atomic
from trustspace.transport.session import Dossier

_SALT_BYTES = 32


@dataclass(frozen=True)
class Delivered:
    """A released artifact, opened and checked."""

    name: str
    media_type: str
    salt: bytes
    content: bytes


def fetch(
    home: PartyHome, digest: str, *, wait_for_witnesses_seconds: float = 60.0
) -> tuple[list[Delivered], Certificate]:
    """Open a release, give a receipt, and make the certificate.

    Raises:
        InvalidTransition: it is not released, or was revoked; there is nothing this buyer could open.
        VerificationFailed: a share, a commitment or a statement does not hold.

    """
    dossier = home.session.job(digest)
    job = dossier.job(digest)
    if job.state != "released":
        require_not_revoked(home, digest)
        raise InvalidTransition(
            "The job's output is not released.", fix="Wait for every source unit's approval."
        )
    output = dossier.view.get(OutputRecord, job.output)
    assert output is not None
    try:
        delivered = [_open(home, dossier, output, _named(output, n)) for n in job.released]
        if not job.receipt:
            names = tuple(d.name for d in delivered)
            home.submit(Receipt(job=digest, release=job.release, artifacts=names), "act")
            dossier = home.session.job(digest)
    except (InvalidTransition, PermissionDenied):
        # Revoked while it was being opened: what was opened is dropped here, and handed to nobody.
        if not job.receipt:
            require_not_revoked(home, digest)
        raise
    certificate = _certificate(home, dossier, job, delivered, wait_for_witnesses_seconds)
    verify(certificate, home.trust())
    return delivered, certificate


def _named(output: OutputRecord, name: str) -> Artifact:
    return next(a for a in output.body.artifacts if a.name == name)


def _open(home: PartyHome, dossier: Dossier, output: OutputRecord, artifact: Artifact) -> Delivered:
    shares = [decode_share(_unit_share(home, dossier, output, artifact, unit)) for unit in artifact.units]
    key = combine(shares, artifact.unit_threshold)
    sealed = home.session.link.fetch(artifact.blob, artifact.sealed_bytes)
    context = artifact_context(output.body.job, output.body.run, artifact.name)
    content = unpad(open_bytes(key, context, sealed))
    salt, data = content[:_SALT_BYTES], content[_SALT_BYTES:]
    verify_commitment(artifact.commitment, data, salt)
    return Delivered(artifact.name, artifact.media_type, salt, data)


def _unit_share(
    home: PartyHome, dossier: Dossier, output: OutputRecord, artifact: Artifact, unit: UnitShares
) -> bytes:
    commitments = {(s.reviewer, s.index): s.commitment for s in unit.shares}
    opened: list[Share] = []
    for digest in output.decisions.values():
        decision = dossier.view.get(DecisionRecord, digest)
        if decision is None or decision.source_unit != unit.source_unit:
            continue
        for share in decision.body.shares:
            if share.artifact == artifact.name and len(opened) < unit.threshold:
                info = handover_binding(
                    output=output.statement, artifact=artifact.name, reviewer=decision.reviewer,
                    buyer_key=decision.body.buyer_key,
                )  # fmt: skip
                package = home.keys.open(
                    _receiving_key(home, decision.body.buyer_key), bytes.fromhex(share.sealed), info
                )
                salt, value = package[:_SALT_BYTES], package[_SALT_BYTES:]
                verify_commitment(commitments[(decision.reviewer, share.index)], value, salt)
                opened.append(decode_share(value))
    if len(opened) < unit.threshold:
        raise VerificationFailed("A source unit's approval hands on too few shares.")
    return combine(opened, unit.threshold)


def _receiving_key(home: PartyHome, public: str) -> str:
    for name in home.keys.names():
        if not name.startswith(SEALING) and home.keys.public(name).hex() == public:
            return name
    raise NotFound("The release is for a receiving key that is not here.")


def _certificate(
    home: PartyHome, dossier: Dossier, job: JobRecord, delivered: list[Delivered], wait_seconds: float
) -> Certificate:
    """Take the statements' proofs against a checkpoint that enough witnesses have cosigned."""
    trust = home.trust()
    deadline = time.monotonic() + wait_seconds
    while trust.witness_quorum:
        dossier = _cosigned(home, job.statement) or dossier
        if dossier.job(job.statement).receipt and _is_cosigned(dossier, trust):
            break
        if time.monotonic() > deadline:
            raise Unavailable(
                "No checkpoint with the release is cosigned by enough witnesses yet.", fix="Try again later."
            )
        time.sleep(0.2)
    entries = [(entry.envelope, entry.index, entry.inclusion) for entry in dossier.entries]
    opened = [
        ReleasedArtifact(name=d.name, salt=d.salt.hex(), content_bytes=len(d.content)) for d in delivered
    ]
    return build(job.statement, entries, dossier.checkpoint, opened)


def _cosigned(home: PartyHome, job: str) -> Dossier | None:
    """The job as its witnesses have seen it; None while they have not seen all of it."""
    try:
        return home.session.cosigned_job(job)
    except (VerificationFailed, NotFound):
        return None


def _is_cosigned(dossier: Dossier, trust: TrustFile) -> bool:
    try:
        open_checkpoint(dossier.checkpoint, trust.space.ledger_key, trust.witnesses, trust.witness_quorum)
    except VerificationFailed:
        return False
    return True


def save(home: PartyHome, delivered: list[Delivered], certificate: Certificate, into: Path) -> list[Path]:
    """Write what was delivered and its certificate; names come from the job and are plain."""
    into.mkdir(parents=True, exist_ok=True)
    written = []
    for item in delivered:
        write_atomic(into / item.name, item.content, 0o600)
        written.append(into / item.name)
    write_atomic(into / "certificate.json", certificate.to_bytes(), 0o644)
    write_atomic(into / "trust.json", home.trust().model_dump_json(indent=2).encode(), 0o644)
    return [*written, into / "certificate.json", into / "trust.json"]
