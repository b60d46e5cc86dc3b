"""Who may: which role and which key signs a statement, and who may read statements and blobs.

*When* something may happen is rules.py's business. Nothing here says whether a thing exists: a caller
who may not see it gets the same refusal either way.
"""

from __future__ import annotations

from trustspace.crypto.statement import key_id
from trustspace.domain.bodies import Job, KeyUse, Party, Role
from trustspace.domain.records import (
    BlobRecord,
    DatasetRecord,
    DecisionRecord,
    GrantRecord,
    JobRecord,
    OutputRecord,
    PartyRecord,
    View,
)
from trustspace.domain.statements import Statement, verify
from trustspace.errors import PermissionDenied, VerificationFailed

# statement type -> (roles of which its author must have one, use of the key that signs it). No role: any party;
# no use: the party's root key.
SIGNS: dict[str, tuple[tuple[Role, ...], KeyUse | None]] = {
    "party": ((), None),
    "dataset": (("source-unit",), "act"),
    "dataset-withdrawn": (("source-unit",), "act"),
    "job": (("developer",), "act"),
    "job-countersignature": (("buyer",), "act"),
    "job-cancellation": (("developer",), "act"),
    "grant": (("source-unit",), "grant"),
    "refusal": (("source-unit",), "grant"),
    "run-nonce": (("source-unit", "developer"), "broker"),
    "run-offer": (("source-unit",), "enclave"),
    "code-release": (("developer",), "broker"),
    "key-release": (("source-unit",), "broker"),
    "run-failed": (("source-unit",), "enclave"),
    "output": (("source-unit",), "enclave"),
    "decision": (("source-unit",), "review"),
    # The people who may approve may stop: theirs is the judgement that was wrong, one of them is enough, and it works
    # from a reviewer's own machine, which holds no other key of the unit. (Its grant key stops a run: "refusal".)
    "revocation": (("source-unit",), "review"),
    "release": (("operator",), "act"),
    "receipt": (("buyer",), "act"),
}

# What a developer may read of its job; the rest would be a finer channel than the coarse states.
_DEVELOPER_READS = frozenset({"job", "job-countersignature", "job-cancellation", "grant", "refusal"})
_BUYER_READS_BEFORE_RELEASE = _DEVELOPER_READS
# To release the key of its blind code it must see the offers: it learns when runs begin, and nothing of their end.
_BLIND_READS = frozenset({"run-nonce", "run-offer", "code-release"})


def signing_key(party: Party, statement: Statement) -> bytes:
    """The public key in ``party``'s description that signed, checked to be one for this kind of act.

    Raises:
        PermissionDenied: the party lacks the role.
        VerificationFailed: no key of the right use, or the signature does not hold.

    """
    roles, use = SIGNS[statement.type]
    if roles and not set(roles) & set(party.roles):
        raise PermissionDenied(
            "Only a party with the role {role} makes a statement of type {type}.",
            role=" / ".join(roles),
            type=statement.type,
        )
    candidates = [party.root] if use is None else [key.public for key in party.keys if key.use == use]
    for public in candidates:
        if key_id(bytes.fromhex(public)) == statement.signer:
            verify(statement, bytes.fromhex(public))
            return bytes.fromhex(public)
    raise VerificationFailed(
        "The {type} statement is not signed by a key that its party's root vouches for in that use.",
        type=statement.type,
    )


def verify_party(statement: Statement) -> Party:
    """Check a party's own description: root key, fingerprint and signature belong together."""
    body = statement.body
    if not isinstance(body, Party):
        raise VerificationFailed("This is not a party's description.")
    if key_id(bytes.fromhex(body.root)) != statement.by:
        raise VerificationFailed("The root key does not match the party's fingerprint.")
    signing_key(body, statement)
    return body


def roles_of(view: View, fingerprint: str) -> frozenset[Role]:
    """The roles of a party that the space knows; none for anybody else."""
    record = view.get(PartyRecord, fingerprint)
    return frozenset(record.body.roles) if record else frozenset()


def may_read_job(view: View, caller: str, job: JobRecord) -> bool:
    """Whether the caller takes part in the job, audits, or runs the space."""
    return caller in job.parties() or bool(roles_of(view, caller) & {"auditor", "operator"})


def may_read_statement(view: View, caller: str, statement_type: str, job: JobRecord | None) -> bool:
    """Whether the caller may see a statement's body; everybody sees its leaf."""
    roles = roles_of(view, caller)
    if not roles:
        return False
    if job is None or roles & {"auditor", "operator"}:
        return True
    if caller in job.body.source_units:
        return True
    return (caller == job.body.buyer and _may_buyer_read(statement_type, job)) or (
        caller == job.body.developer and _may_developer_read(statement_type, job)
    )


def is_kept_blind(view: View, job: JobRecord, unit: str, reviewer: str, decision: DecisionRecord) -> bool:
    """Whether a decision is kept from a colleague's own home (by its review key) until that colleague has decided.

    Only where two or more must approve, only among the reviewers of one source unit, and only while it is in review.
    """
    output = view.get(OutputRecord, job.output)
    grant = view.get(GrantRecord, job.grants.get(unit, ""))
    return (
        job.state == "in-review"
        and output is not None
        and grant is not None
        and grant.body.reviewer_threshold > 1
        and decision.source_unit == unit
        and reviewer not in output.decisions
    )


def _may_buyer_read(statement_type: str, job: JobRecord) -> bool:
    return job.state == "released" or statement_type in _BUYER_READS_BEFORE_RELEASE


def _may_developer_read(statement_type: str, job: JobRecord) -> bool:
    blind = job.body.blind is not None and statement_type in _BLIND_READS
    return blind or statement_type in _DEVELOPER_READS


def may_read_blob(view: View, caller: str, blob: BlobRecord) -> bool:
    """Whether the caller may fetch a stored blob (all but mocks and open code are ciphertext)."""
    return any(_may_read_reference(view, caller, *reference, blob.digest) for reference in blob.references)


def _may_read_reference(view: View, caller: str, purpose: str, statement: str, digest: str) -> bool:
    if purpose == "mock":
        record = view.get(DatasetRecord, statement)
        return record is not None and bool(roles_of(view, caller))
    if purpose == "code":
        job = view.get(JobRecord, statement)
        return job is not None and caller in {*job.body.source_units, job.body.developer}
    output = view.get(OutputRecord, statement)
    job = view.get(JobRecord, output.body.job) if output else None
    if output is None or job is None:
        return False
    if purpose == "evidence":
        return any(e.blob == digest and e.source_unit == caller for e in output.body.evidence)
    artifact = next((a for a in output.body.artifacts if a.blob == digest), None)
    if artifact is None:
        return False
    if any(unit.source_unit == caller for unit in artifact.units):
        return True
    return caller == job.body.buyer and job.state == "released" and artifact.name in job.released


def names_everyone_once(job: Job) -> bool:
    """Whether the job's parties fit together: nobody twice, no source unit judging its own job."""
    units = job.source_units
    return len(set(units)) == len(units) and job.developer not in units
