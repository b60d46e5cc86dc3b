"""A whole story in memory, statement by statement, with as many source units and reviewers as one likes.

Nothing here reads a clock or opens a socket: it is the ledger's view of a story, for tests of the rules.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from trustspace.aggregation.selection import PAIRWISE_MASKS
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.keys import MemoryKeyStore
from trustspace.crypto.statement import key_id
from trustspace.crypto.wrap import seal_to
from trustspace.domain import certificate as certificates
from trustspace.domain.binding import handover_binding
from trustspace.domain.bodies import (
    HOST_CAN_READ,
    SEALED_NOTE_BYTES,
    SMALL_SUMS,
    BlindCode,
    Body,
    BuyerShare,
    Challenge,
    CodeRelease,
    Countersignature,
    Dataset,
    DatasetUse,
    DatasetWithdrawn,
    Decision,
    Evidence,
    Grant,
    Job,
    JobCancellation,
    KeyRelease,
    Output,
    Party,
    PartyKey,
    Policy,
    Receipt,
    Refusal,
    Release,
    Reviewer,
    Revocation,
    RunFailed,
    RunNonce,
    RunOffer,
    SumTerms,
)  # fmt: skip
from trustspace.domain.quorum import standing
from trustspace.domain.records import (
    ChallengeRecord,
    DatasetRecord,
    GrantRecord,
    JobRecord,
    OfferRecord,
    OutputRecord,
)
from trustspace.domain.replay import MemoryView
from trustspace.domain.rules import apply
from trustspace.domain.statements import LogReference, Statement, make
from trustspace.domain.trust import TrustedParty, TrustedSpace, TrustFile
from trustspace.enclave.packing import Content, Run, pack_artifact, pack_evidence
from trustspace.ledger.checkpoint import Checkpoint, sign_checkpoint
from trustspace.ledger.merkle import MerkleTree
from trustspace.ledger.note import NoteKey

NOW = 1_800_000_000
DAY = 86400
ORIGIN = "space.example/ledger"
TIER = "namespaces+landlock+seccomp"
WORKING = {
    "source-unit": ("act", "grant", "broker"),
    "developer": ("act", "broker", "receive"),
    "buyer": ("act", "receive"),
    "auditor": ("act",),
    "operator": ("act",),
}


def digest(text: str) -> str:
    """A digest that stands for something."""
    return hashlib.sha256(text.encode()).hexdigest()


class Actor:
    """A party: its keys and its description. A source unit has reviewers and an enclave of its own."""

    def __init__(self, name: str, *roles: str, reviewers: int = 0) -> None:
        self.name = name
        self.keys = MemoryKeyStore()
        self.root = self.keys.create_signing_key("root")
        self.fingerprint = key_id(self.root)
        keys = []
        for use in dict.fromkeys(use for role in roles for use in WORKING[role]):
            keys.append(self._key(use, use, name))
        self.people = [f"{name} reviewer {number}" for number in range(1, reviewers + 1)]
        for number, person in enumerate(self.people, 1):
            keys.append(self._key(f"review-{number}", "review", person))
            keys.append(self._key(f"review-open-{number}", "review-open", person))
        if "source-unit" in roles:
            keys.append(self._key("enclave", "enclave", f"{name} enclave"))
        self.body = Party(name=name, roles=roles, root=self.root.hex(), sequence=1, keys=tuple(keys))

    def _key(self, name: str, use: str, holder: str) -> PartyKey:
        opening = use in ("receive", "review-open")
        public = self.keys.create_opening_key(name) if opening else self.keys.create_signing_key(name)
        return PartyKey(use=use, public=public.hex(), holder=holder)

    def public(self, name: str) -> str:
        return self.keys.public(name).hex()

    def reviewers(self) -> tuple[Reviewer, ...]:
        return tuple(
            Reviewer(
                holder=person, review=self.public(f"review-{n}"), review_open=self.public(f"review-open-{n}")
            )
            for n, person in enumerate(self.people, 1)
        )


class Cast:
    """Three source units of three reviewers each, two of whom must agree, unless told otherwise.

    The job is a joint training that demands all of them. ``statements`` are those that stand, oldest first.
    With ``blind`` its developer has sealed the code, and every source unit accepts that.
    ``fork`` gives an independent continuation.
    """

    def __init__(
        self, units: int = 3, reviewers: int = 3, threshold: int = 2, *, runs: int = 2, kind: str = "train",
        minimum: int = 0, blind: bool = False,
    ) -> None:  # fmt: skip
        self.blind = blind
        self.threshold, self.runs, self.now = threshold, runs, NOW
        self.kind, self.minimum = kind, minimum
        self.units = [
            Actor(f"Hospital {chr(65 + n)}", "source-unit", reviewers=reviewers) for n in range(units)
        ]
        self.developer = Actor("Dev GmbH", "developer")
        self.buyer = Actor("City Clinic", "buyer")
        self.auditor = Actor("Auditor", "auditor")
        self.operator = Actor("Space", "operator")
        # Enrolled, and strangers to the job.
        self.other_unit = Actor("Hospital Z", "source-unit", reviewers=reviewers)
        self.other_developer = Actor("Other Dev", "developer")
        self.other_buyer = Actor("Other Buyer", "buyer")
        self.ledger = MemoryKeyStore()
        self.ledger.create_signing_key("ledger")
        self.view = MemoryView()
        self.statements: list[Statement] = []
        self._nonces = itertools.count()
        self.blobs: dict[str, bytes] = {}

    # -- machinery

    @property
    def actors(self) -> list[Actor]:
        return [
            self.operator, *self.units, self.developer, self.buyer, self.auditor, self.other_unit,
            self.other_developer, self.other_buyer,
        ]  # fmt: skip

    def fork(self) -> Cast:
        """The same story so far; what happens to the copy does not happen here."""
        other = object.__new__(Cast)
        other.__dict__.update(self.__dict__)
        # Both go on in layers of their own over what is common.
        self.view, other.view = MemoryView(self.view), MemoryView(self.view)
        other.statements = list(self.statements)
        other.blobs = dict(self.blobs)
        return other

    def tree(self, statements: list[Statement] | None = None) -> MerkleTree:
        tree = MerkleTree()
        for statement in self.statements if statements is None else statements:
            tree.append(bytes.fromhex(statement.digest))
        return tree

    def log(self) -> LogReference:
        tree = self.tree()
        return LogReference(origin=ORIGIN, size=tree.size, root=tree.root().hex())

    def sign(
        self, actor: Actor, key: str, body: Body, *, by: str | None = None, issued: int | None = None,
        log: LogReference | None = None,
    ) -> Statement:  # fmt: skip
        return make(
            body, by=by or actor.fingerprint, issued=self.now if issued is None else issued,
            nonce=hashlib.sha256(b"%d" % next(self._nonces)).digest(), log=log or self.log(),
            public=actor.keys.public(key), sign=lambda message: actor.keys.sign(key, message),
        )  # fmt: skip

    def apply(self, statement: Statement, now: int | None = None) -> Any:
        return apply(self.view, statement, self.now if now is None else now)

    def put(self, statement: Statement, now: int | None = None) -> Statement:
        self.view.install(self.apply(statement, now))
        self.statements.append(statement)
        return statement

    def trust(self) -> TrustFile:
        vkey = NoteKey(ORIGIN, self.ledger.public("ledger")).encode()
        space = TrustedSpace(name="Space", origin=ORIGIN, ledger_key=vkey, operator=self.operator.fingerprint)
        parties = tuple(TrustedParty(name=a.name, fingerprint=a.fingerprint) for a in self.actors[1:])
        return TrustFile(space=space, parties=parties)

    def checkpoint(self, tree: MerkleTree) -> str:
        return sign_checkpoint(
            Checkpoint(ORIGIN, tree.size, tree.root()), ORIGIN, self.ledger.public("ledger"),
            lambda message: self.ledger.sign("ledger", message),
        )  # fmt: skip

    def certificate(
        self, statements: list[Statement] | None = None, *, log: list[Statement] | None = None
    ) -> Any:
        """The job's certificate; ``log`` is the whole ledger, ``statements`` those of it that the file shows."""
        whole = self.statements if log is None else log
        shown = whole if statements is None else statements
        tree = self.tree(whole)
        places = {statement.digest: index for index, statement in enumerate(whole)}
        entries = [
            (s.envelope.to_bytes(), places[s.digest], tree.inclusion_proof(places[s.digest])) for s in shown
        ]
        return certificates.build(self.job.statement, entries, self.checkpoint(tree), ())

    # -- what stands

    @property
    def job(self) -> JobRecord:
        return list(self.view.all(JobRecord))[-1]

    def dataset(self, unit: Actor) -> DatasetRecord:
        return next(d for d in self.view.all(DatasetRecord) if d.source_unit == unit.fingerprint)

    def grant(self, unit: Actor) -> GrantRecord:
        return self.view.get(GrantRecord, self.job.grants[unit.fingerprint])

    def offer(self, unit: Actor) -> OfferRecord:
        return self.view.get(OfferRecord, self.job.offers[unit.fingerprint])

    @property
    def output(self) -> OutputRecord:
        return self.view.get(OutputRecord, self.job.output)

    # -- bodies, honest ones; a test changes what it wants to be wrong

    def dataset_body(self, unit: Actor, **changes: Any) -> Dataset:
        values = {
            "dataset": "cytology", "version": 1, "manifest": digest(f"manifest {unit.name}"),
            "description": {"title": f"Cytology of {unit.name}"}, "mock": digest(f"mock {unit.name}"),
            "policy": Policy(blind_code="accept" if self.blind else "refuse"), "custody": "own", "enclave": unit.public("enclave"),
        }  # fmt: skip
        return Dataset(**{**values, **changes})

    def job_body(self, **changes: Any) -> Job:
        uses = tuple(
            DatasetUse(
                dataset=self.dataset(u).statement, source_unit=u.fingerprint, columns=("size", "texture")
            )
            for u in self.units
        )
        joint = len(self.units) > 1 and self.kind in ("train", "statistics")
        values = {
            "title": "Malignancy", "kind": self.kind, "purpose": "A second opinion.",
            "source_units": tuple(u.fingerprint for u in self.units), "developer": self.developer.fingerprint,
            "buyer": self.buyer.fingerprint, "buyer_key": self.buyer.public("receive"), "datasets": uses,
            "code": digest("code"), "parameters": {"epochs": 3}, "minimum_participants": self.minimum or len(self.units),
            "release_quorum": "all", "evidence_kind": "software", "expires": self.now + 30 * DAY,
            "blind": self.blind_code() if self.blind else None,
            "sums": SumTerms(scheme=PAIRWISE_MASKS, needed=0) if joint else None,
        }  # fmt: skip
        return Job(**{**values, **changes})

    def blind_code(self, **changes: Any) -> BlindCode:
        values = {
            "commitment": digest("salt and code"), "entry": "main.py: run(inputs, outputs)", "files": 1,
            "sealed_bytes": 5000, "host_can_read": HOST_CAN_READ,
        }  # fmt: skip
        return BlindCode(**{**values, **changes})

    def countersignature_body(self, **changes: Any) -> Countersignature:
        values = {"job": self.job.statement, "buyer_key": self.buyer.public("receive")}
        return Countersignature(**{**values, **changes})

    def grant_body(self, unit: Actor, **changes: Any) -> Grant:
        values = {
            "job": self.job.statement, "datasets": (self.dataset(unit).statement,), "enclave": unit.public("enclave"),
            "reviewers": unit.reviewers(), "reviewer_threshold": self.threshold, "evidence_kind": "software",
            "sandbox_tier": "any", "runs": self.runs, "expires": self.now + 20 * DAY,
            "small_sums": SMALL_SUMS if self.job.body.minimum_participants < 3 else "",
        }  # fmt: skip
        return Grant(**{**values, **changes})

    def nonce_body(self, unit: Actor, enclave_of: Actor, **changes: Any) -> RunNonce:
        challenge = digest(f"challenge {unit.name} {enclave_of.name} {next(self._nonces)}")
        values = {"job": self.job.statement, "enclave": enclave_of.public("enclave"), "challenge": challenge}
        return RunNonce(**{**values, **changes})

    def challenges_for(self, unit: Actor) -> tuple[Challenge, ...]:
        newest = {
            c.key_holder: c.challenge
            for c in self.view.all(ChallengeRecord)
            if c.enclave == unit.public("enclave") and not c.used
        }
        given = tuple(Challenge(key_holder=u, challenge=c) for u, c in newest.items())
        return given or (Challenge(key_holder=unit.fingerprint, challenge=digest("never given")),)

    def evidence(self) -> Evidence:
        return Evidence(
            kind="software", measurement=digest("package"), sandbox_tier=TIER, platform="test", custody="own"
        )

    def offer_body(self, unit: Actor, **changes: Any) -> RunOffer:
        run_key = MemoryKeyStore().create_opening_key("run")
        values = {
            "job": self.job.statement, "run_key": run_key.hex(), "challenges": self.challenges_for(unit),
            "evidence": self.evidence(),
        }  # fmt: skip
        return RunOffer(**{**values, **changes})

    def release_code_body(self, unit: Actor, **changes: Any) -> CodeRelease:
        offer = self.job.offers.get(unit.fingerprint, digest("no offer"))
        values = {"job": self.job.statement, "offer": offer, "sealed_key": "bb" * 80}
        return CodeRelease(**{**values, **changes})

    def release_key_body(self, unit: Actor, **changes: Any) -> KeyRelease:
        values = {
            "job": self.job.statement, "grant": self.grant(unit).statement,
            "offer": self.job.offers.get(unit.fingerprint, digest("no offer")),
            "dataset": self.dataset(unit).statement, "run_number": self.grant(unit).runs_used + 1, "sealed_key": "aa" * 80,
        }  # fmt: skip
        return KeyRelease(**{**values, **changes})

    def failed_body(self, unit: Actor, **changes: Any) -> RunFailed:
        values = {
            "job": self.job.statement,
            "offer": self.job.offers[unit.fingerprint],
            "reason": "job-failed",
        }
        return RunFailed(**{**values, **changes})

    def run(self) -> Run:
        grants = {u.fingerprint: self.grant(u).body for u in self.units}
        return Run(self.job.statement, self.job.run or digest("no run"), grants)

    def log_of(self, unit: Actor) -> str:
        """The name of a unit's log: ``run.log`` for the first, ``run-2.log`` and so on for the others."""
        number = self.units.index(unit) + 1
        return "run.log" if number == 1 else f"run-{number}.log"

    def output_body(self, unit: Actor, members: tuple[Actor, ...] | None = None, **changes: Any) -> Output:
        """What a unit's enclave hands in: it seals for its own reviewers and, being the first, for the dropped."""
        run, everybody = self.run(), tuple(u.fingerprint for u in self.units)
        joined = sorted(u.fingerprint for u in (self.units if members is None else members))
        if not self.job.body.is_joint:
            joined = []
        contents = [
            Content("model.safetensors", "application/x-safetensors", "model", b"weights" * 100, everybody),
            Content("metrics.json", "application/json", "metrics", b"{}", everybody),
            Content(self.log_of(unit), "text/plain", "log", b"a patient's name", (unit.fingerprint,)),
        ]
        dropped = set(everybody) - set(joined) if joined[:1] == [unit.fingerprint] else set()
        sealed_for = {unit.fingerprint, *dropped}
        artifacts = []
        for content in contents:
            artifact, blob = pack_artifact(b"s" * 32, run, content, seal_for=sealed_for)
            artifacts.append(artifact)
            self.blobs[blob.digest] = blob.data
        evidence = []
        for other in (u for u in self.units if u.fingerprint in sealed_for):
            sealed, blob = pack_evidence(b"s" * 32, run, other.fingerprint, b"{}")
            evidence.append(sealed)
            self.blobs[blob.digest] = blob.data
        values = {
            "job": self.job.statement, "offer": self.job.offers[unit.fingerprint], "run": run.run,
            "members": tuple(joined), "grants": tuple(self.job.grants.values()), "artifacts": tuple(artifacts),
            "evidence": tuple(evidence), "sandbox_tier": TIER,
        }  # fmt: skip
        return Output(**{**values, **changes})

    def decision_body(
        self, unit: Actor, reviewer: int, *, artifacts: tuple[str, ...] | None = None, **changes: Any
    ) -> Decision:
        """An approval (of all but logs) that hands on sealed bytes of the right form."""
        output, key = self.output, unit.public(f"review-{reviewer}")
        if artifacts is None:
            artifacts = tuple(a.name for a in output.body.artifacts if a.role != "log")
        shares = []
        for name in artifacts:
            artifact = next(a for a in output.body.artifacts if a.name == name)
            holder = next(u for u in artifact.units if u.source_unit == unit.fingerprint)
            share = next(s for s in holder.shares if s.reviewer == key)
            info = handover_binding(
                output=output.statement, artifact=name, reviewer=key, buyer_key=self.job.body.buyer_key
            )
            sealed = seal_to(bytes.fromhex(self.job.body.buyer_key), b"a share", info)
            shares.append(BuyerShare(artifact=name, index=share.index, sealed=sealed.hex()))
        evidence = next(e for e in output.body.evidence if e.source_unit == unit.fingerprint)
        values = {
            "job": self.job.statement, "output": output.statement, "evidence": evidence.commitment,
            "policy": sha256_hex(canonical_json([])), "verdict": "approve", "artifacts": artifacts,
            "buyer_key": self.job.body.buyer_key, "shares": tuple(shares), "comment": "", "expires": self.now + DAY,
        }  # fmt: skip
        return Decision(**{**values, **changes})

    def rejection_body(self, unit: Actor, **changes: Any) -> Decision:
        evidence = next(e for e in self.output.body.evidence if e.source_unit == unit.fingerprint)
        values = {
            "job": self.job.statement, "output": self.output.statement, "evidence": evidence.commitment,
            "policy": digest("policy"), "verdict": "reject", "artifacts": (), "buyer_key": "", "shares": (),
            "comment": "", "expires": self.now + DAY,
        }  # fmt: skip
        return Decision(**{**values, **changes})

    def changes_body(self, unit: Actor, **changes: Any) -> Decision:
        asked = {"verdict": "changes", "reasons": ("overfitted",), "note": "ab" * SEALED_NOTE_BYTES}
        return self.rejection_body(unit, **{**asked, **changes})

    def revocation_body(self, **changes: Any) -> Revocation:
        return Revocation(**{"job": self.job.statement, "output": self.job.output, **changes})

    def release_body(self, **changes: Any) -> Release:
        state = standing(self.view, self.job, self.output, self.now)
        values = {
            "job": self.job.statement, "output": self.job.output, "decisions": state.decisions,
            "artifacts": state.artifacts,
        }  # fmt: skip
        return Release(**{**values, **changes})

    def receipt_body(self, **changes: Any) -> Receipt:
        values = {"job": self.job.statement, "release": self.job.release, "artifacts": ("model.safetensors",)}
        return Receipt(**{**values, **changes})

    def withdrawal_body(self, unit: Actor) -> DatasetWithdrawn:
        return DatasetWithdrawn(dataset=self.dataset(unit).statement)

    def refusal_body(self) -> Refusal:
        return Refusal(job=self.job.statement)

    def cancellation_body(self) -> JobCancellation:
        return JobCancellation(job=self.job.statement)

    # -- the story, step by step

    def enrol(self) -> Cast:
        for actor in self.actors:
            self.put(self.sign(actor, "root", actor.body))
        return self

    def describe(self) -> Cast:
        for unit in (*self.units, self.other_unit):
            self.put(self.sign(unit, "act", self.dataset_body(unit)))
        return self

    def ask(self) -> Cast:
        self.put(self.sign(self.developer, "act", self.job_body()))
        return self

    def countersign(self) -> Cast:
        self.put(self.sign(self.buyer, "act", self.countersignature_body()))
        return self

    def grant_all(self) -> Cast:
        for unit in self.units:
            self.put(self.sign(unit, "grant", self.grant_body(unit)))
        return self

    def challenge(self) -> Cast:
        for unit in self.units:
            for other in self.units:
                self.put(self.sign(unit, "broker", self.nonce_body(unit, other)))
        for other in self.units if self.blind else ():
            last = self.view.get(ChallengeRecord, self.job.code_challenges.get(other.public("enclave"), ""))
            if last is None or last.used:
                self.put(self.sign(self.developer, "broker", self.nonce_body(self.developer, other)))
        return self

    def offer_all(self) -> Cast:
        for unit in self.units:
            self.put(self.sign(unit, "enclave", self.offer_body(unit)))
        return self

    def release_code(self) -> Cast:
        """What the developer of blind code does for every offer; of open code nothing."""
        for unit in self.units if self.blind else ():
            self.put(self.sign(self.developer, "broker", self.release_code_body(unit)))
        return self

    def release_keys(self) -> Cast:
        for unit in self.units:
            self.put(self.sign(unit, "broker", self.release_key_body(unit)))
        return self

    def hand_in(self) -> Cast:
        for unit in self.units:
            self.put(self.sign(unit, "enclave", self.output_body(unit)))
        return self

    def approve_all(self) -> Cast:
        for unit in self.units:
            for reviewer in range(1, self.threshold + 1):
                self.put(self.sign(unit, f"review-{reviewer}", self.decision_body(unit, reviewer)))
        return self

    def release(self) -> Cast:
        self.put(self.sign(self.operator, "act", self.release_body()))
        return self

    def receive(self) -> Cast:
        self.put(self.sign(self.buyer, "act", self.receipt_body()))
        return self

    STEPS = (
        "enrol", "describe", "ask", "countersign", "grant_all", "challenge", "offer_all", "release_code", "release_keys",
        "hand_in",
        "approve_all", "release", "receive",
    )  # fmt: skip

    def until(self, last: str) -> Cast:
        """Play up to and including this step."""
        for step in self.STEPS:
            getattr(self, step)()
            if step == last:
                return self
        raise ValueError(last)


class Series(Cast):
    """One source unit and its dataset, in newer and newer versions; jobs on it, one after another."""

    def __init__(self, **options: Any) -> None:
        super().__init__(units=1, reviewers=1, threshold=1, **options)
        self.enrol()
        self.unit = self.units[0]

    def publish(self, version: int, **policy: Any) -> None:
        """The dataset's next version, under these rules; before release it may tell as much as it likes."""
        body = self.dataset_body(
            self.unit, version=version, manifest=digest(f"manifest {version}"), mock=digest(f"mock {version}"),
            policy=Policy(**{"quiet_millibits_per_developer": 2**40, **policy}),
        )  # fmt: skip
        self.put(self.sign(self.unit, "act", body))

    def dataset(self, unit: Actor) -> DatasetRecord:
        """The newest version."""
        return [d for d in self.view.all(DatasetRecord) if d.source_unit == unit.fingerprint][-1]
