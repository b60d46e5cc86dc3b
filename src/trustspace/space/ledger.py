"""The one writer: every change to the space's state is a statement that passes through here.

Statements wait in a queue; the writer takes what is there, judges each against the state that those before
it leave, appends all in one durable transaction, and only then answers. A statement that may not stand
leaves no trace; a failed write leaves the state before the batch.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from trustspace.domain.records import BlobRecord, Record
from trustspace.domain.replay import MemoryView
from trustspace.domain.rules import apply
from trustspace.domain.rules_common import job_of
from trustspace.domain.statements import Statement, parse
from trustspace.errors import InvalidInput, LogCorrupted, TrustspaceError, Unavailable, VerificationFailed
from trustspace.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from trustspace.ledger.merkle import MerkleTree
from trustspace.ledger.note import NoteKey
from trustspace.space.store import SpaceStore, StoredEntry

BATCH = 256
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LedgerKey:
    """The space's checkpoint signing key: origin, raw public key, and how to sign with it."""

    origin: str
    public: bytes
    sign: Callable[[bytes], bytes]

    @property
    def verifier(self) -> str:
        """The key as clients pin it (C2SP vkey)."""
        return NoteKey(self.origin, self.public).encode()


@dataclass(frozen=True)
class Standing:
    """A moment of the ledger: its size and signed checkpoint."""

    size: int
    note: str


class Ledger:
    """The log, its projection in memory, and the thread that alone writes both."""

    def __init__(
        self,
        store: SpaceStore,
        key: LedgerKey,
        has_blob: Callable[[str, str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._key = key
        self._has_blob = has_blob
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[Statement, Future[int]] | None] = queue.SimpleQueue()
        self._grown = threading.Condition()
        self._closing = self._broken = False
        self._tree, self.view, self._standing = self._load()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def _load(self) -> tuple[MerkleTree, MemoryView, Standing]:
        tree = MerkleTree()
        for digest in self.store.digests(0, 2**62):
            tree.append(digest)
        view = MemoryView()
        view.install(self.store.records())
        kept = self.store.checkpoint()
        if not _is_signed(kept, tree, self._key):
            raise LogCorrupted(
                "The ledger on disk does not match its last signed checkpoint.",
                fix="Restore it from a backup.",
            )
        return tree, view, Standing(*kept) if kept else Standing(0, self._sign(tree))

    def _sign(self, tree: MerkleTree) -> str:
        checkpoint = Checkpoint(self._key.origin, tree.size, tree.root())
        return sign_checkpoint(checkpoint, self._key.origin, self._key.public, self._key.sign)

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._key.origin

    @property
    def verifier(self) -> str:
        """The log's verification key, as clients pin it."""
        return self._key.verifier

    def wake(self) -> None:
        """Let everybody who waits for the log to grow go home: the space is closing."""
        with self._grown:
            self._closing = True
            self._grown.notify_all()

    def close(self) -> None:
        """Finish what is queued and stop the writer."""
        self.wake()
        self._queue.put(None)
        self._thread.join()

    def submit(self, statement: Statement) -> int:
        """Append a statement, durably, and return its index; one that stands already keeps its index.

        Raises:
            TrustspaceError: it may not stand, or cannot be written; nothing has changed then.

        """
        future: Future[int] = Future()
        self._queue.put((statement, future))
        return future.result()

    def index(self, digest: str) -> int:
        """Where a statement stands that does."""
        return self.store.find([digest])[0].position

    def standing(self) -> Standing:
        """The newest size and checkpoint."""
        return self._standing

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Proof that the entry is in the log of this size."""
        with self._grown:
            return tuple(self._tree.inclusion_proof(index, size))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Proof that the log of the new size continues that of the old."""
        if not 0 <= old <= new:
            raise LogCorrupted(
                "The caller has verified a ledger of {size} statements, and the space has fewer.",
                fix="Was the space restored from an old backup?", size=old,
            )  # fmt: skip
        with self._grown:
            return tuple(self._tree.consistency_proof(old, new)) if old else ()

    def root(self, size: int) -> bytes:
        """The root hash at a size."""
        with self._grown:
            return self._tree.root(size)

    def wait_beyond(self, position: int, seconds: float) -> int:
        """Wait until the log is longer than ``position``, at most so long; returns its size."""
        with self._grown:
            self._grown.wait_for(lambda: self._closing or self._standing.size > position, timeout=seconds)
            return self._standing.size

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch, stop = [first], False
            while len(batch) < BATCH and not stop:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stop = True
                else:
                    batch.append(following)
            try:
                self._write(batch)
            except Exception as error:  # whatever it is, the callers must hear of it and the writer go on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(_public(error))
            if stop:
                return

    def _write(self, batch: list[tuple[Statement, Future[int]]]) -> None:
        layer = MemoryView(self.view)
        accepted: list[tuple[StoredEntry, Future[int]]] = []
        repeated: list[tuple[str, Future[int]]] = []
        appended: set[str] = set()
        now, size = int(self._clock()), self._standing.size
        for statement, future in batch:
            if statement.digest in appended or self.store.find([statement.digest]):
                repeated.append((statement.digest, future))
                continue
            try:
                changes = apply(layer, statement, now)
                self._check_blobs(statement.by, changes)
            except Exception as error:
                if not isinstance(error, TrustspaceError):
                    _LOG.error("judging a statement failed", exc_info=error)
                future.set_exception(_public(error))
                continue
            layer.install(changes)
            entry = StoredEntry(
                size + len(accepted), statement.digest, statement.type, statement.by, job_of(statement), now,
                statement.envelope.to_bytes(),
            )  # fmt: skip
            accepted.append((entry, future))
            appended.add(statement.digest)
        if accepted:
            self._commit([entry for entry, _ in accepted], layer)
        for entry, future in accepted:
            future.set_result(entry.position)
        for digest, future in repeated:
            future.set_result(self.store.find([digest])[0].position)

    def _check_blobs(self, author: str, changes: Iterable[Record]) -> None:
        for record in changes:
            if isinstance(record, BlobRecord) and not self._has_blob(record.digest, author):
                raise InvalidInput(
                    "The statement refers to a blob that was not uploaded.", fix="Upload it first."
                )

    def _commit(self, entries: list[StoredEntry], layer: MemoryView) -> None:
        # The tree grows under the lock that proofs take; if the disk refuses, it is read back from there.
        with self._grown:
            if self._broken:
                raise Unavailable(
                    "The ledger could not be read back after a failure.", fix="Restart the space."
                )
            try:
                for entry in entries:
                    self._tree.append(bytes.fromhex(entry.digest))
                note = self._sign(self._tree)
                self.store.write_batch(entries, layer.installed(), self._tree.size, note)
            except BaseException:
                # Until the tree is what the disk holds again, nothing may be signed over it.
                self._broken = True
                tree = MerkleTree()
                for digest in self.store.digests(0, 2**62):
                    tree.append(digest)
                self._tree, self._broken = tree, False
                raise
            self.view.install(layer.installed())
            self._standing = Standing(self._tree.size, note)
            self._grown.notify_all()


def _public(error: Exception) -> Exception:
    return error if isinstance(error, TrustspaceError) else Unavailable("The ledger cannot be written now.")


def _is_signed(kept: tuple[int, str] | None, tree: MerkleTree, key: LedgerKey) -> bool:
    """Whether the checkpoint on disk is this tree's; an empty ledger may have none yet."""
    if kept is None:
        return tree.size == 0
    try:
        checkpoint = open_checkpoint(kept[1], key.verifier)
    except VerificationFailed:
        return False
    return (kept[0], checkpoint.size, checkpoint.root) == (tree.size, tree.size, tree.root())


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found: statements folded, records written, and how many of them had differed."""

    statements: int
    records: int
    differing: int


def rebuild(store: SpaceStore, key: LedgerKey) -> Rebuilt:
    """Fold the whole ledger again and replace the projection by what comes out.

    Raises:
        LogCorrupted: the entries do not hash to the last signed checkpoint, or one could not have stood.

    """
    tree, view, count = MerkleTree(), MemoryView(), 0
    for entry in store.entries():
        try:
            statement = parse(entry.envelope)
            written = (statement.digest, statement.type, statement.by, job_of(statement), count)
            if written != (entry.digest, entry.type, entry.author, entry.job, entry.position):
                raise LogCorrupted("It is not the statement that was appended there.")
            view.install(apply(view, statement, entry.accepted))
        except TrustspaceError as error:
            raise LogCorrupted(
                "Entry {position} of the ledger is damaged, or could not have stood.",
                fix="Restore from a backup.", position=entry.position,
            ) from error  # fmt: skip
        tree.append(bytes.fromhex(entry.digest))
        count += 1
    if not _is_signed(store.checkpoint(), tree, key):
        raise LogCorrupted(
            "The entries do not hash to the last signed checkpoint.", fix="Restore from a backup."
        )
    before = store.projection()
    after = {(r.kind, r.key): r.model_dump_json() for r in view.installed()}
    differing = sum(before.get(name) != text for name, text in after.items()) + len(
        before.keys() - after.keys()
    )
    store.replace_projection(view.installed())
    return Rebuilt(count, len(after), differing)
