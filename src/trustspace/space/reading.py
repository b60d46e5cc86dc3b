"""What a caller may read of the ledger, and the lists that say where to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from trustspace.domain import states
from trustspace.domain.permissions import is_kept_blind, may_read_job, may_read_statement, roles_of
from trustspace.domain.records import DatasetRecord, DecisionRecord, JobRecord, OutputRecord, PartyRecord
from trustspace.domain.replay import MemoryView
from trustspace.domain.statements import dump
from trustspace.errors import InvalidInput
from trustspace.space.store import StoredEntry
from trustspace.transport.tls import Caller


class Reader:
    """Reads the projection for callers. ``slot_seconds`` is the step in which developers and buyers are told states."""

    def __init__(self, view: MemoryView, slot_seconds: int, clock: Callable[[], float]) -> None:
        self._view = view
        self.slot_seconds = slot_seconds
        self._clock = clock

    def may_read(self, caller: Caller, entry: StoredEntry, *, alone: bool = False) -> bool:
        """Whether the caller may see an entry; ``alone`` when it was asked for by its digest, and is not replayed."""
        job = self._view.get(JobRecord, entry.job) if entry.job else None
        if entry.job and job is None:
            return False
        if job is not None and entry.type == "decision" and self._is_kept_blind(caller, job, entry.digest):
            return False
        if alone and job is not None and self._is_notice(caller, job, entry.digest):
            return True
        return may_read_statement(self._view, caller.party, entry.type, job)

    def _is_kept_blind(self, caller: Caller, job: JobRecord, digest: str) -> bool:
        """Whether a decision is kept from the reviewer's own home that calls, since that person has not decided."""
        decision = self._view.get(DecisionRecord, digest)
        return (
            caller.kind == "reviewer"
            and decision is not None
            and is_kept_blind(self._view, job, caller.party, caller.key, decision)
        )

    def _stands(self, digest: str, now: int) -> bool:
        """Whether a decision counts at ``now``; whose approval has lapsed is asked again."""
        decision = self._view.get(DecisionRecord, digest)
        return decision is not None and now <= decision.body.expires

    def _is_notice(self, caller: Caller, job: JobRecord, digest: str) -> bool:
        """Whether a statement says how a review ended, and is told to the caller by itself."""
        return caller.party in (job.body.developer, job.body.buyer) and digest in self._notices(job).values()

    def _notices(self, job: JobRecord) -> dict[str, str]:
        """The statements that developer and buyer are told of, from when their state is told on."""
        told = states.coarse_state(job.moves, int(self._clock()), self.slot_seconds)
        return {
            "changes": job.changes if told == states.COARSE["changes-requested"] else "",
            "revoked": job.revoked if told in (states.COARSE["revoked"], states.COARSE["released"]) else "",
        }

    def items(self, caller: Caller, kind: str, key: str) -> Iterator[Callable[[], Any]]:
        """What a list holds, each made only when its page is."""
        view = self._view
        if kind == "parties":
            for p in view.all(PartyRecord):
                yield partial(lambda p: {"fingerprint": p.fingerprint, **dump(p.body)}, p)
        elif kind == "datasets":
            for d in view.all(DatasetRecord):
                yield partial(_dataset_view, d)
        elif kind in ("jobs", "job", "work"):
            for job in view.all(JobRecord):
                waits = kind != "work" or (
                    job.state in ("granted", "running") and caller.party in job.body.source_units
                )
                if waits and key in ("", job.statement) and may_read_job(view, caller.party, job):
                    yield partial(self._job_view, caller, job)
        else:
            raise InvalidInput(
                "There is no view {kind}.", fix="Use parties, datasets, jobs, work or job.", kind=kind[:32]
            )

    def _job_view(self, caller: Caller, job: JobRecord) -> dict[str, Any]:
        now = int(self._clock())
        state = states.at(job.state, job.body.expires, now)
        told = states.coarse_state(job.moves, now, self.slot_seconds)
        common = {
            "statement": job.statement, "title": job.body.title, "kind": job.body.kind,
            "state": states.COARSE[state] if state == "expired" else told,
            "source_units": list(job.body.source_units),
            "developer": job.body.developer, "buyer": job.body.buyer, "expires": job.body.expires,
            **self._notices(job),
        }  # fmt: skip
        fine = caller.party in job.body.source_units or bool(
            roles_of(self._view, caller.party) & {"auditor", "operator"}
        )
        if not fine:
            return common
        output = self._view.get(OutputRecord, job.output) if job.output else None
        return {
            **common, "state": state, "waiting_for": states.JOB_OWNER[state], "countersigned": bool(job.countersigned),
            "granted_by": sorted(job.grants), "output": job.output, "issued": job.issued,
            "output_issued": output.issued if output else 0, "changes": job.changes,
            "revoked": job.revoked,
            "decided_by": sorted(
                key for key, digest in (output.decisions if output else {}).items()
                if self._stands(digest, now) and not self._is_kept_blind(caller, job, digest)
            ),
        }  # fmt: skip


def _dataset_view(record: DatasetRecord) -> dict[str, Any]:
    return {
        "statement": record.statement, "source_unit": record.source_unit, "state": record.state, **dump(record.body),
    }  # fmt: skip
