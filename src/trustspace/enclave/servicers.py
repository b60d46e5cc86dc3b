"""gRPC servicer of the enclave: convert, call, convert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain

import grpc

from trustspace.api.v1 import enclave_pb2, enclave_pb2_grpc
from trustspace.enclave.datasets import Progress
from trustspace.enclave.service import EnclaveService
from trustspace.errors import InvalidInput

ENCLAVE = "trustspace.v1.Enclave"


def _status(progress: Progress) -> enclave_pb2.UploadStatus:
    return enclave_pb2.UploadStatus(
        upload=progress.upload, durable_bytes=progress.durable_bytes, complete=progress.complete
    )


class EnclaveServicer(enclave_pb2_grpc.EnclaveServicer):
    """The door for the source unit."""

    def __init__(self, service: EnclaveService) -> None:
        self._service = service

    def BeginUpload(  # noqa: N802
        self, request: enclave_pb2.BeginUploadRequest, context: grpc.ServicerContext
    ) -> enclave_pb2.UploadStatus:
        return _status(self._service.begin_upload(request.envelope))

    def Upload(  # noqa: N802
        self, request_iterator: Iterator[enclave_pb2.UploadChunk], context: grpc.ServicerContext
    ) -> Iterator[enclave_pb2.UploadStatus]:
        first = next(request_iterator, None)
        if first is None:
            raise InvalidInput("The upload is empty.")
        pieces = (chunk.data for chunk in chain([first], request_iterator))
        for progress in self._service.upload(first.upload, first.offset, pieces):
            yield _status(progress)

    def CommitUpload(  # noqa: N802
        self, request: enclave_pb2.UploadRequest, context: grpc.ServicerContext
    ) -> enclave_pb2.UploadStatus:
        return _status(self._service.commit_upload(request.upload))

    def AbortUpload(  # noqa: N802
        self, request: enclave_pb2.UploadRequest, context: grpc.ServicerContext
    ) -> enclave_pb2.UploadStatus:
        return _status(self._service.abort_upload(request.upload))

    def Withdraw(  # noqa: N802
        self, request: enclave_pb2.WithdrawRequest, context: grpc.ServicerContext
    ) -> enclave_pb2.WithdrawReply:
        self._service.withdraw(request.envelope)
        return enclave_pb2.WithdrawReply()

    def Stop(self, request: enclave_pb2.StopRequest, context: grpc.ServicerContext) -> enclave_pb2.StopReply:  # noqa: N802
        self._service.stop(request.envelope)
        return enclave_pb2.StopReply()

    def Status(  # noqa: N802
        self, request: enclave_pb2.StatusRequest, context: grpc.ServicerContext
    ) -> enclave_pb2.StatusReply:
        return enclave_pb2.StatusReply(json=json.dumps(self._service.status(), ensure_ascii=False).encode())
