"""What a released key is bound to. Each value is the ``info`` of an HPKE seal: change one, and it does not open.

The sides compute it apart, the sealer from what was signed, the opener from the bytes before it; there is
no comparison to forget, the key either opens or it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.bodies import Job
from trustspace.domain.statements import dump


def run_binding(
    *,
    job: str,
    grant: str,
    offer: str,
    dataset: str,
    manifest: str,
    code: str,
    parameters: str,
    evidence: str,
    buyer_key: str,
    challenges: tuple[str, ...],
) -> bytes:
    """What a data key is released for (trust model, promise 1).

    All values are hex digests: of the job, grant and offer statements, the dataset statement and its
    manifest, the code bundle ("" for none), the canonical parameters and platform evidence; the buyer's
    key and the brokers' challenges as they are.
    """
    return b"trustspace run v1\n" + canonical_json(
        {
            "job": job, "grant": grant, "offer": offer, "dataset": dataset, "manifest": manifest, "code": code,
            "parameters": parameters, "evidence": evidence, "buyer_key": buyer_key, "challenges": list(challenges),
        }
    )  # fmt: skip


def code_binding(
    *,
    job: str,
    offer: str,
    code: str,
    commitment: str,
    parameters: str,
    evidence: str,
    challenges: tuple[str, ...],
    grants: Iterable[str],
    enclave: str,
) -> bytes:
    """What the key of blind code is released for: one run of one job in one enclave, under these grants.

    All values are hex: the job, offer and grant statements' digests, the digest of the code's ciphertext and the
    commitment to what is in it, the digests of parameters and platform evidence as in :func:`run_binding`; the key
    holders' challenges and the enclave's identity key as they are.
    """
    return b"trustspace code v1\n" + canonical_json(
        {
            "job": job, "offer": offer, "code": code, "commitment": commitment, "parameters": parameters,
            "evidence": evidence, "challenges": list(challenges), "grants": sorted(grants), "enclave": enclave,
        }
    )  # fmt: skip


def score_context(job: Job) -> bytes:
    """What the proofs of an encrypted model are bound to: all that its job says but the model's own digest."""
    return sha256(
        b"trustspace score v1\n" + canonical_json(dump(job.model_copy(update={"code": ""})))
    ).digest()


def share_binding(*, job: str, run: str, artifact: str, source_unit: str, reviewer: str) -> bytes:
    """What a reviewer's share of an artifact key (or an evidence key) is sealed for."""
    return b"trustspace share v1\n" + canonical_json(
        {"job": job, "run": run, "artifact": artifact, "source_unit": source_unit, "reviewer": reviewer}
    )


def handover_binding(*, output: str, artifact: str, reviewer: str, buyer_key: str) -> bytes:
    """What a reviewer re-seals a share to the buyer for: this output, this artifact, this buyer's key."""
    return b"trustspace handover v1\n" + canonical_json(
        {"output": output, "artifact": artifact, "reviewer": reviewer, "buyer_key": buyer_key}
    )


def note_binding(*, job: str, output: str, reviewer: str, developer_key: str) -> bytes:
    """What a reviewer's note is sealed to the developer for: this output, by this reviewer."""
    return b"trustspace note v1\n" + canonical_json(
        {"job": job, "output": output, "reviewer": reviewer, "developer_key": developer_key}
    )


def dataset_context(source_unit: str, dataset: str, version: int) -> dict[str, str | int]:
    """What a dataset's ciphertext is bound to: its sealer writes it, its opener expects it."""
    return {"purpose": "dataset", "source_unit": source_unit, "dataset": dataset, "version": version}


def code_context(developer: str, commitment: str) -> dict[str, str | int]:
    """What blind code's ciphertext is bound to: whose it is, and the commitment to what is in it."""
    return {"purpose": "code", "developer": developer, "commitment": commitment}


def run_name(job: str, offers: Iterable[str]) -> str:
    """The name of a run, in hex: the digest of its job and of the offers that began it, in whatever order."""
    return sha256_hex(canonical_json({"job": job, "offers": sorted(offers)}))


def artifact_context(job: str, run: str, name: str) -> dict[str, str | int]:
    """What an artifact's ciphertext is bound to: the run it came from and its name in the output."""
    return {"purpose": "output", "job": job, "run": run, "artifact": name}


# The name under which an evidence report is sealed; no artifact of a job can have it, for want of a suffix.
EVIDENCE = "evidence"
