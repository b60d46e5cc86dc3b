"""The checks of a file as a channel: what it has room for, and what of the rows stands in it openly."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

from trustspace.domain.bodies import Policy
from trustspace.evidence.facts import PartMetrics, RunFacts
from trustspace.evidence.finding import Finding, Status
from trustspace.evidence.words import Language, say
from trustspace.jobs.artifacts import ArtifactFacts
from trustspace.privacy.capacity import Room, of_numbers, of_picture, of_text

_SHOWN = 16


def sizes(facts: RunFacts, policy: Policy) -> Finding:
    """How many of the records the files could hold if someone had filled them with records.

    Where nobody can read what filled them, room to hide many is reason enough to refuse.
    """
    total = sum(artifact.bytes for artifact in facts.observed)
    seen: dict[str, Any] = {
        "bytes": total,
        "bytes_allowed": sum(artifact.max_bytes for artifact in facts.declared),
        "numbers": sum(artifact.numbers for artifact in facts.observed),
        "rows": facts.rows,
        "patients": facts.patients,
        "record_bytes": facts.record_bytes,
        "warned_above_percent": policy.capacity_warned_percent,
    }
    if facts.precision:
        seen["precision"] = facts.precision
    seen |= _effect(facts)
    if facts.record_bytes < 1 or facts.rows < 1:
        return Finding("could_not_run", say("sizes.could_not_run"), seen)
    room = sum(map(room_of, facts.observed), Room(0, 0))
    if facts.scores is not None:
        # The rest of a ciphertext is randomness of the enclave's own, which tells nothing.
        bits = facts.scores.sums * facts.scores.sum_bits
        room, total = Room(bits, bits), -(-bits // 8)
        seen["bytes_carried"] = total
    records, easily = room.records(facts.record_bytes, facts.rows)
    seen |= {"records_that_fit": records, "records_that_fit_unnoticed": easily}
    roomy = records * 100 > facts.rows * policy.capacity_warned_percent
    status: Status = ("failed" if facts.blind else "warned") if roomy else "passed"
    case = "carried" if facts.scores is not None else status
    words = say(f"sizes.{case}", bytes=total, records=records, easily=easily, rows=facts.rows)
    if facts.precision == "float32":
        words = _both(words, say("sizes.float32"))
        status = "warned" if status == "passed" else status
    elif facts.precision == "bf16":
        words = _both(words, say("sizes.bf16"))
    if "as_exported" in seen:
        measures = {name: str(seen[name]) for name in ("measure", "as_exported", "before_rounding")}
        words = _both(words, say("sizes.effect", **measures))
    return Finding(status, words, seen)


def room_of(artifact: ArtifactFacts) -> Room:
    """What a file can carry, by its kind."""
    if artifact.tensors:
        counts: Counter[str] = Counter()
        for info in artifact.tensors:
            counts[info.dtype] += prod(info.shape)
        return of_numbers(counts, artifact.bytes)
    if artifact.width:
        # Stored without compression: about as many bytes as samples.
        channels = 3 if artifact.bytes > 2 * artifact.width * artifact.height else 1
        return of_picture(artifact.width * artifact.height * channels, artifact.bytes)
    return of_text(artifact.bytes)


def stored_rows(facts: RunFacts, policy: Policy) -> Finding:
    """Whether rows of the data stand in what leaves, or it is of a kind that keeps them.

    What the developer's own code wrote may hold rows in forms that nobody recognises: that is for the check of whose
    code met the data, which is amber then.
    """
    if facts.kind in {"statistics", "score"}:
        return Finding("passed", say("stored_rows.not_needed"))
    found = facts.stored
    if found is None:
        return Finding("could_not_run", say("stored_rows.did_not_run"))
    leaves = [(name, count) for name, count in found.leaves if count < policy.minimum_cell_count]
    seen: dict[str, Any] = {
        "compared": found.compared,
        "rows_found": [{"where": name, "count": count} for name, count in found.found[:_SHOWN]],
        "as_many_as_rows": list(found.shaped[:_SHOWN]),
        "keeps_rows_by_name": list(found.named[:_SHOWN]),
        "smallest_leaf": [{"where": name, "count": count} for name, count in found.leaves[:_SHOWN]],
    }
    seen = {name: value for name, value in seen.items() if value}
    if found.found:
        name, count = max(found.found, key=lambda one: one[1])
        return Finding("failed", say("stored_rows.found", count=count, name=name, rows=facts.rows), seen)
    if leaves:
        name, count = min(leaves, key=lambda one: one[1])
        words = say("stored_rows.leaf", name=name, count=count, minimum=policy.minimum_cell_count)
        return Finding("failed", words, seen | {"fewest_demanded": policy.minimum_cell_count})
    if found.named:
        return Finding("failed", say("stored_rows.named", names=", ".join(found.named[:_SHOWN])), seen)
    if found.compared == "too_large":
        return Finding("could_not_run", say("stored_rows.too_large"), seen)
    if found.shaped:
        return Finding("warned", say("stored_rows.shaped", names=", ".join(found.shaped[:_SHOWN])), seen)
    if not facts.custom_code:
        return Finding("passed", say("stored_rows.own_training"), seen)
    if found.compared != "yes":
        return Finding("warned", say(f"stored_rows.{found.compared}"), seen)
    return Finding("passed", say("stored_rows.passed", rows=facts.rows), seen)


def _effect(facts: RunFacts) -> dict[str, str]:
    """A measure of the model as it leaves and as it was before it was rounded, on patients that it never saw."""
    exported, before = facts.judged.withheld, facts.judged.unrounded
    if exported is None or before is None:
        return {}
    for name, value in _measures(exported).items():
        other = _measures(before)[name]
        if value is not None and other is not None:
            return {"measure": name, "as_exported": f"{value:.3f}", "before_rounding": f"{other:.3f}"}
    return {}


def _measures(part: PartMetrics) -> dict[str, float | None]:
    return {"AUC": part.auc, "R²": part.r2, "loss": part.loss}


def _both(one: dict[Language, str], other: dict[Language, str]) -> dict[Language, str]:
    return {"en": f"{one['en']} {other['en']}", "zh": one["zh"] + other["zh"]}
