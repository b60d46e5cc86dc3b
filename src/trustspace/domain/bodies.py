"""What each kind of statement says: one frozen model for each, integers and strings only.

A *statement* (statements.py) wraps a body with who says it, when, and what ledger its signer had
verified. Digests are lower-case hex SHA-256; public keys are raw 32-byte keys in hex; times are whole
seconds since 1970 UTC; sizes are bytes. Unknown fields are refused, so that nobody signs what a reader
would not see.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Digest
Fingerprint = Digest
Hex = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$", max_length=8192)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Line = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]*$", max_length=200)
]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**53 - 1)]
Permille = Annotated[int, Field(ge=0, le=1000)]

Role = Literal["source-unit", "developer", "buyer", "auditor", "operator"]
KeyUse = Literal["act", "grant", "broker", "review", "review-open", "receive", "enclave"]
EvidenceKind = Literal["software", "snp", "tdx", "nvgpu"]
Custody = Literal["own", "operator-hosted"]
JobKind = Literal["train", "statistics", "compute", "score"]

# With fewer members than three, whoever is one of two computes the other's part from the sum. A grant says in
# these words that its source unit accepts that.
SMALL_SUMS: Final = "two source units can compute each other's part"
FEWEST_WITHOUT_WORDS: Final = 3
# Software evidence is the host's own word. A developer who seals its code signs these words to have it run there.
HOST_CAN_READ: Final = "the host of an enclave with software evidence can read this code"
# Why reviewers ask for changes. Developer and buyer read these codes, each in their own language; none of them
# quotes anything of the output.
Reason = Literal[
    "small-groups", "overfitted", "too-large", "differencing", "own-code", "needs-privacy", "not-measurable",
    "unclear-purpose", "other",
]  # fmt: skip
# A note to the developer, padded to one size (crypto/padding.py's smallest) and sealed by HPKE (48 bytes): every note
# is as long as every other, and as none at all.
NOTE_BYTES: Final = 4096
SEALED_NOTE_BYTES: Final = NOTE_BYTES + 48
# What one enclave may hand in; a joint output holds the artifacts of all of them.
MAX_OWN_ARTIFACTS: Final = 64
MAX_ARTIFACTS: Final = 4096


class Body(BaseModel):
    """Base of every signed body: frozen, strict, closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    type: ClassVar[str]

    def subject(self) -> tuple[tuple[str, str], ...]:
        """The (name, digest) pairs that the statement is about, in in-toto's sense."""
        raise NotImplementedError(type(self).__name__)  # pragma: no cover - every body defines it


class Part(BaseModel):
    """Base of what stands inside a body."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PartyKey(Part):
    """A working key that a party's root vouches for; ``holder`` names the person or machine."""

    use: KeyUse
    public: Key
    holder: Line


class Party(Body):
    """A party's own description, signed by its root key; the highest ``sequence`` counts."""

    type: ClassVar[str] = "party"
    name: Line
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=5)]
    root: Key
    sequence: Positive
    keys: Annotated[tuple[PartyKey, ...], Field(max_length=256)]

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("root", self.root),)


class Policy(Part):
    """What a source unit demands of every output that its data had a part in, and of jobs before they run.

    ``quiet_millibits_per_developer`` is how much all jobs of one developer together may tell about the dataset before
    release (leakage.py), in thousandths of a bit. 100 bits are some thirty ordinary jobs, or what stands in a few
    patients' rows; 0 allows no job at all.

    ``score_sums_per_developer`` is how many sums of scores under hidden weights all jobs of one developer together may
    get of the dataset (budget.py): what they are of, nobody here can read.

    ``reviewers`` is how many people must approve at least: two hold halves of the unit's share. Of what evidence a
    model needs: ``reference_trainings`` anew on random halves of the patients (0: none),
    ``reference_trainings_on_amber`` where the first look leaves a doubt, and by ``reexecution`` the same training once
    more, for the same bytes. ``minimum_block`` is the fewest patients by which what two outputs are about may differ. A
    table's sum fails where the two largest are ``dominance_percent`` of it or more, or the second largest knows the
    largest to within ``p_percent``. ``privacy_millis`` is the differential privacy that all jobs together may spend, in
    thousandths of epsilon. The remaining fields are where a measure is worth a look, and where it fails: areas under
    the curve and tail rates in thousandths, the audited epsilon in thousandths, room in a file in percent of the
    records.
    """

    custom_code: Literal["accept", "refuse"] = "accept"
    blind_code: Literal["accept", "refuse"] = "refuse"
    minimum_withheld_patients: Count = 20
    minimum_cell_count: Count = 10
    quiet_millibits_per_developer: Count = 100_000
    score_sums_per_developer: Count = 200
    reviewers: Annotated[int, Field(ge=1, le=2)] = 1
    reference_trainings: Annotated[int, Field(ge=0, le=64)] = 4
    reference_trainings_on_amber: Annotated[int, Field(ge=0, le=64)] = 16
    reexecution: Literal["demand", "skip"] = "demand"
    minimum_block: Count = 10
    dominance_percent: Annotated[int, Field(ge=1, le=100)] = 90
    p_percent: Annotated[int, Field(ge=0, le=100)] = 10
    minimum_degrees_of_freedom: Count = 10
    privacy_millis: Count = 10_000
    auc_warned_permille: Permille = 600
    auc_failed_permille: Permille = 650
    tail_warned_permille: Permille = 50
    tail_failed_permille: Permille = 100
    audit_warned_millis: Count = 500
    audit_failed_millis: Count = 1_000
    capacity_warned_percent: Annotated[int, Field(ge=0, le=100)] = 10
    not_applicable: tuple[Line, ...] = ()


class Dataset(Body):
    """One version of a dataset, sealed in the source unit's enclave; what is in here is public."""

    type: ClassVar[str] = "dataset"
    dataset: Identifier
    version: Positive
    manifest: Digest
    description: dict[str, Any]
    mock: Digest
    policy: Policy
    custody: Custody
    enclave: Key

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("manifest", self.manifest), ("mock", self.mock))


class DatasetWithdrawn(Body):
    """The key of a dataset version is destroyed; no run can open it any more."""

    type: ClassVar[str] = "dataset-withdrawn"
    dataset: Digest

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("dataset", self.dataset),)


class DatasetUse(Part):
    """A dataset version (by its statement's digest) and the columns that a job asks for."""

    dataset: Digest
    source_unit: Fingerprint
    columns: Annotated[tuple[Line, ...], Field(max_length=4096)]


class BlindCode(Part):
    """Code that its developer has sealed: what is told of it, and what nobody but an enclave can check.

    ``commitment`` is SHA-256 over 32 random bytes and the code bundle, both under seal; ``entry`` the function that
    is called, such as ``main.py: run(inputs, outputs)``; ``files`` how many the bundle holds. ``host_can_read``
    holds the words without which the code's key goes to no enclave with software evidence.
    """

    commitment: Digest
    entry: Line
    files: Positive
    sealed_bytes: Positive
    host_can_read: Literal["", "the host of an enclave with software evidence can read this code"]


class SumTerms(Part):
    """How the sums of a joint job are protected, by name, and how many members' reveals open one; 0: everybody's."""

    scheme: Identifier
    needed: Count


class Job(Body):
    """A request: this code with these parameters over these datasets, for this buyer.

    ``code`` is the digest of the code bundle, of ``blind`` code of its ciphertext, of a job that scores of its
    encrypted model; "" where there is none.
    """

    type: ClassVar[str] = "job"
    title: Line
    kind: JobKind
    purpose: Annotated[str, StringConstraints(max_length=4000)]
    source_units: Annotated[tuple[Fingerprint, ...], Field(min_length=1, max_length=256)]
    developer: Fingerprint
    buyer: Fingerprint
    buyer_key: Key
    datasets: Annotated[tuple[DatasetUse, ...], Field(min_length=1, max_length=256)]
    code: Digest | Literal[""]
    parameters: dict[str, Any]
    minimum_participants: Positive
    release_quorum: Literal["all"]
    evidence_kind: EvidenceKind
    expires: Count
    supersedes: Digest | Literal[""] = ""
    blind: BlindCode | None = None
    sums: SumTerms | None = None

    @property
    def key_holders(self) -> tuple[Fingerprint, ...]:
        """Who holds a key that a run needs, and challenges its enclaves: source units, of blind code its developer."""
        return (*self.source_units, self.developer) if self.blind is not None else self.source_units

    @property
    def has_own_code(self) -> bool:
        """Whether code of the developer's meets the data; an encrypted model is none."""
        return bool(self.code) and self.kind != "score"

    @property
    def is_joint(self) -> bool:
        """Whether source units make one result together, by secure sums."""
        return len(self.source_units) > 1 and self.kind in ("train", "statistics")

    def subject(self) -> tuple[tuple[str, str], ...]:
        code = (("code", self.code),) if self.code else ()
        return tuple((f"dataset-{i}", use.dataset) for i, use in enumerate(self.datasets)) + code


def recovery_words(job: Job) -> str:
    """What a grant must say where sums can be opened without some of the source units; "" where they cannot."""
    if job.sums is None or not job.sums.needed:
        return ""
    return f"any {job.sums.needed} of the {len(job.source_units)} source units together can open every single update"


class Countersignature(Body):
    """The buyer agrees to a job and to the key that its output would be re-sealed to."""

    type: ClassVar[str] = "job-countersignature"
    job: Digest
    buyer_key: Key

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("job", self.job),)


class JobCancellation(Body):
    """The developer takes a job back; a run of it that is on stops."""

    type: ClassVar[str] = "job-cancellation"
    job: Digest

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("job", self.job),)


class Reviewer(Part):
    """A named person who will review: the key they sign with and the key shares are sealed to."""

    holder: Line
    review: Key
    review_open: Key


class Grant(Body):
    """A source unit's permission: the human act that lets its broker release a data key.

    ``small_sums`` holds the words without which no sum is made over fewer than three source units, ``recovery`` those
    without which none is made that can be opened without some of its members (:func:`recovery_words`).
    ``privacy_millis`` caps the differential privacy that the job may spend, in thousandths of epsilon; 0 where it
    claims none.
    """

    type: ClassVar[str] = "grant"
    job: Digest
    datasets: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=256)]
    enclave: Key
    reviewers: Annotated[tuple[Reviewer, ...], Field(min_length=1, max_length=32)]
    reviewer_threshold: Positive
    evidence_kind: EvidenceKind
    sandbox_tier: Line
    runs: Annotated[int, Field(ge=1, le=1000)]
    expires: Count
    small_sums: Literal["", "two source units can compute each other's part"] = ""
    recovery: Line | Literal[""] = ""
    privacy_millis: Count = 0

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("job", self.job),)


class Refusal(Body):
    """A source unit will not take part in a job, or no longer; its reason stays with it."""

    type: ClassVar[str] = "refusal"
    job: Digest

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("job", self.job),)


class RunNonce(Body):
    """A key holder's fresh challenge to one enclave, so that its evidence cannot be an old one."""

    type: ClassVar[str] = "run-nonce"
    job: Digest
    enclave: Key
    challenge: Digest

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("job", self.job), ("challenge", self.challenge))


class Evidence(Part):
    """Platform evidence. ``software`` is signed and self-asserted: the host's administrator sees all."""

    kind: EvidenceKind
    measurement: Digest
    sandbox_tier: Line
    platform: Line
    custody: Custody


class Challenge(Part):
    """A challenge answered in a run offer: whose it is and its value."""

    key_holder: Fingerprint
    challenge: Digest


class RunOffer(Body):
    """An enclave's one-time key for one run, with the evidence that key holders judge."""

    type: ClassVar[str] = "run-offer"
    job: Digest
    run_key: Key
    challenges: Annotated[tuple[Challenge, ...], Field(min_length=1, max_length=256)]
    evidence: Evidence

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("job", self.job), ("run-key", self.run_key))


class KeyRelease(Body):
    """A data key sealed to one run's key. ``run_number`` counts this grant's releases from 1."""

    type: ClassVar[str] = "key-release"
    job: Digest
    grant: Digest
    offer: Digest
    dataset: Digest
    run_number: Positive
    sealed_key: Hex

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("offer", self.offer), ("grant", self.grant))


class CodeRelease(Body):
    """The key of blind code, sealed to one run's key: its developer's half of what a run opens."""

    type: ClassVar[str] = "code-release"
    job: Digest
    offer: Digest
    sealed_key: Hex

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("offer", self.offer),)


class RunFailed(Body):
    """A run ended without an output; the reason is one of a few coarse words, nothing finer."""

    type: ClassVar[str] = "run-failed"
    job: Digest
    offer: Digest
    reason: Literal[
        "job-failed", "stopped", "limits", "host", "not-opened", "members", "left-behind", "disagreement"
    ]

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("offer", self.offer),)


class SealedShare(Part):
    """A share sealed to one reviewer: HPKE ciphertext of 32 salt bytes and the share, and its commitment.

    ``sealed`` may be empty where the share of another member's reviewer is left to that member's enclave.
    """

    reviewer: Key
    index: Annotated[int, Field(ge=1, le=255)]
    sealed: Hex
    commitment: Digest


class UnitShares(Part):
    """One source unit's share of an artifact key, itself split among that unit's reviewers."""

    source_unit: Fingerprint
    index: Annotated[int, Field(ge=1, le=255)]
    threshold: Positive
    shares: Annotated[tuple[SealedShare, ...], Field(min_length=1, max_length=32)]


class Artifact(Part):
    """One sealed artifact: padded ciphertext, commitment to its content, and shares of its key.

    The role "own" is of what belongs to its source unit alone, and is never released.
    """

    name: Identifier
    media_type: Line
    role: Literal["model", "metrics", "result", "log", "own"]
    blob: Digest
    sealed_bytes: Positive
    commitment: Digest
    units: Annotated[tuple[UnitShares, ...], Field(min_length=1, max_length=256)]
    unit_threshold: Positive


class EvidenceKey(Part):
    """The key of an evidence report, sealed to one reviewer."""

    reviewer: Key
    sealed: Hex


class SealedEvidence(Part):
    """One source unit's evidence report, for its own reviewers only."""

    source_unit: Fingerprint
    blob: Digest
    sealed_bytes: Positive
    commitment: Digest
    keys: Annotated[tuple[EvidenceKey, ...], Field(min_length=1, max_length=32)]


class Output(Body):
    """What a run produced, sealed, with the shares that its source units hold; every enclave hands in its own.

    ``members`` are the source units whose enclaves made the joint result together to its end, sorted; empty
    where there is none.
    """

    type: ClassVar[str] = "output"
    job: Digest
    offer: Digest
    run: Digest
    members: Annotated[tuple[Fingerprint, ...], Field(max_length=256)]
    transcript: Digest | Literal[""] = ""
    grants: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=256)]
    artifacts: Annotated[tuple[Artifact, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]
    evidence: Annotated[tuple[SealedEvidence, ...], Field(min_length=1, max_length=256)]
    sandbox_tier: Line

    def subject(self) -> tuple[tuple[str, str], ...]:
        return tuple((a.name, a.blob) for a in self.artifacts)


class BuyerShare(Part):
    """A reviewer's share of one artifact key, re-sealed to the buyer."""

    artifact: Identifier
    index: Annotated[int, Field(ge=1, le=255)]
    sealed: Hex


class Decision(Body):
    """A named reviewer's verdict on exact bytes. Approving *is* handing on the shares in here.

    "changes" closes the output as "reject" does, and tells its developer why: ``reasons``, and a ``note`` sealed to it.
    """

    type: ClassVar[str] = "decision"
    job: Digest
    output: Digest
    evidence: Digest
    policy: Digest
    verdict: Literal["approve", "changes", "reject"]
    artifacts: Annotated[tuple[Identifier, ...], Field(max_length=64)]
    buyer_key: Key | Literal[""]
    shares: Annotated[tuple[BuyerShare, ...], Field(max_length=64)]
    comment: Digest | Literal[""]
    expires: Count
    reasons: Annotated[tuple[Reason, ...], Field(max_length=9)] = ()
    note: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$", max_length=2 * SEALED_NOTE_BYTES)] = (
        ""
    )

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("output", self.output), ("evidence", self.evidence))


class Revocation(Body):
    """A reviewer stops an output: closed, if the buyer has given no receipt of it; after one it is a notice."""

    type: ClassVar[str] = "revocation"
    job: Digest
    output: Digest

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("output", self.output),)


class Release(Body):
    """The space notes that the quorum stands; the shares, not this note, are what opens anything."""

    type: ClassVar[str] = "release"
    job: Digest
    output: Digest
    decisions: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=1024)]
    artifacts: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("output", self.output),)


class Receipt(Body):
    """The buyer opened what was released and found it to be what was approved."""

    type: ClassVar[str] = "receipt"
    job: Digest
    release: Digest
    artifacts: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=MAX_ARTIFACTS)]

    def subject(self) -> tuple[tuple[str, str], ...]:
        return (("release", self.release),)


BODIES: dict[str, type[Body]] = {
    kind.type: kind
    for kind in (
        Party, Dataset, DatasetWithdrawn, Job, Countersignature, JobCancellation, Grant, Refusal, RunNonce, RunOffer,
        CodeRelease, KeyRelease, RunFailed, Output, Decision, Revocation, Release, Receipt,
    )
}  # fmt: skip
