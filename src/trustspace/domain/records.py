"""The projection: what the ledger's statements add up to. Disposable; rebuilt by folding them again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from trustspace.domain.bodies import Dataset, Decision, Grant, Job, Output, Party, RunOffer


class Record(BaseModel):
    """One row of the projection; ``key`` is unique within its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """The record's name within its kind: a digest, a fingerprint or a challenge."""
        raise NotImplementedError(type(self).__name__)  # pragma: no cover - every record defines it


AnyRecord = TypeVar("AnyRecord", bound=Record)


class View(Protocol):
    """Read access to records. What is not there is None, never an error."""

    def get(self, kind: type[AnyRecord], key: str) -> AnyRecord | None:
        """The record of this kind and key."""

    def all(self, kind: type[AnyRecord]) -> Iterable[AnyRecord]:
        """Every record of this kind, oldest first."""


class PartyRecord(Record):
    """A party's newest description."""

    kind: ClassVar[str] = "party"
    fingerprint: str
    statement: str
    body: Party

    @property
    def key(self) -> str:
        return self.fingerprint


class DatasetRecord(Record):
    """A dataset version and its state."""

    kind: ClassVar[str] = "dataset"
    statement: str
    source_unit: str
    state: str
    issued: int
    body: Dataset

    @property
    def key(self) -> str:
        return self.statement


class JobRecord(Record):
    """A job: its request, who has agreed, which run is on and by which offers, and how it ends.

    ``changes`` is the decision that asked for changes, ``revoked`` the first revocation.
    ``run`` names the run that is on, or that the output came from; "" while there is none. ``offers`` are the
    offers that stand in it, by source unit; ``code_challenges`` the last challenges of the developer of blind code, by
    enclave.
    """

    kind: ClassVar[str] = "job"
    statement: str
    state: str
    issued: int
    body: Job
    countersigned: str = ""
    grants: dict[str, str] = {}
    refused_by: str = ""
    offers: dict[str, str] = {}
    code_challenges: dict[str, str] = {}
    run: str = ""
    output: str = ""
    changes: str = ""
    revoked: str = ""
    release: str = ""
    receipt: str = ""
    released: tuple[str, ...] = ()
    moves: tuple[tuple[int, str], ...] = ()
    statements: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.statement

    def parties(self) -> frozenset[str]:
        """Everyone the job names."""
        return frozenset({*self.body.source_units, self.body.developer, self.body.buyer})


class GrantRecord(Record):
    """A source unit's grant and how many of its runs are used, and for how many blind code was released."""

    kind: ClassVar[str] = "grant"
    statement: str
    source_unit: str
    runs_used: int = 0
    code_releases: int = 0
    body: Grant

    @property
    def key(self) -> str:
        return self.statement

    @property
    def used_up(self) -> bool:
        """Whether no run is left. Blind code that was released to a run counts, also if no data key followed."""
        return max(self.runs_used, self.code_releases) >= self.body.runs


class ChallengeRecord(Record):
    """A key holder's challenge to an enclave; answered at most once."""

    kind: ClassVar[str] = "challenge"
    challenge: str
    job: str
    key_holder: str
    enclave: str
    used: bool = False

    @property
    def key(self) -> str:
        return self.challenge


class OfferRecord(Record):
    """One enclave's part in a run: its offer, the keys released to it (of data by dataset), and how it ended."""

    kind: ClassVar[str] = "offer"
    statement: str
    source_unit: str
    enclave: str
    body: RunOffer
    released: dict[str, str] = {}
    code_released: str = ""
    ended: bool = False
    reason: str = ""

    @property
    def key(self) -> str:
        return self.statement


class OutputRecord(Record):
    """A sealed output and the decisions on it, by reviewer key.

    ``body`` holds what all enclaves of the run have handed in so far, under the first one's statement;
    ``signers`` is the statement of each, by source unit.
    """

    kind: ClassVar[str] = "output"
    statement: str
    issued: int
    body: Output
    signers: dict[str, str] = {}
    decisions: dict[str, str] = {}

    @property
    def key(self) -> str:
        return self.statement


class DecisionRecord(Record):
    """One reviewer's decision."""

    kind: ClassVar[str] = "decision"
    statement: str
    source_unit: str
    reviewer: str
    issued: int
    body: Decision

    @property
    def key(self) -> str:
        return self.statement


class BlobRecord(Record):
    """What refers to a stored blob: (purpose, statement) pairs; purposes mock, code, artifact, evidence."""

    kind: ClassVar[str] = "blob"
    digest: str
    references: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return self.digest


RECORDS: dict[str, type[Record]] = {
    kind.kind: kind
    for kind in (
        PartyRecord, DatasetRecord, JobRecord, GrantRecord, ChallengeRecord, OfferRecord, OutputRecord, DecisionRecord,
        BlobRecord,
    )
}  # fmt: skip
