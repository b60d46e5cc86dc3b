"""A reviewer's work: see the evidence on exact bytes, decide, and by approving hand on the shares of a key.

What binds at once binds in this home, logged or not: a rejection, a demand for changes and a revocation are written
down before they are sent anywhere, and nobody approves here after them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from trustspace.client import standing
from trustspace.client.acting import Acting
from trustspace.client.notices import sealed_note
from trustspace.crypto.canonical import canonical_json, commit, sha256_hex, verify_commitment
from trustspace.crypto.padding import unpad
from trustspace.crypto.seal import open_bytes
from trustspace.crypto.shares import combine, decode_share
from trustspace.crypto.wrap import seal_to
from trustspace.domain import states
from trustspace.domain.binding import (
    EVIDENCE,
    artifact_context,
    handover_binding,
    share_binding,
)
from trustspace.domain.bodies import (
    Artifact,
    BuyerShare,
    Decision,
    Policy,
    Reason,
    Revocation,
    SealedEvidence,
    SealedShare,
)
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord, OutputRecord
from trustspace.domain.statements import dump
from trustspace.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    PolicyRefused,
    VerificationFailed,
)
from trustspace.evidence.checks import CHECKS
from trustspace.evidence.report import Report
from trustspace.transport.session import Dossier

DECISION_DAYS = 30
LONGEST_DECISION_DAYS = 366
REASONS: tuple[Reason, ...] = get_args(Reason)
_SALT_BYTES = 32
standing_for = standing.standing_for


@dataclass(frozen=True)
class SealedCase:
    """One output before one reviewer: the proven job and output; the evidence is still sealed.

    ``opened`` is when, and ``comments`` are the comments of this home's people then, by their commitments.
    """

    dossier: Dossier
    job: JobRecord
    output: OutputRecord
    grant: GrantRecord
    reviewer: str
    evidence: SealedEvidence
    opened: int
    comments: Mapping[str, Mapping[str, str]]

    @property
    def state(self) -> str:
        """The job's state when the case was opened."""
        return states.at(self.job.state, self.job.body.expires, self.opened)

    @property
    def own_files(self) -> tuple[Artifact, ...]:
        """The artifacts that this source unit holds a share of."""
        unit = self.evidence.source_unit
        return tuple(a for a in self.output.body.artifacts if any(u.source_unit == unit for u in a.units))

    @property
    def is_from_own_enclave(self) -> bool:
        """Whether this source unit's own enclave made the evidence: of one that dropped out another member's did."""
        members = self.output.body.members
        return not members or self.evidence.source_unit in members


@dataclass(frozen=True)
class Case(SealedCase):
    """The same with the evidence, opened and checked."""

    report: Report


def queue(home: Acting, reviewer: str | None = None) -> list[dict[str, Any]]:
    """Outputs that wait for this source unit, as the space lists them, but for which colleagues have decided."""
    waiting: list[dict[str, Any]] = [
        job
        for job in home.session.link.view("jobs")
        if home.fingerprint in job["source_units"] and job["state"] == "in-review"
    ]
    if reviewer is not None:
        key = home.keys.public(home.key_name("review", reviewer)).hex()
        waiting = [job for job in waiting if key not in job["decided_by"]]
    return [{name: value for name, value in job.items() if name != "decided_by"} for job in waiting]


def open_case(home: Acting, digest: str, reviewer: str) -> Case:
    """Fetch, prove, open and check everything that a decision rests on.

    Raises:
        PermissionDenied: the grant does not name this reviewer.
        VerificationFailed: the evidence is not what the output committed to, or names other artifacts.

    """
    case = sealed_case(home, digest, reviewer)
    key = home.keys.public(home.key_name("review", reviewer)).hex()
    report = Report.from_bytes(_open_evidence(home, case.output, case.evidence, key, reviewer))
    _check_report(report, case.job, _concerning(case), policy_of(home, case.dossier, case.job))
    return Case(**vars(case), report=report)


def sealed_case(home: Acting, digest: str, reviewer: str) -> SealedCase:
    """What it takes to reject an output, also where its evidence does not open: that is reason enough.

    Raises:
        PermissionDenied: the grant does not name this reviewer.

    """
    dossier = home.session.job(digest)
    job = dossier.job(digest)
    output = dossier.view.get(OutputRecord, job.output) if job.output else None
    grant = dossier.view.get(GrantRecord, job.grants.get(home.fingerprint, ""))
    # While it runs, some enclaves have handed in and others have not: nothing is decided on a part.
    if output is None or grant is None or job.state == "running":
        raise NotFound("The job has no output to review yet.")
    key = home.keys.public(home.key_name("review", reviewer)).hex()
    if key not in {r.review for r in grant.body.reviewers}:
        raise PermissionDenied("The grant does not name {reviewer} as a reviewer.", reviewer=reviewer)
    evidence = next(e for e in output.body.evidence if e.source_unit == home.fingerprint)
    comments = home.state().get("comments", {})
    return SealedCase(dossier, job, output, grant, reviewer, evidence, home.session.now(), comments)


def _open_evidence(
    home: Acting, output: OutputRecord, evidence: SealedEvidence, key: str, reviewer: str
) -> bytes:
    sealed = next((k.sealed for k in evidence.keys if k.reviewer == key), None)
    if sealed is None:
        raise PermissionDenied("The evidence is not sealed to {reviewer}.", reviewer=reviewer)
    info = _share_info(output, EVIDENCE, home.fingerprint, key)
    opened = home.keys.open(home.key_name("review-open", reviewer), bytes.fromhex(sealed), info)
    return _open_content(
        home, output, EVIDENCE, opened, evidence.blob, evidence.sealed_bytes, evidence.commitment
    )[1]


def _open_content(
    home: Acting, output: OutputRecord, name: str, key: bytes, blob: str, size: int, commitment: str
) -> tuple[bytes, bytes]:
    sealed = home.session.link.fetch(blob, size)
    context = artifact_context(output.body.job, output.body.run, name)
    content = unpad(open_bytes(key, context, sealed))
    salt, data = content[:_SALT_BYTES], content[_SALT_BYTES:]
    verify_commitment(commitment, data, salt)
    return salt, data


def _concerning(case: SealedCase) -> tuple[Artifact, ...]:
    """The artifacts that a source unit may release; logs, and what is its own alone, are not among them."""
    return tuple(artifact for artifact in case.own_files if artifact.role not in ("log", "own"))


def _check_report(report: Report, job: JobRecord, artifacts: tuple[Artifact, ...], policy: Policy) -> None:
    """The report must hold every check, excuse only what the policy excuses, and speak of these very artifacts."""
    if [check.name for check in report.checks] != list(CHECKS):
        raise VerificationFailed("The evidence leaves out checks, or holds others than it must.")
    for check in report.checks:
        excused = {check.name, f"{check.name}:{job.body.kind}"} & set(policy.not_applicable)
        if check.status == "not_applicable" and not excused:
            raise VerificationFailed("The evidence excuses a check that the policy does not.")
    told = report.check("digests").facts
    commitments = {a.name: a.commitment for a in artifacts}
    if told.get("commitments") != commitments:
        raise VerificationFailed("The evidence judges other bytes than the output holds.")
    digests = told.get("digests")
    pairs = digests.items() if isinstance(digests, dict) else ()
    granted = {name: pair.get("granted") for name, pair in pairs if isinstance(pair, dict)}
    asked = {"parameters": sha256_hex(canonical_json(job.body.parameters))}
    if job.body.code:
        asked["code"] = job.body.code
    if any(granted.get(name) != digest for name, digest in asked.items()):
        raise VerificationFailed("The evidence is of another job than the one that was granted.")


def _share_info(output: OutputRecord, artifact: str, unit: str, reviewer: str) -> bytes:
    return share_binding(
        job=output.body.job, run=output.body.run, artifact=artifact, source_unit=unit, reviewer=reviewer
    )


def open_artifact(home: Acting, case: Case, name: str) -> bytes:
    """An artifact that this reviewer can open alone: the unit's own log, or any where one share is enough.

    Raises:
        PermissionDenied: it takes other reviewers or source units as well.

    """
    artifact = _artifact(case.output, name)
    if artifact.unit_threshold != 1 or any(unit.threshold != 1 for unit in artifact.units):
        raise PermissionDenied(
            "The artifact {name} opens only with other reviewers or source units.", name=name
        )
    unit_share = combine([decode_share(_share(home, case, artifact)[2])], 1)
    key = combine([decode_share(unit_share)], 1)
    return _open_content(
        home, case.output, name, key, artifact.blob, artifact.sealed_bytes, artifact.commitment
    )[1]


def _artifact(output: OutputRecord, name: str) -> Artifact:
    for artifact in output.body.artifacts:
        if artifact.name == name:
            return artifact
    raise InvalidInput(
        "The output has no artifact {name}.", fix="See `trustspace review show`.", name=name[:64]
    )


def _share(home: Acting, case: Case, artifact: Artifact) -> tuple[SealedShare, bytes, bytes]:
    """This reviewer's share of an artifact key, opened: how it was sealed, its salt and its value, checked."""
    key = home.keys.public(home.key_name("review", case.reviewer)).hex()
    for unit in artifact.units:
        for share in unit.shares:
            if unit.source_unit == home.fingerprint and share.reviewer == key:
                info = _share_info(case.output, artifact.name, home.fingerprint, key)
                opened = home.keys.open(
                    home.key_name("review-open", case.reviewer), bytes.fromhex(share.sealed), info
                )
                salt, value = opened[:_SALT_BYTES], opened[_SALT_BYTES:]
                verify_commitment(share.commitment, value, salt)
                return share, salt, value
    raise PermissionDenied("{reviewer} holds no share of {name}.", reviewer=case.reviewer, name=artifact.name)


def approve(
    home: Acting,
    case: Case,
    artifacts: tuple[str, ...] = (),
    *,
    comment: str = "",
    accept_red: bool = False,
    valid_days: int = DECISION_DAYS,
) -> str:
    """Approve artifacts (all but logs, when none are named): re-seal one's shares to the buyer.

    The approval counts for ``valid_days``. What is red needs two people, each with a reason of their own: that two
    must approve is in the shares; that red needs it is this client's rule, for what the evidence says is sealed.

    Raises:
        InvalidInput: the verdict is red and no written reason comes with ``accept_red``.
        PolicyRefused: the verdict is red, and the grant lets one person decide.

    """
    _require_open(home, case)
    if case.report.verdict == "red":
        if case.grant.body.reviewer_threshold < 2:
            raise PolicyRefused(
                "The evidence is red, and the grant lets one person alone decide.",
                fix="Reject it or ask for changes. To let two decide, the job is submitted again and granted with "
                "--threshold 2, or the policy says reviewers = 2.",
            )
        if not (accept_red and comment.strip()):
            raise InvalidInput(
                "The evidence is red.",
                fix="To approve all the same, give --accept-red and a reason with --comment.",
            )
    names = artifacts or tuple(a.name for a in _concerning(case))
    shares = []
    reviewer_key = home.keys.public(home.key_name("review", case.reviewer)).hex()
    for name in names:
        share, salt, value = _share(home, case, _artifact(case.output, name))
        info = handover_binding(
            output=case.output.statement,
            artifact=name,
            reviewer=reviewer_key,
            buyer_key=case.job.body.buyer_key,
        )
        sealed = seal_to(bytes.fromhex(case.job.body.buyer_key), salt + value, info)
        shares.append(BuyerShare(artifact=name, index=share.index, sealed=sealed.hex()))
    body = _decision(home, case, "approve", comment, valid_days).model_copy(
        update={"artifacts": names, "buyer_key": case.job.body.buyer_key, "shares": tuple(shares)}
    )
    return home.submit(body, "review", case.reviewer).digest


def _require_open(home: Acting, case: SealedCase) -> None:
    if home.remembered("rejected", case.output.statement):
        raise InvalidInput("{reviewer} or a colleague has rejected this output.", reviewer=case.reviewer)
    if home.remembered("changes", case.output.statement):
        raise InvalidInput("{reviewer} or a colleague has asked for changes instead.", reviewer=case.reviewer)
    if home.remembered("revoked", case.output.statement):
        raise InvalidInput("{reviewer} or a colleague has revoked this output.", reviewer=case.reviewer)


def reject(home: Acting, case: SealedCase, *, comment: str = "") -> str:
    """Reject an output. It binds this source unit's client at once, logged or not."""
    home.remember("rejected", case.output.statement, case.reviewer)
    return home.submit(_decision(home, case, "reject", comment), "review", case.reviewer).digest


def request_changes(
    home: Acting, case: SealedCase, reasons: tuple[str, ...], note: str = "", comment: str = ""
) -> str:
    """Close an output for good, and tell its developer why, so that it may answer with another job.

    ``reasons`` are some of :data:`REASONS`, read by developer and buyer; ``note`` is sealed to the developer alone, in
    one size whatever it says, and also when it says nothing. Like a rejection it binds this client at once.

    Raises:
        InvalidInput: no reason, an unknown one, or a note that is too long.
        NotFound: there is a note, and the developer has no key yet that it could be sealed to.

    """
    given = tuple(dict.fromkeys(reasons))
    if not given or not set(given) <= set(REASONS):
        raise InvalidInput(
            "Changes are asked for with some of these reasons: {known}.", known=", ".join(REASONS)
        )
    key = home.keys.public(home.key_name("review", case.reviewer)).hex()
    sealed = sealed_note(case.dossier, case.job, key, note)
    body = _decision(home, case, "changes", comment).model_copy(update={"reasons": given, "note": sealed})
    home.remember("changes", case.output.statement, case.reviewer)
    return home.submit(body, "review", case.reviewer).digest


def revoke(home: Acting, digest: str, reviewer: str) -> str:
    """Stop an output that is in review, approved or released; one reviewer whom the grant names is enough.

    Before the buyer's receipt the space stops serving it, and the buyer's client opens it no more; a buyer who has
    fetched approvals and ciphertext by then may have opened it with another one. After it, it is a notice. It binds
    this client at once.

    Raises:
        PermissionDenied: the grant does not name this reviewer.
        InvalidTransition: it was closed before.

    """
    case = sealed_case(home, digest, reviewer)
    home.remember("revoked", case.output.statement, reviewer)
    body = Revocation(job=case.job.statement, output=case.output.statement)
    return home.submit(body, "review", reviewer).digest


def _decision(
    home: Acting, case: SealedCase, verdict: Any, comment: str, valid_days: int = DECISION_DAYS
) -> Decision:
    if not 1 <= valid_days <= LONGEST_DECISION_DAYS:
        raise InvalidInput("An approval counts for 1 to {limit} days.", limit=LONGEST_DECISION_DAYS)
    salt = os.urandom(_SALT_BYTES)
    committed = commit(comment.encode(), salt) if comment else ""
    if comment:
        # The text itself stays with the reviewer, under the commitment in the ledger that it can be checked against.
        home.remember("comments", committed, {"by": case.reviewer, "text": comment, "salt": salt.hex()})
    return Decision(
        job=case.job.statement,
        output=case.output.statement,
        evidence=case.evidence.commitment,
        policy=sha256_hex(canonical_json(dump(policy_of(home, case.dossier, case.job)))),
        verdict=verdict,
        artifacts=(),
        buyer_key="",
        shares=(),
        comment=committed,
        expires=home.session.now() + valid_days * 86400,
    )


def policy_of(home: Acting, dossier: Dossier, job: JobRecord) -> Policy:
    """The policy under which this source unit's dataset was submitted."""
    for use in job.body.datasets:
        record = dossier.view.get(DatasetRecord, use.dataset)
        if use.source_unit == home.fingerprint and record is not None:
            return record.body.policy
    raise NotFound("The job uses no dataset of this source unit.")
