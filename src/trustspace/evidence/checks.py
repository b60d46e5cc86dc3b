"""The checks: each looks at the facts of a run and finds one thing.

Thresholds are policy or constants here, with where they come from; a check never raises on facts that an
honest enclave can have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trustspace.domain.bodies import Policy
from trustspace.domain.tiers import tier_satisfies
from trustspace.evidence.canaries import canaries
from trustspace.evidence.capacity import sizes, stored_rows
from trustspace.evidence.facts import PartMetrics, RunFacts
from trustspace.evidence.figures import MAX_CELLS, MAX_ROWS, Table, Words
from trustspace.evidence.finding import Finding, Status
from trustspace.evidence.membership import membership, reexecution, references
from trustspace.evidence.private import differential_privacy
from trustspace.evidence.tables import cell_tables, differencing, dominance
from trustspace.evidence.words import say
from trustspace.jobs.artifacts import ArtifactFacts
from trustspace.jobs.tensors import TensorInfo

# How much better a model may be on its training patients, in AUC or in nats of loss. Our choice, to be
# calibrated; a clearly regularised model stays far below, one that separates its rows by heart far above.
GAP_WARNED = 0.10
GAP_FAILED = 0.20
SHOWN_TENSORS = 32
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def digests(facts: RunFacts, _: Policy) -> Finding:
    """Everything that ran has the digest that was granted, and every output is committed to."""
    shown = {pair.name: {"granted": pair.granted, "observed": pair.observed} for pair in facts.digests}
    wrong = [p.name for p in facts.digests if p.granted != p.observed or not _DIGEST.fullmatch(p.observed)]
    committed = {name for name, value in facts.commitments if _DIGEST.fullmatch(value)}
    wrong += sorted({artifact.name for artifact in facts.observed} ^ committed)
    seen = {"digests": shown, "commitments": dict(facts.commitments)}
    if wrong or not facts.digests:
        return Finding("failed", say("digests.failed", names=", ".join(wrong) or "-"), seen)
    return Finding("passed", say("digests.passed"), seen)


def declared_vs_observed(facts: RunFacts, _: Policy) -> Finding:
    """Exactly the declared artifacts, of the declared kind, size and shape; a look at what may hold anything."""
    declared = {artifact.name: artifact for artifact in facts.declared}
    observed = {artifact.name: artifact for artifact in facts.observed}
    wrong = set(declared) ^ set(observed)
    for name in set(declared) & set(observed):
        want, have = declared[name], observed[name]
        shapes = tuple(sorted((tensor.name, tensor.shape) for tensor in have.tensors))
        if (
            have.media_type != want.media_type
            or have.bytes > want.max_bytes
            or (want.tensors is not None and shapes != tuple(sorted(want.tensors)))
        ):
            wrong.add(name)
    seen = {
        "declared": {a.name: {"media_type": a.media_type, "max_bytes": a.max_bytes} for a in facts.declared},
        "observed": {artifact.name: _described(artifact) for artifact in facts.observed},
    }
    if wrong or len(observed) != len(facts.observed):
        return Finding(
            "failed", say("declared_vs_observed.failed", names=", ".join(sorted(wrong)) or "-"), seen
        )
    free = sorted(artifact.name for artifact in facts.declared if not artifact.is_exact)
    if free:
        words = say("declared_vs_observed.warned", count=len(observed), names=", ".join(free))
        return Finding("warned", words, seen | {"free_form": free})
    return Finding("passed", say("declared_vs_observed.passed", count=len(observed)), seen)


def withheld_metrics(facts: RunFacts, policy: Policy) -> Finding:
    """How much better the model is on its training patients than on patients it never saw."""
    seen: dict[str, Any] = {
        "withheld_patients": facts.withheld_patients,
        "minimum": policy.minimum_withheld_patients,
    }
    if facts.kind != "train":
        return Finding("could_not_run", say("withheld_metrics.no_model"), seen)
    for name, part in (("training", facts.judged.training), ("withheld", facts.judged.withheld)):
        if part is not None:
            seen[name] = _shown(part)
    if facts.withheld_patients < policy.minimum_withheld_patients:
        few = say(
            "withheld_metrics.too_few",
            patients=facts.withheld_patients,
            minimum=policy.minimum_withheld_patients,
        )
        return Finding("could_not_run", few, seen)
    if facts.judged.training is None or facts.judged.withheld is None:
        return Finding("could_not_run", say("withheld_metrics.did_not_run"), seen)
    gap = generalisation_gap(facts.judged.training, facts.judged.withheld)
    if gap is None:
        return Finding("could_not_run", say("withheld_metrics.not_measurable"), seen)
    seen |= {"gap": f"{gap:.3f}", "warned_above": f"{GAP_WARNED:.2f}", "failed_above": f"{GAP_FAILED:.2f}"}
    status: Status = "failed" if gap > GAP_FAILED else "warned" if gap > GAP_WARNED else "passed"
    case: str = status
    if facts.custom_code and status == "passed":
        status, case = "warned", "own_code"
    words = say(f"withheld_metrics.{case}", patients=facts.withheld_patients, gap=f"{gap:.2f}")
    return Finding(status, words, seen)


def generalisation_gap(training: PartMetrics, withheld: PartMetrics) -> float | None:
    """The larger of the gaps in AUC and in loss, at least 0; None when neither part can be compared.

    The loss is in nats, for a numeric target in variances of the training target. A model of classes needs
    an AUC on both parts: with one class only, nothing was shown.
    """
    if training.loss is None or withheld.loss is None or withheld.rows == 0:
        return None
    gaps = [withheld.loss - training.loss, 0.0]
    if training.accuracy is not None or withheld.accuracy is not None:
        if training.auc is None or withheld.auc is None:
            return None
        gaps.append(training.auc - withheld.auc)
    return max(gaps)


def platform(facts: RunFacts, _: Policy) -> Finding:
    """The sandbox and the platform evidence are at least what was demanded."""
    seen: dict[str, Any] = {
        "sandbox_tier": facts.sandbox_tier,
        "sandbox_tier_demanded": facts.sandbox_tier_demanded,
        "evidence_kind": facts.evidence_kind,
        "evidence_kind_demanded": facts.evidence_kind_demanded,
        "custody": facts.custody,
        "measurement": facts.measurement,
    }
    words: dict[str, str | int] = {
        "tier": facts.sandbox_tier,
        "tier_demanded": facts.sandbox_tier_demanded,
        "kind": facts.evidence_kind,
        "kind_demanded": facts.evidence_kind_demanded,
    }
    tier_holds = tier_satisfies(facts.sandbox_tier, facts.sandbox_tier_demanded)
    # Software evidence never satisfies a demand for hardware; hardware satisfies a demand for software.
    kind_holds = facts.evidence_kind_demanded in {"software", facts.evidence_kind}
    if not tier_holds or not kind_holds:
        return Finding("failed", say("platform.failed", **words), seen)
    if facts.evidence_kind != "software":
        return Finding("passed", say("platform.passed", **words), seen)
    case = "hosted" if facts.custody == "operator-hosted" else "software"
    return Finding("passed", say(f"platform.{case}", **words), seen)


def custom_code(facts: RunFacts, policy: Policy) -> Finding:
    """Whether code of the developer's met the data; amber at best, whatever else was measured.

    Blind code can be read by no reviewer: a policy must accept it by that name.
    """
    seen = {
        "custom_code": "yes" if facts.custom_code else "no",
        "blind": "yes" if facts.blind else "no",
        "model": facts.model,
        "policy": policy.custom_code,
    }
    if not facts.custom_code:
        return Finding("passed", say("custom_code.passed"), seen)
    if facts.blind:
        refused = "refuse" in (policy.custom_code, policy.blind_code)
        seen["policy"] = "refuse" if refused else "accept"
        if refused:
            return Finding("failed", say("custom_code.blind_refused"), seen)
        return Finding("warned", say("custom_code.blind"), seen)
    status: Status = "failed" if policy.custom_code == "refuse" else "warned"
    return Finding(status, say(f"custom_code.{status}"), seen)


def buyer_history(facts: RunFacts, _: Policy) -> Finding:
    """What the buyer holds already that was computed from any of the same datasets."""
    if facts.history is None:
        return Finding("could_not_run", say("buyer_history.could_not_run"))
    same = [item for item in facts.history if set(item.datasets) & set(facts.datasets)]
    seen = {
        "same_data": [{"output": item.output, "title": item.title, "bytes": item.bytes} for item in same],
        "other_data": len(facts.history) - len(same),
    }
    if same:
        return Finding("warned", say("buyer_history.warned", count=len(same)), seen)
    return Finding("passed", say("buyer_history.passed"), seen)


def sums(facts: RunFacts, _: Policy) -> Finding:
    """No sum was opened over fewer source units than agreed, and whose data are in the sums."""
    if not facts.joint:
        return Finding("passed", say("sums.alone"))
    found = facts.participants
    if found is None or found.rounds < 1:
        return Finding("could_not_run", say("sums.could_not_run"))
    seen = {
        "rounds": found.rounds,
        "smallest": found.smallest,
        "minimum": found.minimum,
        "source_units": found.source_units,
        "own_part": found.own_part,
        "scheme": found.scheme,
        "opened_by": found.opened_by,
    }
    words: dict[str, str | int] = {
        "rounds": found.rounds,
        "smallest": found.smallest,
        "minimum": found.minimum,
        "units": found.source_units,
        "needed": found.opened_by,
    }
    # A sum of one is that one's part, whatever was agreed.
    if found.smallest < max(found.minimum, 2):
        return Finding("failed", say("sums.failed", **words), seen)
    if found.own_part != "all":
        return Finding("warned", say(f"sums.own_{found.own_part}", **words), seen)
    if found.opened_by < found.source_units:
        return Finding("warned", say("sums.recoverable", **words), seen)
    if found.smallest < found.source_units:
        return Finding("warned", say("sums.dropped", **words), seen)
    return Finding("passed", say("sums.pair" if found.smallest == 2 else "sums.passed", **words), seen)


def small_cells(facts: RunFacts, policy: Policy) -> Finding:
    """No count of fewer rows than the policy's minimum is shown, or follows from those shown."""
    if facts.kind == "compute":
        return _own_tables(facts, policy)
    return replace(_small_cells(facts, policy), figures=cell_tables(facts, policy))


def _small_cells(facts: RunFacts, policy: Policy) -> Finding:
    if facts.kind == "train":
        return Finding("passed", say("small_cells.model"))
    if facts.kind == "score":
        return _scores(facts, policy)
    found, demanded = facts.statistics, policy.minimum_cell_count
    if found is None:
        return Finding("could_not_run", say("small_cells.could_not_run"))
    seen = {
        "fewest_shown": found.minimum,
        "fewest_demanded": demanded,
        "counts": found.counts,
        "hidden": found.hidden,
        "derived": found.derived,
        "alike": found.alike,
    }
    if found.hidden:
        seen["narrowest"] = found.narrowest
    if found.minimum < demanded:
        words = say("small_cells.too_low", minimum=found.minimum, demanded=demanded)
        return Finding("failed", words, seen)
    if found.derived:
        return Finding("failed", say("small_cells.derived", count=found.derived), seen)
    if found.alike:
        return Finding("warned", say("small_cells.alike", count=found.alike, hidden=found.hidden), seen)
    if facts.rows > facts.patients:
        words = say("small_cells.repeated", minimum=found.minimum, rows=facts.rows, patients=facts.patients)
        return Finding("warned", words, seen | {"rows": facts.rows, "patients": facts.patients})
    if found.hidden:
        words = say("small_cells.hidden", hidden=found.hidden, counts=found.counts, minimum=found.minimum)
        return Finding("passed", words, seen)
    return Finding("passed", say("small_cells.none", counts=found.counts, minimum=found.minimum), seen)


def _own_tables(facts: RunFacts, policy: Policy) -> Finding:
    """Of what a developer's code wrote: counts that call themselves so, and others that look like it."""
    demanded = policy.minimum_cell_count
    small = [(table, cells) for table in facts.counts if (cells := table.small(demanded))]
    seen = {"fewest_demanded": demanded, "counts": sum(len(table.counts) for table in facts.counts)}
    figures = tuple(
        Table(
            title=Words(en=table.file, zh=table.file), columns=table.columns,
            rows=tuple(tuple(cell[:200] for cell in row) for row in table.rows), marked=cells,
        )
        for table, cells in small
        if max(len(table.rows), len(table.columns)) <= MAX_ROWS
        and len(table.rows) * len(table.columns) <= MAX_CELLS
    )[:4]  # fmt: skip
    named = sum(len(cells) for table, cells in small if table.named)
    if named:
        words = say("small_cells.small", count=named, demanded=demanded)
        return Finding("failed", words, seen | {"small": named}, figures)
    if small:
        alike = sum(len(cells) for _, cells in small)
        words = say("small_cells.perhaps", count=alike, demanded=demanded)
        return Finding("warned", words, seen | {"small": alike}, figures)
    return Finding("warned", say("small_cells.code"), seen)


def _scores(facts: RunFacts, policy: Policy) -> Finding:
    """What stands under encryption nobody here can read: at most amber, with all that can be said of it."""
    found = facts.scores
    if found is None:
        return Finding("could_not_run", say("small_cells.could_not_run"))
    spent, limit = facts.sums_spent, policy.score_sums_per_developer
    seen: dict[str, Any] = {"key": found.key, "key_bits": found.key_bits, "weight_bits": found.weight_bits}
    if found.rows:
        return Finding("passed", say("small_cells.blinded", count=found.rows), seen)
    seen |= {
        "encrypted_sums": found.sums, "sum_bits": found.sum_bits, "smallest_group": found.smallest,
        "fewest_shown": found.minimum, "fewest_demanded": policy.minimum_cell_count, "hidden": found.hidden,
        "sums_spent": spent, "sums_limit": limit,
    }  # fmt: skip
    words: dict[str, str | int] = {
        "count": found.sums, "minimum": found.minimum, "demanded": policy.minimum_cell_count, "bits": found.sum_bits,
        "smallest": found.smallest, "spent": spent, "limit": limit,
    }  # fmt: skip
    if facts.rows > facts.patients:
        seen |= {"rows": facts.rows, "patients": facts.patients}
    if found.minimum < policy.minimum_cell_count:
        return Finding("failed", say("small_cells.too_low", **words), seen)
    if spent > limit:
        return Finding("failed", say("small_cells.overspent", **words), seen)
    return Finding("warned", say("small_cells.encrypted", **words), seen)


def _described(artifact: ArtifactFacts) -> dict[str, Any]:
    seen: dict[str, Any] = {"media_type": artifact.media_type, "bytes": artifact.bytes}
    if artifact.columns:
        seen |= {"rows": artifact.rows, "columns": artifact.columns}
    if artifact.width:
        seen |= {"width": artifact.width, "height": artifact.height}
    if artifact.tensors:
        shown = [_tensor(info) for info in artifact.tensors[:SHOWN_TENSORS]]
        seen |= {"tensor_count": len(artifact.tensors), "tensors": shown}
    return seen


def _tensor(info: TensorInfo) -> str:
    return f"{info.name} {info.dtype} {'x'.join(map(str, info.shape))}".rstrip()


def _shown(part: PartMetrics) -> dict[str, int | str]:
    numbers = {"loss": part.loss, "auc": part.auc, "accuracy": part.accuracy, "r2": part.r2}
    return {"rows": part.rows} | {
        name: f"{value:.3f}" for name, value in numbers.items() if value is not None
    }


CHECKS: dict[str, Callable[[RunFacts, Policy], Finding]] = {
    "digests": digests,
    "declared_vs_observed": declared_vs_observed,
    "reexecution": reexecution,
    "withheld_metrics": withheld_metrics,
    "membership": membership,
    "references": references,
    "canaries": canaries,
    "differential_privacy": differential_privacy,
    "stored_rows": stored_rows,
    "sizes": sizes,
    "platform": platform,
    "custom_code": custom_code,
    "buyer_history": buyer_history,
    "differencing": differencing,
    "sums": sums,
    "small_cells": small_cells,
    "dominance": dominance,
}
