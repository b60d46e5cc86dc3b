"""When an output may be released: every source unit concerned has approved, by its own threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trustspace.domain.records import DecisionRecord, GrantRecord, JobRecord, OutputRecord, View


@dataclass(frozen=True)
class Standing:
    """How an output stands: what is approved by everybody so far, and by which decisions."""

    verdict: Literal["open", "rejected", "changes", "approved"]
    artifacts: tuple[str, ...]
    decisions: tuple[str, ...]
    waiting_for: tuple[str, ...]


def standing(view: View, job: JobRecord, output: OutputRecord, now: int) -> Standing:
    """Count the decisions on an output that stand at ``now``; an approval stops counting when it expires.

    The source units concerned are those whose data key was opened: all that the job names, fixed at
    its start. One rejection ends it, and so does one demand for changes. An artifact is approved when
    every unit holding shares of its key has as many approving reviewers as that unit's threshold says.
    """
    decisions = [
        d for d in (view.get(DecisionRecord, key) for key in output.decisions.values()) if d is not None
    ]
    if any(d.body.verdict == "reject" for d in decisions):
        return Standing("rejected", (), (), ())
    if any(d.body.verdict == "changes" for d in decisions):
        return Standing("changes", (), (), ())
    decisions = [d for d in decisions if now <= d.body.expires]
    waiting = []
    for unit in job.body.source_units:
        grant = view.get(GrantRecord, job.grants.get(unit, ""))
        threshold = grant.body.reviewer_threshold if grant else 1
        if sum(d.source_unit == unit for d in decisions) < threshold:
            waiting.append(unit)
    approved = []
    for artifact in output.body.artifacts:
        reached = all(
            sum(d.source_unit == unit.source_unit and artifact.name in d.body.artifacts for d in decisions)
            >= unit.threshold
            for unit in artifact.units
        )
        if reached:
            approved.append(artifact.name)
    if waiting:
        return Standing("open", (), (), tuple(waiting))
    if not approved:
        return Standing("rejected", (), (), ())
    return Standing("approved", tuple(approved), tuple(d.statement for d in decisions), ())
