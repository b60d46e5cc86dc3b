"""Cheats on what was said and stored: a byte changed, a ledger rewritten, a certificate for something else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from trustspace.client import releases, review
from trustspace.client.audit import Witness
from trustspace.crypto.canonical import sha256_hex
from trustspace.demo.attempts import Cheat
from trustspace.demo.cast import Play
from trustspace.demo.powers import altered, clone
from trustspace.demo.thieves import artifact_of, output_of
from trustspace.domain import certificate as certificates
from trustspace.domain.statements import parse
from trustspace.errors import LogCorrupted, VerificationFailed
from trustspace.jobs.sections import MODEL_ARTIFACT


@contextmanager
def _one_bit_changed(path: Path) -> Iterator[None]:
    kept = path.read_bytes()
    middle = len(kept) // 2
    path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(kept)


def byte_changed(play: Play) -> Cheat:
    """The operator changes one bit of a stored ciphertext."""
    cheat, operator = Cheat("byte-changed-in-output"), play.operator
    output = output_of(play)
    model = artifact_of(output)
    with _one_bit_changed(operator.blob(model.blob)):
        cheat.attack("byte.buyer", lambda: releases.fetch(play.buyer, play.job), VerificationFailed)
        # A link that hands out what lies on the disk without looking: the seal itself must notice.
        unchecked = clone(play.buyer, play.root / "buyer-unchecked", operator.fork())
        cheat.attack("byte.seal", lambda: releases.fetch(unchecked, play.job), VerificationFailed)
    for hospital in play.hospitals:
        home, reviewer = hospital.home, hospital.reviewer
        evidence = next(e for e in output.body.evidence if e.source_unit == home.fingerprint)
        looking = partial(review.open_case, home, play.job, reviewer)
        with _one_bit_changed(operator.blob(evidence.blob)):
            cheat.attack("byte.reviewer", looking, VerificationFailed, reviewer=reviewer)
        cheat.control("byte.reviewer-control", looking, reviewer=reviewer)
    cheat.control("byte.control", lambda: releases.fetch(play.buyer, play.job))
    return cheat


def ledger_rewritten(play: Play) -> Cheat:
    """The operator shows a ledger in which an early statement is another, with its own valid signature under it."""
    cheat, operator = Cheat("ledger-rewritten"), play.operator
    early = next(s for s in operator.statements() if s.type == "dataset")
    index = next(e.position for e in operator.space.store.find([early.digest]))
    leaf = bytes.fromhex(sha256_hex(altered(early, version=2)))
    lying = operator.fork(rewritten={index: leaf})
    witness = Witness(clone(play.auditor, play.root / "auditor-lied-to", lying))
    cheat.attack("rewritten.witness", witness.cosign_newest, LogCorrupted)
    buyer = clone(play.buyer, play.root / "buyer-rewritten", lying)
    cheat.attack("rewritten.client", buyer.session.sync, LogCorrupted)
    honest = clone(play.buyer, play.root / "buyer-not-rewritten", operator.fork())
    cheat.control("rewritten.control", honest.session.sync)
    return cheat


def false_certificate(play: Play) -> Cheat:
    """The buyer shows the certificate for another model, or with another story in it; no server is needed to see it."""
    cheat, trust = Cheat("certificate-for-another-model"), play.buyer.trust()
    certificate = certificates.load((play.delivery / "certificate.json").read_bytes())
    verified = certificates.verify(certificate, trust)
    model = (play.delivery / MODEL_ARTIFACT).read_bytes()
    other = model[:-1] + bytes([model[-1] ^ 1])
    cheat.attack(
        "certificate.other-model",
        lambda: certificates.verify_content(certificate, verified, MODEL_ARTIFACT, other), VerificationFailed,
    )  # fmt: skip
    statements = [parse(base64.b64decode(proven.envelope)) for proven in certificate.statements]
    position = next(i for i, statement in enumerate(statements) if statement.digest == play.job)
    changed = base64.b64encode(altered(statements[position], purpose="")).decode()
    proven = certificate.statements[position].model_copy(update={"envelope": changed})
    rewritten = certificate.model_copy(
        update={
            "statements": (
                *certificate.statements[:position],
                proven,
                *certificate.statements[position + 1 :],
            )
        }
    )
    cheat.attack("certificate.other-story", lambda: certificates.verify(rewritten, trust), VerificationFailed)
    cheat.control(
        "certificate.control",
        lambda: certificates.verify_content(certificate, verified, MODEL_ARTIFACT, model),
    )
    return cheat
