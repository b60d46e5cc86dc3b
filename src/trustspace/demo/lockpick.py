"""Trying keys on locks: every key somebody has, on every sealed key that lies on the operator's disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.seal import Opener, read_header
from trustspace.crypto.wrap import open_sealed
from trustspace.data.parquet import read_parquet
from trustspace.domain.binding import EVIDENCE, handover_binding, run_binding, share_binding
from trustspace.domain.bodies import Decision, KeyRelease, Output
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, OfferRecord
from trustspace.domain.replay import MemoryView
from trustspace.domain.statements import Statement, dump
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed
from trustspace.jobs.tensors import read_tensors

Key = Callable[[bytes, bytes], bytes]
"""Opens (sealed, info), or raises."""


@dataclass(frozen=True)
class Lock:
    """A key sealed to somebody, and what it is bound to, which is no secret."""

    name: str
    sealed: bytes
    info: bytes


def locks(view: MemoryView, statements: Iterable[Statement], job: str) -> list[Lock]:
    """Every sealed key in a job's statements."""
    found: list[Lock] = []
    for statement in statements:
        body = statement.body
        if isinstance(body, Output) and body.job == job:
            found += _of_output(body)
        elif isinstance(body, KeyRelease) and body.job == job:
            found.append(Lock("data key", bytes.fromhex(body.sealed_key), binding_of(view, body)))
        elif isinstance(body, Decision) and body.job == job:
            found += _of_decision(view, body, statement)
    return found


def _of_output(body: Output) -> list[Lock]:
    found = []
    for artifact in body.artifacts:
        for unit in artifact.units:
            for share in unit.shares:
                info = share_binding(
                    job=body.job, run=body.run, artifact=artifact.name, source_unit=unit.source_unit,
                    reviewer=share.reviewer,
                )  # fmt: skip
                found.append(Lock(artifact.name, bytes.fromhex(share.sealed), info))
    for evidence in body.evidence:
        for key in evidence.keys:
            info = share_binding(
                job=body.job, run=body.run, artifact=EVIDENCE, source_unit=evidence.source_unit,
                reviewer=key.reviewer,
            )  # fmt: skip
            found.append(Lock(EVIDENCE, bytes.fromhex(key.sealed), info))
    return found


def _of_decision(view: MemoryView, body: Decision, statement: Statement) -> list[Lock]:
    from trustspace.crypto.statement import key_id

    keys = [r.review for g in view.all(GrantRecord) for r in g.body.reviewers]
    reviewer = next(key for key in keys if key_id(bytes.fromhex(key)) == statement.signer)
    found = []
    for share in body.shares:
        info = handover_binding(
            output=body.output, artifact=share.artifact, reviewer=reviewer, buyer_key=body.buyer_key
        )
        found.append(Lock(share.artifact, bytes.fromhex(share.sealed), info))
    return found


def binding_of(view: MemoryView, release: KeyRelease, **changed: str) -> bytes:
    """What a released data key is bound to; ``changed`` puts other values in, as a changed job would."""
    job, offer = view.get(JobRecord, release.job), view.get(OfferRecord, release.offer)
    dataset = view.get(DatasetRecord, release.dataset)
    assert job is not None
    assert offer is not None
    assert dataset is not None
    values = {
        "job": release.job, "grant": release.grant, "offer": release.offer, "dataset": release.dataset,
        "manifest": dataset.body.manifest, "code": job.body.code,
        "parameters": sha256_hex(canonical_json(job.body.parameters)),
        "evidence": sha256_hex(canonical_json(dump(offer.body.evidence))), "buyer_key": job.body.buyer_key,
    }  # fmt: skip
    challenges = tuple(c.challenge for c in offer.body.challenges)
    return run_binding(**{**values, **changed}, challenges=challenges)


def keys_of(home: PartyHome) -> list[Key]:
    """All that a party's key store can open with."""

    def key(name: str) -> Key:
        return lambda sealed, info: home.keys.open(name, sealed, info)

    return [key(name) for name in home.keys.names()]


def raw_keys(secrets: Iterable[bytes]) -> list[Key]:
    """Any 32 bytes, taken for a private key."""

    def key(private: X25519PrivateKey) -> Key:
        return lambda sealed, info: open_sealed(private, sealed, info)

    return [key(X25519PrivateKey.from_private_bytes(secret)) for secret in secrets]


def pick(found: list[Lock], keys: list[Key]) -> bytes:
    """Try every key on every lock; returns what the first that fits opens.

    Raises:
        VerificationFailed: none fits.

    """
    for lock in found:
        for key in keys:
            try:
                return key(lock.sealed, lock.info)
            except (VerificationFailed, InvalidInput):
                continue
    raise VerificationFailed(
        "None of {keys} keys opens any of {locks} sealed keys.", keys=len(keys), locks=len(found)
    )


def open_with_any(ciphertexts: list[bytes], secrets: list[bytes]) -> None:
    """Try every 32 bytes as the very key of every ciphertext.

    Raises:
        VerificationFailed: none fits.

    """
    for sealed in ciphertexts:
        header, size = read_header(sealed)
        for secret in secrets:
            try:
                Opener(secret, sealed[:size], dict(header.context))
                return
            except VerificationFailed:
                continue
    raise VerificationFailed(
        "None of {keys} keys opens any of {files} ciphertexts.", keys=len(secrets), files=len(ciphertexts)
    )


def understood(content: bytes) -> str:
    """What a file turns out to be when somebody tries to read it, or ""."""
    readers: dict[str, Callable[[bytes], object]] = {
        "parquet": lambda data: read_parquet(data, None),
        "safetensors": read_tensors,
        "text": lambda data: data.decode("utf-8"),
    }
    for kind, read in readers.items():
        try:
            read(content)
        except (TrustspaceError, ValueError):
            continue
        return kind
    return ""


def search(places: dict[str, bytes], needles: Iterable[bytes]) -> int:
    """How many of the values stand anywhere in these bytes."""
    return sum(any(needle in content for content in places.values()) for needle in needles)
