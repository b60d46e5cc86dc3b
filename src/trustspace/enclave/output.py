"""From what a run produced to what is handed in: artifacts under their own keys, evidence for whoever decides.

The members of a joint run share the secret that what is joint is packed from, so that each packs the same bytes.
What is one domain's own is packed from a secret that it draws itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.domain.bodies import Artifact, SealedEvidence
from trustspace.domain.budget import sums_of
from trustspace.domain.records import DatasetRecord
from trustspace.enclave.opening import Order
from trustspace.enclave.packing import Blob, Content, Run, pack_artifact, pack_evidence
from trustspace.evidence.facts import DigestPair, Judgement, Participation, RunFacts
from trustspace.evidence.report import build_report
from trustspace.jobs.artifacts import parse_json
from trustspace.jobs.claim import PrivateTraining
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.scores import MAX_SCORES_BYTES, SCORES_ARTIFACT
from trustspace.jobs.sections import MODEL_ARTIFACT, STATISTICS_ARTIFACT
from trustspace.jobs.shown import shown_of
from trustspace.jobs.spec import Parameters
from trustspace.jobs.stored import StoredRows
from trustspace.privacy.overlap import MINIMUM_UNITS, Comparison, Trace, compare
from trustspace.privacy.tables import Amounts

LOG_ARTIFACT = "run.log"


@dataclass(frozen=True)
class Found:
    """What one domain knows of its own part: sizes for the evidence, what was measured of a model, the worker's log.

    ``trace``: whose rows it is of, None where nobody keeps that. ``parts``: the largest parts in sums of statistics.
    ``private``: what its own rounds of a joint private training were seen to be.
    """

    rows: int
    patients: int
    withheld_patients: int
    record_bytes: int
    judged: Judgement
    log: bytes
    first_row_ms: int
    trace: Trace | None = None
    parts: tuple[Amounts, ...] | None = None
    stored: StoredRows | None = None
    private: PrivateTraining | None = None


@dataclass(frozen=True)
class Together:
    """What is joint in a joint run: whose updates the result holds, and in how many sums."""

    members: tuple[str, ...]
    sets: tuple[tuple[str, ...], ...]
    minimum: int
    source_units: int
    scheme: str
    opened_by: int
    transcript: str

    def participation(self, unit: str) -> Participation:
        """How a source unit took part."""
        present = sum(unit in members for members in self.sets)
        return Participation(
            rounds=len(self.sets), smallest=min(len(members) for members in self.sets), minimum=self.minimum,
            source_units=self.source_units, scheme=self.scheme, opened_by=self.opened_by,
            own_part="all" if present == len(self.sets) else "some" if present else "none",
        )  # fmt: skip


@dataclass(frozen=True)
class Produced:
    """What a run leaves: parts of the output statement and the ciphertexts behind them.

    Blobs of joint artifacts are the same from every member; ``own_blobs`` are this domain's alone.
    """

    members: tuple[str, ...]
    transcript: str
    artifacts: tuple[Artifact, ...]
    evidence: tuple[SealedEvidence, ...]
    joint_blobs: tuple[Blob, ...]
    own_blobs: tuple[Blob, ...]
    first_row_ms: int


def produce(
    order: Order, parameters: Parameters, artifacts: Sequence[RawArtifact], found: Found, secret: bytes,
    together: Together | None, own: Sequence[RawArtifact] = (),
) -> Produced:  # fmt: skip
    """Pack everything, judge it, and seal the judgement to the reviewers it is for.

    ``own`` is what stays with this source unit: its reviewers alone can open it, and it is never released.
    """
    unit, body = order.source_unit, order.job.body
    alone = together is None and len(body.source_units) > 1
    run = Run(order.job.statement, order.job.run, order.grants())
    units = (unit,) if alone else tuple(body.source_units)
    # A log exists even when nothing was printed: its absence would say something too.
    log = Content(
        own_name(order, LOG_ARTIFACT), "text/plain", "log", found.log or b"(nothing was printed)\n", (unit,)
    )
    contents = [
        Content(own_name(order, a.name) if alone else a.name, a.media_type, _role(a.name, parameters), a.data, units)
        for a in artifacts
    ]  # fmt: skip
    absent = _absent(order, together)
    found = replace(found, trace=_published(found.trace, artifacts, together))
    packed = [pack_artifact(secret, run, c, seal_for={unit, *absent}) for c in contents]
    # What is one domain's own is packed from a secret that no other member has: from the joint one each of them
    # could work out its keys; and a restart, which may have another log, would seal it under the same nonces.
    mine = os.urandom(32)
    packed_log, log_blob = pack_artifact(mine, run, log)
    kept = [
        pack_artifact(mine, run, Content(own_name(order, a.name), a.media_type, "own", a.data, (unit,)))
        for a in own
    ]
    if order.past is not None and found.trace is not None:
        # Before anything is compared, let alone handed in: whatever becomes of it, later outputs are compared with it.
        order.past.note(found.trace, sum(artifact.sealed_bytes for artifact, _ in packed))
    commitments = {artifact.name: artifact.commitment for artifact, _ in packed}
    evidence, reports = [], []
    for concerned in (unit, *absent):
        about = found if concerned == unit else Found(0, 0, 0, 0, Judgement(), b"", 0)
        facts = _facts(order, parameters, artifacts, commitments, about, concerned, together)
        report = build_report(facts, order.policy(concerned))
        sealed, blob = pack_evidence(mine, run, concerned, report.to_bytes())
        evidence.append(sealed)
        reports.append(blob)
    joint = tuple(blob for _, blob in packed)
    return Produced(
        together.members if together else (), together.transcript if together else "",
        (*(a for a, _ in packed), packed_log, *(a for a, _ in kept)), tuple(evidence),
        () if alone else joint, (*(joint if alone else ()), log_blob, *(blob for _, blob in kept), *reports),
        found.first_row_ms,
    )  # fmt: skip


def own_name(order: Order, name: str) -> str:
    """What a domain's own artifact is called among those of all: its place in the job goes before it."""
    units = order.job.body.source_units
    return name if len(units) == 1 else f"{units.index(order.source_unit) + 1}.{name}"


def _absent(order: Order, together: Together | None) -> tuple[str, ...]:
    """The source units that dropped out, for the one member that speaks to their reviewers."""
    if together is None or together.members[:1] != (order.source_unit,):
        return ()
    return tuple(unit for unit in order.job.body.source_units if unit not in together.members)


def _facts(
    order: Order, parameters: Parameters, artifacts: Sequence[RawArtifact], commitments: Mapping[str, str],
    found: Found, unit: str, together: Together | None,
) -> RunFacts:  # fmt: skip
    grant = order.grants()[unit]
    return RunFacts.of(
        parameters,
        artifacts,
        digests=_digests(order, unit),
        commitments=commitments,
        rows=found.rows,
        patients=found.patients,
        withheld_patients=found.withheld_patients,
        record_bytes=found.record_bytes,
        judged=found.judged,
        sandbox_tier=order.evidence.sandbox_tier,
        sandbox_tier_demanded=grant.sandbox_tier,
        evidence_kind=order.evidence.kind,
        evidence_kind_demanded=grant.evidence_kind,
        custody=order.evidence.custody,
        measurement=order.evidence.measurement,
        # What another source unit's data went to this buyer in before, its own enclave alone knows.
        history=order.history if unit == order.source_unit else None,
        participants=together.participation(unit) if together else None,
        prefix=own_name(order, "") if together is None else "",
        blind=order.job.body.blind is not None,
        sums_spent=order.sums_spent + sums_of(order.job.body),
        stored=found.stored,
        differencing=_compared(order, found.trace, unit),
        parts=found.parts,
        private=found.private,
    )


def _published(
    trace: Trace | None, artifacts: Sequence[RawArtifact], together: Together | None
) -> Trace | None:
    """The trace of what was made: with the source units that are in it and the counts that it shows."""
    if trace is not None and together is not None:
        trace = replace(trace, units=together.sets[-1])
    released = [raw.data for raw in artifacts if raw.name in (STATISTICS_ARTIFACT, SCORES_ARTIFACT)]
    if trace is None or trace.counts is None or not released:
        return trace
    return replace(
        trace, counts=replace(trace.counts, shown=shown_of(parse_json(released[0], limit=MAX_SCORES_BYTES)))
    )


def _compared(order: Order, trace: Trace | None, unit: str) -> Comparison | None:
    """What the output says together with earlier ones; None where that is not known, as of another unit's data."""
    if order.past is None or trace is None or unit != order.source_unit:
        return None
    job = order.job.body
    # Alone or together: a difference of sums is a sum over the units in which they differ.
    fewest = job.minimum_participants if job.is_joint else MINIMUM_UNITS
    return compare(trace, order.past.earlier(), order.policy(unit).minimum_block, fewest)


def _digests(order: Order, unit: str) -> tuple[DigestPair, ...]:
    """What was granted beside what ran; equal by construction, since the key opened. Shown all the same."""
    body = order.job.body
    parameters = sha256_hex(canonical_json(Parameters.from_json(body.parameters).to_json()))
    pairs = [DigestPair("parameters", sha256_hex(canonical_json(body.parameters)), parameters)]
    if body.code:
        pairs.append(DigestPair("code", body.code, sha256_hex(order.code)))
    for use in body.datasets:
        record = order.dossier.view.get(DatasetRecord, use.dataset)
        if record is not None and use.source_unit == unit:
            pairs.append(DigestPair(f"dataset {record.body.dataset}", use.dataset, record.statement))
    return tuple(pairs)


def _role(name: str, parameters: Parameters) -> Literal["model", "metrics", "result"]:
    if parameters.kind != "train":
        return "result"
    return "model" if name == MODEL_ARTIFACT else "metrics"
