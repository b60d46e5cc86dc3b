"""Packing an output: each artifact under its own key, padded, its key shared among those who will decide.

A function of its arguments and one 32-byte secret: artifact keys, salts and seal randomness are derived
from it, so that the enclaves of a joint run, which agree on the secret, pack the same ciphertexts. (The
HPKE seals of the shares are randomised; their commitments are not.)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustspace.crypto.canonical import commit, sha256_hex
from trustspace.crypto.padding import pad
from trustspace.crypto.seal import seal_bytes_from
from trustspace.crypto.shares import encode_share, split_from
from trustspace.crypto.wrap import seal_to
from trustspace.domain.binding import EVIDENCE, artifact_context, share_binding
from trustspace.domain.bodies import Artifact, EvidenceKey, Grant, SealedEvidence, SealedShare, UnitShares


@dataclass(frozen=True)
class Content:
    """What is to be packed: ``units`` are the source units whose consent opens it."""

    name: str
    media_type: str
    role: Literal["model", "metrics", "result", "log", "own"]
    data: bytes
    units: tuple[str, ...]


@dataclass(frozen=True)
class Blob:
    """Ciphertext to upload, under its SHA-256."""

    digest: str
    data: bytes


@dataclass(frozen=True)
class Run:
    """Which run the output is of: the job's digest, the run's name, and each source unit's grant."""

    job: str
    run: str
    grants: dict[str, Grant]


def pack_artifact(
    secret: bytes, run: Run, content: Content, *, seal_for: Collection[str] | None = None
) -> tuple[Artifact, Blob]:
    """Seal one artifact and share its key.

    ``seal_for`` are the source units whose reviewers' shares are sealed here (None: all); those of the others
    are left empty, for their own enclaves to give. Everything else is the same whoever packs.
    """
    derive = _Derivation(secret, f"{run.job}/{run.run}/{content.name}")
    key, salt = derive(b"key", 32), derive(b"salt", 32)
    blob = _seal(derive, key, run, content.name, salt, content.data)
    units = []
    shares = split_from(
        key, len(content.units), len(content.units), derive(b"units", 32 * (len(content.units) - 1))
    )
    for unit, share in zip(content.units, shares, strict=True):
        sealing = seal_for is None or unit in seal_for
        units.append(_share_unit(derive, run, content.name, unit, share.index, encode_share(share), sealing))
    artifact = Artifact(
        name=content.name, media_type=content.media_type, role=content.role, blob=blob.digest,
        sealed_bytes=len(blob.data), commitment=commit(content.data, salt), units=tuple(units),
        unit_threshold=len(content.units),
    )  # fmt: skip
    return artifact, blob


def _share_unit(
    derive: _Derivation, run: Run, artifact: str, unit: str, index: int, unit_share: bytes, sealing: bool
) -> UnitShares:
    grant = run.grants[unit]
    count = len(grant.reviewers)
    randomness = derive(b"reviewers" + unit.encode(), len(unit_share) * (grant.reviewer_threshold - 1))
    sealed = []
    for reviewer, share in zip(
        grant.reviewers, split_from(unit_share, grant.reviewer_threshold, count, randomness), strict=True
    ):
        salt = derive(b"share" + unit.encode() + bytes([share.index]), 32)
        encoded = encode_share(share)
        info = share_binding(
            job=run.job, run=run.run, artifact=artifact, source_unit=unit, reviewer=reviewer.review
        )
        package = seal_to(bytes.fromhex(reviewer.review_open), salt + encoded, info).hex() if sealing else ""
        sealed.append(
            SealedShare(
                reviewer=reviewer.review,
                index=share.index,
                commitment=commit(encoded, salt),
                sealed=package,
            )
        )
    return UnitShares(source_unit=unit, index=index, threshold=grant.reviewer_threshold, shares=tuple(sealed))


def pack_evidence(secret: bytes, run: Run, unit: str, report: bytes) -> tuple[SealedEvidence, Blob]:
    """Seal a source unit's evidence report for its own reviewers; each of them can open it alone."""
    derive = _Derivation(secret, f"{run.job}/{run.run}/{EVIDENCE}/{unit}")
    key, salt = derive(b"key", 32), derive(b"salt", 32)
    blob = _seal(derive, key, run, EVIDENCE, salt, report)
    keys = []
    for reviewer in run.grants[unit].reviewers:
        info = share_binding(
            job=run.job, run=run.run, artifact=EVIDENCE, source_unit=unit, reviewer=reviewer.review
        )
        sealed = seal_to(bytes.fromhex(reviewer.review_open), key, info)
        keys.append(EvidenceKey(reviewer=reviewer.review, sealed=sealed.hex()))
    evidence = SealedEvidence(
        source_unit=unit, blob=blob.digest, sealed_bytes=len(blob.data), commitment=commit(report, salt),
        keys=tuple(keys),
    )  # fmt: skip
    return evidence, blob


def _seal(derive: _Derivation, key: bytes, run: Run, name: str, salt: bytes, content: bytes) -> Blob:
    context = artifact_context(run.job, run.run, name)
    data = seal_bytes_from(
        key, context, pad(salt, content), salt=derive(b"seal", 32), prefix=derive(b"prefix", 7)
    )
    return Blob(sha256_hex(data), data)


class _Derivation:
    """Named pseudo-random bytes from the secret (HKDF-Expand, RFC 5869; longer ones by SHAKE-256)."""

    def __init__(self, secret: bytes, context: str) -> None:
        self._key = hmac.digest(secret, b"trustspace output v1/" + context.encode(), "sha256")

    def __call__(self, label: bytes, length: int) -> bytes:
        if 0 < length <= 255 * 32:
            return HKDF(SHA256(), length, None, label).derive(self._key)
        return hashlib.shake_256(self._key + label).digest(length)
