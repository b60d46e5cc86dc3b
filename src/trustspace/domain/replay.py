"""Replaying statements: how anybody checks for themselves what the space says.

A job's statements, its parties' descriptions and its datasets are folded with the very rules that the
space applies, after every signature is checked against the pinned roots. What comes out is true if the
rules and the roots are; the space's word is not needed for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from trustspace.domain.records import AnyRecord, JobRecord, PartyRecord, Record
from trustspace.domain.rules import apply
from trustspace.domain.statements import Statement
from trustspace.domain.trust import TrustFile
from trustspace.errors import NotFound, VerificationFailed


class MemoryView:
    """Records in memory, with an optional older view beneath."""

    def __init__(self, beneath: MemoryView | None = None) -> None:
        self._records: dict[str, dict[str, Record]] = {}
        self._beneath = beneath

    def get(self, kind: type[AnyRecord], key: str) -> AnyRecord | None:
        """The record of this kind and key, or None."""
        found = self._records.get(kind.kind, {}).get(key)
        if found is None and self._beneath is not None:
            return self._beneath.get(kind, key)
        return found if isinstance(found, kind) else None

    def all(self, kind: type[AnyRecord]) -> Iterable[AnyRecord]:
        """Every record of this kind, oldest first."""
        mine = self._records.get(kind.kind, {})
        if self._beneath is not None:
            for old in self._beneath.all(kind):
                changed = mine.get(old.key)
                yield changed if isinstance(changed, kind) else old
        # A copy: another thread may install while somebody lists.
        for key, record in list(mine.items()):
            if (self._beneath is None or self._beneath.get(kind, key) is None) and isinstance(record, kind):
                yield record

    def install(self, changes: Iterable[Record]) -> None:
        """Put changed records in."""
        for record in changes:
            self._records.setdefault(record.kind, {})[record.key] = record

    def installed(self) -> Iterable[Record]:
        """What was put into this layer, not what lies beneath it."""
        for records in list(self._records.values()):
            yield from list(records.values())


def replay(statements: Iterable[Statement], trust: TrustFile) -> MemoryView:
    """Fold statements, oldest first, each judged at the time its signer gave.

    Raises:
        VerificationFailed: an author is not pinned, a statement names another ledger, or a signature does not hold.
        TrustspaceError: a statement could not have stood.

    """
    view = MemoryView()
    for statement in statements:
        trust.require(statement.by)
        if statement.log.origin != trust.space.origin:
            raise VerificationFailed("A statement was made for another ledger than the one that is trusted.")
        view.install(apply(view, statement, statement.issued))
    return view


def replayed_job(view: MemoryView, digest: str) -> JobRecord:
    """The job that was replayed.

    Raises:
        NotFound: its statement was not among those folded.

    """
    job = view.get(JobRecord, digest)
    if job is None:
        raise NotFound("There is no such job, or it is not yours to see.")
    return job


def replayed_party(view: MemoryView, fingerprint: str) -> PartyRecord:
    """A party's newest description among those folded."""
    party = view.get(PartyRecord, fingerprint)
    if party is None:
        raise NotFound("The space shows no description of party {party}.", party=fingerprint[:12])
    return party
