"""The space's durable state in SQLite: the ledger's entries, the projection, and a few operational tables.

WAL with synchronous=FULL: a committed statement survives a power cut. The projection is disposable; what
counts are the entries (see ``rebuild`` in ledger.py).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trustspace.domain.records import RECORDS, Record
from trustspace.errors import LogCorrupted, Unavailable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, type TEXT NOT NULL, author TEXT NOT NULL,
    job TEXT NOT NULL, accepted INTEGER NOT NULL, envelope BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_job ON entries (job) WHERE job != '';
CREATE INDEX IF NOT EXISTS entries_withdrawn ON entries (type) WHERE type = 'dataset-withdrawn';
CREATE INDEX IF NOT EXISTS entries_party ON entries (author) WHERE type = 'party';
CREATE TABLE IF NOT EXISTS projection (
    kind TEXT NOT NULL, key TEXT NOT NULL, record TEXT NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (kind, key)
);
CREATE TABLE IF NOT EXISTS checkpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, note TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS cosigned (size INTEGER PRIMARY KEY, note TEXT NOT NULL, witnesses INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (digest TEXT NOT NULL, party TEXT NOT NULL, PRIMARY KEY (digest, party));
CREATE TABLE IF NOT EXISTS invitations (
    token BLOB PRIMARY KEY, name TEXT NOT NULL, roles TEXT NOT NULL, expires INTEGER NOT NULL,
    party TEXT NOT NULL DEFAULT ''
);
"""


@dataclass(frozen=True)
class StoredEntry:
    """A ledger entry as it lies on disk."""

    position: int
    digest: str
    type: str
    author: str
    job: str
    accepted: int
    envelope: bytes


@dataclass(frozen=True)
class Invitation:
    """A one-time invitation; ``party`` is the fingerprint that redeemed it, or ""."""

    name: str
    roles: tuple[str, ...]
    expires: int
    party: str


class SpaceStore:
    """SQLite behind a few plain methods. One connection a thread; one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._write = threading.RLock()
        with self.transaction() as db:
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    db.execute(statement)

    def _db(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(self._path, isolation_level=None, timeout=30.0, check_same_thread=False)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            self._local.db = db
            self._connections.append(db)
        return db

    def close(self) -> None:
        """Close every connection."""
        while self._connections:
            self._connections.pop().close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. A full disk or a locked file is Unavailable, and nothing is half-written."""
        with self._write:
            db = self._db()
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except sqlite3.Error as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise Unavailable(
                    "The space cannot write its store ({problem}).",
                    fix="Is the disk full?", problem=getattr(error, "sqlite_errorname", type(error).__name__),
                ) from error  # fmt: skip
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def write_batch(
        self, entries: Iterable[StoredEntry], records: Iterable[Record], size: int, note: str
    ) -> None:
        """Append entries, change records and replace the checkpoint in one transaction."""
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (e.position, bytes.fromhex(e.digest), e.type, e.author, e.job, e.accepted, e.envelope)
                    for e in entries
                ],
            )
            _put_records(db, records, size)
            db.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?, ?)", (size, note))

    def replace_projection(self, records: Iterable[Record]) -> None:
        """Throw the projection away and write another."""
        with self.transaction() as db:
            db.execute("DELETE FROM projection")
            _put_records(db, records, 0)

    def records(self) -> Iterator[Record]:
        """The projection, oldest first within a kind.

        Raises:
            LogCorrupted: a record cannot be read.

        """
        for (kind, _), text in self.projection().items():
            try:
                yield RECORDS[kind].model_validate_json(text)
            except (KeyError, ValueError):
                raise LogCorrupted(
                    "A record of the projection is damaged.", fix="Run `trustspace space rebuild`."
                ) from None

    def projection(self) -> dict[tuple[str, str], str]:
        """The projection as it lies on disk: JSON by kind and key."""
        rows = self._db().execute("SELECT kind, key, record FROM projection ORDER BY kind, first, rowid")
        return {(kind, key): text for kind, key, text in rows}

    def entries(self, start: int = 0, limit: int = -1) -> Iterator[StoredEntry]:
        """Entries in order from a position on."""
        rows = self._db().execute(
            "SELECT * FROM entries WHERE position >= ? ORDER BY position LIMIT ?", (start, limit)
        )
        for row in rows:
            yield _entry(row)

    def digests(self, start: int, size: int) -> Iterator[bytes]:
        """The 32-byte leaves from ``start`` up to ``size``."""
        query = "SELECT digest FROM entries WHERE position >= ? AND position < ? ORDER BY position"
        for (digest,) in self._db().execute(query, (start, size)):
            yield digest

    def find(self, digests: Iterable[str]) -> list[StoredEntry]:
        """The entries with these digests, in order; unknown ones are left out."""
        found = []
        for digest in digests:
            row = self._db().execute("SELECT * FROM entries WHERE digest = ?", (_raw(digest),)).fetchone()
            if row:
                found.append(_entry(row))
        return sorted(found, key=lambda entry: entry.position)

    def of_job(self, job: str) -> list[StoredEntry]:
        """All entries of a job, in order."""
        return [
            _entry(r)
            for r in self._db().execute("SELECT * FROM entries WHERE job = ? ORDER BY position", (job,))
        ]

    def of_type(self, statement_type: str) -> list[StoredEntry]:
        """All entries of a type, in order."""
        rows = self._db().execute("SELECT * FROM entries WHERE type = ? ORDER BY position", (statement_type,))
        return [_entry(row) for row in rows]

    def of_parties(self, parties: Iterable[str]) -> list[StoredEntry]:
        """All descriptions of these parties, in order."""
        found: list[StoredEntry] = []
        for party in sorted(set(parties)):
            rows = self._db().execute("SELECT * FROM entries WHERE type = 'party' AND author = ?", (party,))
            found.extend(_entry(row) for row in rows)
        return sorted(found, key=lambda entry: entry.position)

    def checkpoint(self) -> tuple[int, str] | None:
        """Size and note of the newest checkpoint."""
        row = self._db().execute("SELECT size, note FROM checkpoint").fetchone()
        return (int(row[0]), str(row[1])) if row else None

    def put_cosigned(self, size: int, note: str, count: int) -> None:
        """Keep a checkpoint with its witnesses' lines, so many of them."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?)", (size, note, count))
            keep = "SELECT size FROM cosigned ORDER BY size DESC LIMIT 256"
            db.execute(f"DELETE FROM cosigned WHERE size NOT IN ({keep})")  # noqa: S608 - a constant

    def cosigned(self, *, size: int | None = None, at_least: int = 1) -> tuple[int, str] | None:
        """The cosigned checkpoint of this size, or the newest with at least so many cosignatures."""
        if size is None:
            query = "SELECT size, note FROM cosigned WHERE witnesses >= ? ORDER BY size DESC LIMIT 1"
            row = self._db().execute(query, (at_least,)).fetchone()
        else:
            row = self._db().execute("SELECT size, note FROM cosigned WHERE size = ?", (size,)).fetchone()
        return (int(row[0]), str(row[1])) if row else None

    def note_upload(self, digest: str, party: str) -> None:
        """Remember that this party has shown the bytes behind a digest."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO uploads VALUES (?, ?)", (digest, party))

    def has_uploaded(self, digest: str, party: str) -> bool:
        """Whether this party has shown the bytes behind a digest."""
        query = "SELECT 1 FROM uploads WHERE digest = ? AND party = ?"
        return self._db().execute(query, (digest, party)).fetchone() is not None

    def add_invitation(self, token_hash: bytes, invitation: Invitation) -> None:
        """Remember an invitation by the hash of its token."""
        with self.transaction() as db:
            roles = " ".join(invitation.roles)
            db.execute(
                "INSERT INTO invitations (token, name, roles, expires) VALUES (?, ?, ?, ?)",
                (token_hash, invitation.name, roles, invitation.expires),
            )

    def invitation(self, token_hash: bytes) -> Invitation | None:
        """The invitation with this token, used or not."""
        row = (
            self._db()
            .execute("SELECT name, roles, expires, party FROM invitations WHERE token = ?", (token_hash,))
            .fetchone()
        )
        return Invitation(row[0], tuple(row[1].split()), int(row[2]), row[3]) if row else None

    def redeem(self, token_hash: bytes, party: str) -> bool:
        """Use an invitation up; only the first party that does finds that it may."""
        with self.transaction() as db:
            query = "UPDATE invitations SET party = ? WHERE token = ? AND party IN ('', ?)"
            return db.execute(query, (party, token_hash, party)).rowcount == 1


def _raw(digest: str) -> bytes:
    """A digest as it is stored; of what is none, nothing that is."""
    try:
        return bytes.fromhex(digest)
    except ValueError:
        return b""


def _put_records(db: sqlite3.Connection, records: Iterable[Record], first: int) -> None:
    db.executemany(
        "INSERT INTO projection VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
        [(r.kind, r.key, r.model_dump_json(), first) for r in records],
    )


def _entry(row: tuple[int, bytes, str, str, str, int, bytes]) -> StoredEntry:
    if len(row) != 7:
        raise LogCorrupted("The space's store has another layout than this version writes.")
    return StoredEntry(row[0], row[1].hex(), row[2], row[3], row[4], row[5], row[6])
