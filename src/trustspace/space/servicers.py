"""gRPC servicers: convert, call, convert. Errors are mapped by the interceptor alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import grpc

from trustspace.api.v1 import rounds_pb2, rounds_pb2_grpc, space_pb2, space_pb2_grpc
from trustspace.errors import InvalidInput, Unauthenticated
from trustspace.space.relay import Relay
from trustspace.space.service import Space
from trustspace.transport.links import Receipt, Subject
from trustspace.transport.rounds import Place, phase_of
from trustspace.transport.tls import Caller, caller_of

ENROLMENT = "trustspace.v1.Enrolment"
SPACE = "trustspace.v1.Space"
ROUNDS = "trustspace.v1.Rounds"
MAX_WAIT_SECONDS = 20.0


def caller(context: grpc.ServicerContext) -> Caller:
    """Who TLS says is calling."""
    certificate = context.auth_context().get("x509_pem_cert")
    if not certificate:
        raise Unauthenticated("The connection carries no client certificate.")
    return caller_of(certificate[0])


def _receipt(receipt: Receipt) -> space_pb2.Receipt:
    return space_pb2.Receipt(
        index=receipt.index,
        checkpoint=receipt.checkpoint,
        inclusion=receipt.inclusion,
        consistency=receipt.consistency,
    )


class EnrolmentServicer(space_pb2_grpc.EnrolmentServicer):
    """The door for invitations."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def Enrol(self, request: space_pb2.EnrolRequest, context: grpc.ServicerContext) -> space_pb2.EnrolReply:  # noqa: N802
        certificate, receipt = self._space.enrol(request.token, request.csr_pem, request.party_statement)
        return space_pb2.EnrolReply(certificate_pem=certificate, receipt=_receipt(receipt))


class SpaceServicer(space_pb2_grpc.SpaceServicer):
    """The space for enrolled parties and their enclaves."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def Submit(self, request: space_pb2.SubmitRequest, context: grpc.ServicerContext) -> space_pb2.Receipt:  # noqa: N802
        return _receipt(self._space.submit(caller(context), request.envelope, request.known_size))

    def Read(self, request: space_pb2.ReadRequest, context: grpc.ServicerContext) -> space_pb2.ReadReply:  # noqa: N802
        wait = min(request.wait_milliseconds, 20_000) / 1000
        entries, position = self._space.read(caller(context), request.after, request.limit, wait)
        messages = [space_pb2.Entry(index=e.index, envelope=e.envelope) for e in entries]
        return space_pb2.ReadReply(entries=messages, position=position)

    def Prove(self, request: space_pb2.ProveRequest, context: grpc.ServicerContext) -> space_pb2.ProveReply:  # noqa: N802
        kind = request.WhichOneof("what")
        if kind is None:
            raise InvalidInput("The request does not say what to prove.")
        proof = self._space.prove(
            caller(context),
            Subject(kind, getattr(request, kind)),
            request.known_size,
            cosigned_by=request.cosigned_by,
        )
        messages = [
            space_pb2.Entry(index=e.index, envelope=e.envelope, inclusion=e.inclusion) for e in proof.entries
        ]
        return space_pb2.ProveReply(
            entries=messages, checkpoint=proof.checkpoint, consistency=proof.consistency
        )

    def GetCheckpoint(  # noqa: N802
        self, request: space_pb2.CheckpointRequest, context: grpc.ServicerContext
    ) -> space_pb2.CheckpointReply:
        note, consistency = self._space.checkpoint(caller(context), request.known_size)
        return space_pb2.CheckpointReply(checkpoint=note, consistency=consistency)

    def Leaves(  # noqa: N802
        self, request: space_pb2.LeavesRequest, context: grpc.ServicerContext
    ) -> Iterator[space_pb2.LeavesReply]:
        for batch in self._space.leaves(caller(context), getattr(request, "from"), request.size):
            yield space_pb2.LeavesReply(entries=batch)

    def AddCosignature(  # noqa: N802
        self, request: space_pb2.CosignatureRequest, context: grpc.ServicerContext
    ) -> space_pb2.CosignatureReply:
        self._space.add_cosignature(caller(context), request.size, request.line)
        return space_pb2.CosignatureReply()

    def View(self, request: space_pb2.ViewRequest, context: grpc.ServicerContext) -> space_pb2.ViewReply:  # noqa: N802
        items, following = self._space.view(caller(context), request.kind, request.key, request.after)
        return space_pb2.ViewReply(json=b"[" + b",".join(items) + b"]", next=following)

    def PutBlob(  # noqa: N802
        self, request_iterator: Iterator[space_pb2.BlobChunk], context: grpc.ServicerContext
    ) -> space_pb2.BlobReply:
        first = next(request_iterator, None)
        if first is None:
            raise InvalidInput("The upload is empty.")
        pieces = (chunk.data for chunk in chain([first], request_iterator))
        self._space.put_blob(caller(context), first.digest, first.total_bytes, pieces)
        return space_pb2.BlobReply(digest=first.digest)

    def GetBlob(  # noqa: N802
        self, request: space_pb2.BlobRequest, context: grpc.ServicerContext
    ) -> Iterator[space_pb2.BlobChunk]:
        for piece in self._space.get_blob(caller(context), request.digest):
            yield space_pb2.BlobChunk(data=piece)

    def EnrolMachine(  # noqa: N802
        self, request: space_pb2.EnrolMachineRequest, context: grpc.ServicerContext
    ) -> space_pb2.EnrolMachineReply:
        certificate = self._space.enrol_machine(caller(context), request.csr_pem, request.key)
        return space_pb2.EnrolMachineReply(certificate_pem=certificate)


class RoundsServicer(rounds_pb2_grpc.RoundsServicer):
    """The rounds of joint jobs, for enclaves."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def Exchange(  # noqa: N802
        self, request: rounds_pb2.ExchangeRequest, context: grpc.ServicerContext
    ) -> rounds_pb2.ExchangeReply:
        wait = min(request.wait_milliseconds / 1000, MAX_WAIT_SECONDS)
        found = self._relay.exchange(
            caller(context), _place(request), phase_of(request.phase), request.envelope, request.data, wait
        )
        return rounds_pb2.ExchangeReply(
            status=found.status, envelopes=found.envelopes, missing=found.missing, data=found.data,
            round=found.round, attempt=found.attempt,
        )  # fmt: skip

    def Contribute(  # noqa: N802
        self, request_iterator: Iterator[rounds_pb2.ContributeChunk], context: grpc.ServicerContext
    ) -> rounds_pb2.ContributeReply:
        chunk = next(request_iterator, None)
        if chunk is None or not chunk.HasField("first"):
            raise InvalidInput("The upload does not say what it is.")
        first = chunk.first
        pieces = (chunk.data for chunk in chain([chunk], request_iterator))
        if first.shares:
            self._relay.deal(caller(context), _place(first), first.total_bytes, pieces)
        else:
            self._relay.contribute(caller(context), _place(first), first.envelope, first.total_bytes, pieces)
        return rounds_pb2.ContributeReply()

    def Sum(  # noqa: N802
        self, request: rounds_pb2.SumRequest, context: grpc.ServicerContext
    ) -> Iterator[rounds_pb2.SumChunk]:
        for piece in self._relay.sum(caller(context), _place(request)):
            yield rounds_pb2.SumChunk(data=piece)

    def Shares(  # noqa: N802
        self, request: rounds_pb2.SumRequest, context: grpc.ServicerContext
    ) -> Iterator[rounds_pb2.ContributionChunk]:
        for member, sealed in self._relay.shares(caller(context), _place(request)):
            yield rounds_pb2.ContributionChunk(member=member, data=sealed)

    def Contributions(  # noqa: N802
        self, request: rounds_pb2.SumRequest, context: grpc.ServicerContext
    ) -> Iterator[rounds_pb2.ContributionChunk]:
        for member, piece in self._relay.contributions(caller(context), _place(request)):
            yield rounds_pb2.ContributionChunk(member=member, data=piece)


def _place(
    request: rounds_pb2.ExchangeRequest | rounds_pb2.ContributeHeader | rounds_pb2.SumRequest,
) -> Place:
    return Place(request.job, request.run, request.round, request.attempt)
