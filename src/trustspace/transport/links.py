"""Typed links to the two servers: plain Python values in and out, one deadline rule, one error mapping."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import grpc

from trustspace.api.v1 import enclave_pb2, enclave_pb2_grpc, space_pb2, space_pb2_grpc
from trustspace.errors import BudgetExhausted, InvalidInput, VerificationFailed
from trustspace.transport.channel import CALL_SECONDS, STREAM_SECONDS
from trustspace.transport.errors import call, to_error

BLOB_CHUNK_BYTES = 1 << 20
WAIT_SECONDS = 20.0
# An enclave that hangs must not keep a refusal from the space.
STOP_SECONDS = 5.0
# More than this of a list is not for people any more, and would be for this process's memory.
MAX_VIEW_BYTES = 256 << 20


@dataclass(frozen=True)
class Receipt:
    """Where a statement stands: its index, its inclusion in a checkpoint (signed note text), and that
    checkpoint's consistency with the one that the caller knew.
    """

    index: int
    checkpoint: str
    inclusion: tuple[bytes, ...]
    consistency: tuple[bytes, ...]


@dataclass(frozen=True)
class Entry:
    """A ledger entry with its envelope; ``inclusion`` is empty when it was only read, not proven."""

    index: int
    envelope: bytes
    inclusion: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What to prove: a statement by ``digest``, all of a ``job``, or a ``party``'s descriptions."""

    kind: Literal["digest", "job", "party"]
    key: str


@dataclass(frozen=True)
class Proof:
    """Proven entries, the checkpoint (signed note text) they are proven in, and its consistency."""

    entries: tuple[Entry, ...]
    checkpoint: str
    consistency: tuple[bytes, ...]


def receipt_from(message: space_pb2.Receipt) -> Receipt:
    """A receipt as a value."""
    return Receipt(message.index, message.checkpoint, tuple(message.inclusion), tuple(message.consistency))


class EnrolmentLink:
    """The door for somebody who has only an invitation."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = space_pb2_grpc.EnrolmentStub(channel)

    def enrol(self, token: str, csr_pem: bytes, party_statement: bytes) -> tuple[bytes, Receipt]:
        """Redeem an invitation; returns the transport certificate (PEM) and the ledger's receipt."""
        request = space_pb2.EnrolRequest(token=token, csr_pem=csr_pem, party_statement=party_statement)
        reply = call(self._stub.Enrol, request, timeout=CALL_SECONDS)
        return reply.certificate_pem, receipt_from(reply.receipt)


class SpaceLink:
    """The space as one party sees it. What it answers is to be verified: see session.py."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = space_pb2_grpc.SpaceStub(channel)

    def submit(self, envelope: bytes, known_size: int = 0) -> Receipt:
        """Append a statement; the same bytes again answer with the same receipt."""
        request = space_pb2.SubmitRequest(envelope=envelope, known_size=known_size)
        return receipt_from(call(self._stub.Submit, request, timeout=CALL_SECONDS))

    def read(self, after: int, limit: int, wait_seconds: float) -> tuple[list[Entry], int]:
        """Entries from position ``after`` on, and the position to continue from."""
        wait = min(wait_seconds, WAIT_SECONDS)
        request = space_pb2.ReadRequest(after=after, limit=limit, wait_milliseconds=int(wait * 1000))
        reply = call(self._stub.Read, request, timeout=CALL_SECONDS + wait)
        return [Entry(e.index, e.envelope) for e in reply.entries], reply.position

    def prove(self, what: Subject, known_size: int = 0, *, cosigned_by: int = 0) -> Proof:
        """Statements about a subject, oldest first, with inclusion proofs against one checkpoint."""
        request = space_pb2.ProveRequest(
            **{what.kind: what.key}, known_size=known_size, cosigned_by=cosigned_by
        )
        reply = call(self._stub.Prove, request, timeout=CALL_SECONDS)
        entries = tuple(Entry(e.index, e.envelope, tuple(e.inclusion)) for e in reply.entries)
        return Proof(entries, reply.checkpoint, tuple(reply.consistency))

    def checkpoint(self, known_size: int) -> tuple[str, tuple[bytes, ...]]:
        """The newest checkpoint and its consistency with one of ``known_size``."""
        reply = call(
            self._stub.GetCheckpoint, space_pb2.CheckpointRequest(known_size=known_size), timeout=CALL_SECONDS
        )
        return reply.checkpoint, tuple(reply.consistency)

    def leaves(self, start: int, size: int) -> Iterator[bytes]:
        """The ledger's entries (32-byte statement digests) from ``start`` up to ``size``."""
        request = space_pb2.LeavesRequest(**{"from": start, "size": size})
        for reply in _stream(self._stub.Leaves(request, timeout=STREAM_SECONDS)):
            yield from reply.entries

    def add_cosignature(self, size: int, line: str) -> None:
        """Hand in a witness's cosignature of the checkpoint of this size."""
        request = space_pb2.CosignatureRequest(size=size, line=line)
        call(self._stub.AddCosignature, request, timeout=CALL_SECONDS)

    def view(self, kind: str, key: str = "") -> list[Any]:
        """Derived state as JSON values, page by page: ``datasets``, ``jobs``, ``work``, ``job``, ``parties``."""
        items: list[Any] = []
        after = taken = 0
        while True:
            request = space_pb2.ViewRequest(kind=kind, key=key, after=after)
            reply = call(self._stub.View, request, timeout=CALL_SECONDS)
            taken += len(reply.json)
            if taken > MAX_VIEW_BYTES:
                raise BudgetExhausted("A message is larger than {limit} bytes.", limit=MAX_VIEW_BYTES)
            page = _parsed(reply.json)
            if not isinstance(page, list):
                raise VerificationFailed("The server's answer is not of the form that was asked for.")
            items.extend(page)
            if reply.next <= after or not page:
                return items
            after = reply.next

    def put_blob(self, content: bytes | BinaryIO, digest: str, total_bytes: int) -> None:
        """Store a blob under its SHA-256."""

        def chunks() -> Iterator[space_pb2.BlobChunk]:
            yield space_pb2.BlobChunk(digest=digest, total_bytes=total_bytes)
            for piece in _pieces(content):
                yield space_pb2.BlobChunk(data=piece)

        call(self._stub.PutBlob, chunks(), timeout=STREAM_SECONDS)

    def get_blob(self, digest: str, max_bytes: int, write: Callable[[bytes], object]) -> int:
        """Fetch a blob into ``write``, checking size and digest; returns its size.

        Raises:
            VerificationFailed: the bytes are not those of the digest. What was written is then worthless.

        """
        total, hashed = 0, hashlib.sha256()
        for chunk in _stream(
            self._stub.GetBlob(space_pb2.BlobRequest(digest=digest), timeout=STREAM_SECONDS)
        ):
            total += len(chunk.data)
            if total > max_bytes:
                raise VerificationFailed("The space sends more bytes than the statement says.")
            hashed.update(chunk.data)
            write(chunk.data)
        if hashed.hexdigest() != digest:
            raise VerificationFailed("What the space sends is not what the statement names.")
        return total

    def fetch(self, digest: str, max_bytes: int) -> bytes:
        """A small blob as bytes."""
        content = bytearray()
        self.get_blob(digest, max_bytes, content.extend)
        return bytes(content)

    def enrol_machine(self, csr_pem: bytes, key: str) -> bytes:
        """Certify the transport key of an enclave or a reviewer's home of the calling party; returns PEM."""
        request = space_pb2.EnrolMachineRequest(csr_pem=csr_pem, key=key)
        certificate: bytes = call(self._stub.EnrolMachine, request, timeout=CALL_SECONDS).certificate_pem
        return certificate


@dataclass(frozen=True)
class UploadStatus:
    """How far an upload is: bytes that survive a crash, and whether it is kept for good."""

    upload: str
    durable_bytes: int
    complete: bool


class EnclaveLink:
    """A source unit's link to its own enclave."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = enclave_pb2_grpc.EnclaveStub(channel)

    def begin_upload(self, envelope: bytes) -> UploadStatus:
        """Open or resume the upload that a signed manifest describes."""
        return _status(
            call(
                self._stub.BeginUpload,
                enclave_pb2.BeginUploadRequest(envelope=envelope),
                timeout=CALL_SECONDS,
            )
        )

    def upload(self, upload: str, offset: int, pieces: Iterable[bytes]) -> Iterator[UploadStatus]:
        """Send sealed bytes from ``offset`` on; yields each acknowledgement."""

        def chunks() -> Iterator[enclave_pb2.UploadChunk]:
            yield enclave_pb2.UploadChunk(upload=upload, offset=offset)
            for piece in pieces:
                yield enclave_pb2.UploadChunk(data=piece)

        for reply in _stream(self._stub.Upload(chunks(), timeout=STREAM_SECONDS)):
            yield _status(reply)

    def commit_upload(self, upload: str) -> UploadStatus:
        """Ask the enclave to verify and keep what was uploaded."""
        return _status(
            call(self._stub.CommitUpload, enclave_pb2.UploadRequest(upload=upload), timeout=STREAM_SECONDS)
        )

    def abort_upload(self, upload: str) -> UploadStatus:
        """Discard an unfinished upload."""
        return _status(
            call(self._stub.AbortUpload, enclave_pb2.UploadRequest(upload=upload), timeout=CALL_SECONDS)
        )

    def withdraw(self, envelope: bytes) -> None:
        """Delete the ciphertext of a dataset that the statement withdraws."""
        call(self._stub.Withdraw, enclave_pb2.WithdrawRequest(envelope=envelope), timeout=CALL_SECONDS)

    def stop(self, envelope: bytes) -> None:
        """End the run of the job that the statement refuses."""
        call(self._stub.Stop, enclave_pb2.StopRequest(envelope=envelope), timeout=STOP_SECONDS)

    def status(self) -> Any:
        """What the enclave holds and what its host can isolate, as JSON values."""
        return _parsed(call(self._stub.Status, enclave_pb2.StatusRequest(), timeout=CALL_SECONDS).json)


def _parsed(text: str | bytes) -> Any:
    """The JSON of an answer; whoever sent it may lie. Raises VerificationFailed when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise VerificationFailed("The server's answer is not of the form that was asked for.") from None


def _status(message: enclave_pb2.UploadStatus) -> UploadStatus:
    return UploadStatus(message.upload, message.durable_bytes, message.complete)


def _pieces(content: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(content, bytes):
        view = memoryview(content)
        for start in range(0, len(view), BLOB_CHUNK_BYTES):
            yield bytes(view[start : start + BLOB_CHUNK_BYTES])
        return
    if not hasattr(content, "read"):
        raise InvalidInput("A blob is bytes or a file.")
    while piece := content.read(BLOB_CHUNK_BYTES):
        yield piece


def _stream(replies: Iterable[Any]) -> Iterator[Any]:
    try:
        yield from replies
    except grpc.RpcError as error:
        raise to_error(error) from None
