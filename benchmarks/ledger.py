"""The ledger and what stands on it: appends, proofs, reviews and releases a second, beside their limits.

    python -m benchmarks.ledger [--json FILE] [--turns 5] [--leaves 100000]

The space runs in this process, without gRPC, with its SQLite on the disk that is measured (WAL,
synchronous=FULL). Beside it, in the same turns: fsync alone, SQLite's own commits of rows of the same size,
Ed25519 verification alone and SHA-256 alone, which nothing built on them can beat.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.cast import REVIEWER, Cast
from benchmarks.common import Ratio, Result, Row, arguments, finish, take_turns, timed, workspace
from trustspace.client import releases, review
from trustspace.domain import certificate as certificates
from trustspace.domain.permissions import signing_key
from trustspace.domain.statements import Statement, parse
from trustspace.ledger.merkle import MerkleTree, leaf_hash, verify_consistency, verify_inclusion

SUBMITTERS = 64
BATCH = 256
NOTES = (
    "Figures are rates: a ratio above 1 means that the first does more in a second than the second.",
    "A receipt is a proof of inclusion and its signed checkpoint, made after the statement is durable.",
    "A release is two statements, the reviewer's decision and the space's note, each durable before the next.",
    (
        "A whole review is one person's client: it proves and replays the job's statements, opens the evidence, opens "
        "its shares and seals them to the buyer, and remembers the ledger durably at every step."
    ),
)


class Supply:
    """Prepared things, each used once."""

    def __init__(self, things: Sequence[Any]) -> None:
        self._things = iter(things)

    def take(self, count: int) -> list[Any]:
        """The next ``count``."""
        return [next(self._things) for _ in range(count)]


def each_second(count: int, action: Callable[[], object]) -> float:
    """How often a second something happens that happens ``count`` times in ``action``."""
    return count / timed(action)


def one_by_one(things: Sequence[Any], action: Callable[[Any], object]) -> float:
    """Actions a second, one after another."""
    return each_second(len(things), lambda: [action(thing) for thing in things])


def at_once(things: Sequence[Any], action: Callable[[Any], object], threads: int = SUBMITTERS) -> float:
    """Actions a second by many threads."""
    with ThreadPoolExecutor(threads) as pool:
        # All threads exist before the clock starts.
        list(pool.map(lambda _: None, range(threads)))
        return each_second(len(things), lambda: list(pool.map(action, things)))


def fsyncs(work: Path, size: int, count: int) -> float:
    """Appends of ``size`` bytes a second, each made durable by fsync."""
    block = os.urandom(size)
    with (work / "fsync").open("wb", buffering=0) as file:

        def work_() -> None:
            for _ in range(count):
                file.write(block)
                os.fsync(file.fileno())

        return each_second(count, work_)


def commits(work: Path, size: int, count: int, batch: int) -> float:
    """Rows of ``size`` bytes a second into SQLite as the space's store is set, ``batch`` to a transaction."""
    db = sqlite3.connect(work / "raw.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(
        "CREATE TABLE IF NOT EXISTS entries (position INTEGER PRIMARY KEY, digest BLOB UNIQUE, envelope BLOB)"
    )
    rows = [(os.urandom(32), os.urandom(size)) for _ in range(count)]

    def work_() -> None:
        for start in range(0, count, batch):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO entries (digest, envelope) VALUES (?, ?)", rows[start : start + batch]
            )
            db.execute("COMMIT")

    try:
        return each_second(count, work_)
    finally:
        db.close()


def appends(cast: Cast, work: Path, result: Result, turns: int, scale: float) -> None:
    """Durable appends, one at a time and by many submitters."""
    single, many = max(2, int(100 * scale)), max(4, int(1280 * scale))
    supply = Supply(cast.jobs(2 * turns * (single + many)))
    (sample,) = cast.jobs(1)
    size = len(sample.envelope.to_bytes())
    caller = cast.caller(cast.developer)

    def submit(statement: Statement) -> None:
        cast.space.submit(caller, statement.envelope.to_bytes(), 0)

    cases: dict[str, Callable[[], float]] = {
        "fsync alone": lambda: fsyncs(work, size, single),
        "SQLite alone, a commit each": lambda: commits(work, size, single, 1),
        f"SQLite alone, {BATCH} to a commit": lambda: commits(work, size, many, BATCH),
        "ledger append, one at a time": lambda: one_by_one(supply.take(single), cast.ledger.submit),
        f"ledger append, {SUBMITTERS} at once": lambda: at_once(supply.take(many), cast.ledger.submit),
        "submit with receipt, one at a time": lambda: one_by_one(supply.take(single), submit),
        f"submit with receipt, {SUBMITTERS} at once": lambda: at_once(supply.take(many), submit),
    }
    measured = take_turns(cases, turns)
    add(result, measured, "a second")
    compare(result, measured, "ledger append, one at a time", "SQLite alone, a commit each")
    compare(result, measured, f"ledger append, {SUBMITTERS} at once", "ledger append, one at a time")
    compare(result, measured, f"ledger append, {SUBMITTERS} at once", f"SQLite alone, {BATCH} to a commit")
    result.facts["bytes of a job statement"] = size


def proofs(cast: Cast, result: Result, turns: int, leaves: int, scale: float) -> None:
    """Proofs and verifications, of a tree as long as a busy ledger."""
    tree, count = MerkleTree(), max(4, int(1000 * scale))
    entries = [os.urandom(32) for _ in range(leaves)]
    for entry in entries:
        tree.append(entry)
    root, half = tree.root(), leaves // 2
    half_root = tree.root(half)
    indices = [int.from_bytes(os.urandom(4)) % leaves for _ in range(count)]
    inclusion = [(leaf_hash(entries[i]), i, tree.inclusion_proof(i, leaves)) for i in indices]
    sizes = [1 + i % (leaves - 1) for i in indices]
    consistency = tree.consistency_proof(half, leaves)
    depth = len(inclusion[0][2])
    block = os.urandom(65)
    key = Ed25519PrivateKey.generate()
    public, message = key.public_key(), os.urandom(1000)
    signature = key.sign(message)
    statements = [s.envelope.to_bytes() for s in cast.jobs(max(2, count // 10))]
    developer = cast.developer.party

    def hash_path(_: object) -> None:
        for _ in range(depth + 1):
            hashlib.sha256(block).digest()

    cases: dict[str, Callable[[], float]] = {
        "inclusion proof made": lambda: one_by_one(indices, lambda i: tree.inclusion_proof(i, leaves)),
        "inclusion proof verified": lambda: one_by_one(
            inclusion, lambda p: verify_inclusion(p[0], p[1], leaves, p[2], root)
        ),
        "SHA-256 alone, as often as that": lambda: one_by_one(indices, hash_path),
        "consistency proof made": lambda: one_by_one(
            sizes, lambda size: tree.consistency_proof(size, leaves)
        ),
        "consistency proof verified": lambda: one_by_one(
            indices, lambda _: verify_consistency(half, half_root, leaves, root, consistency)
        ),
        "statement parsed and verified": lambda: one_by_one(
            statements, lambda envelope: signing_key(developer, parse(envelope))
        ),
        "Ed25519 verification alone": lambda: one_by_one(
            indices, lambda _: public.verify(signature, message)
        ),
    }
    measured = take_turns(cases, turns)
    add(result, measured, "a second")
    compare(result, measured, "inclusion proof verified", "SHA-256 alone, as often as that")
    compare(result, measured, "statement parsed and verified", "Ed25519 verification alone")


def reviews(cast: Cast, result: Result, turns: int, scale: float) -> None:
    """From an output in review to an approved, released and fetched one."""
    few, many = max(2, int(8 * scale)), max(4, int(64 * scale))
    waiting = Supply(cast.in_review(turns * (2 * few + many)))
    caller, approved = cast.caller(cast.unit), []

    def decide(job: str) -> bytes:
        """What the reviewer's client signs, made beforehand: only the space's part is timed."""
        case = review.open_case(cast.unit, job, REVIEWER)
        kept: list[Statement] = []
        # The client's own code with the last step, sending, held back.
        session = cast.unit.session
        append, session.append = session.append, kept.append  # type: ignore[method-assign,assignment]
        try:
            review.approve(cast.unit, case)
        finally:
            session.append = append  # type: ignore[method-assign]
        return kept[0].envelope.to_bytes()

    def take_in(envelope: bytes) -> None:
        cast.space.submit(caller, envelope, 0)

    def whole_review(job: str) -> None:
        review.approve(cast.unit, review.open_case(cast.unit, job, REVIEWER))
        approved.append(job)

    prepared = Supply([decide(job) for job in waiting.take(turns * (few + many))])
    kept_certificates: list[Any] = []

    def fetch(job: str) -> None:
        kept_certificates.append(releases.fetch(cast.buyer, job)[1])

    trust = cast.buyer.trust()
    cases: dict[str, Callable[[], float]] = {
        "review whole: prove, open, decide, release": lambda: one_by_one(waiting.take(few), whole_review),
        "decision and release in the space, one at a time": lambda: one_by_one(prepared.take(few), take_in),
        f"decision and release in the space, {SUBMITTERS} at once": lambda: at_once(
            prepared.take(many), take_in
        ),
        "release fetched, opened, receipted, certified": lambda: one_by_one(
            list(released(approved, few)), fetch
        ),
        "certificate verified offline": lambda: one_by_one(
            kept_certificates[-few:], lambda certificate: certificates.verify(certificate, trust)
        ),
    }
    # Fetching needs what reviewing left, so every turn has the same order.
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(turns):
        for name, values in take_turns(cases, 1).items():
            measured[name] += values
    add(result, measured, "a second")
    compare(
        result, measured, f"decision and release in the space, {SUBMITTERS} at once",
        "decision and release in the space, one at a time",
    )  # fmt: skip
    result.facts["statements in a certificate"] = len(kept_certificates[0].statements)
    result.facts["statements in the ledger at the end"] = cast.ledger.standing().size


def released(approved: list[str], count: int) -> Iterator[str]:
    """The newest approved jobs, each once."""
    for _ in range(count):
        yield approved.pop()


def add(result: Result, measured: dict[str, list[float]], unit: str) -> None:
    """One row for each case."""
    result.rows += [Row.of(name, unit, values) for name, values in measured.items()]


def compare(result: Result, measured: dict[str, list[float]], name: str, over: str) -> None:
    """How many times as many of the one as of the other."""
    result.ratios.append(Ratio.between(name, over, measured))


def main() -> None:
    """Run the benchmark."""
    parser = arguments("Ledger appends, proofs, reviews and releases a second.", turns=5)
    parser.add_argument(
        "--leaves", type=int, default=100_000, help="length of the tree that is proven (100000)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how much of everything in each turn (1)")
    given = parser.parse_args()
    with workspace(given.work) as work:
        result = Result("ledger", {"turns": given.turns, "leaves": given.leaves, "scale": given.scale})
        cast = Cast(work)
        try:
            # Reviews first: appends fill the ledger with jobs that nobody reviews.
            reviews(cast, result, given.turns, given.scale)
            appends(cast, work, result, given.turns, given.scale)
            proofs(cast, result, given.turns, given.leaves, given.scale)
        finally:
            cast.close()
        result.notes += NOTES
        finish(result, work, given.json)


if __name__ == "__main__":
    main()
