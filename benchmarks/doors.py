"""The far side of the submission benchmark, in a process of its own: an enclave's door, or plain gRPC.

``enclave`` is what an enclave runs to take datasets in: its servicer over its store behind mutual TLS, with the
source unit's signing key given instead of looked up in a ledger. ``plain`` takes the same messages in the same
sizes and drops them, or writes them to a file; behind no TLS at all, or behind mutual TLS.

One line of JSON says where it listens; then each line read asks for a figure; the end of the input ends it.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from benchmarks.common import PeakMemory
from trustspace.api.v1 import enclave_pb2, enclave_pb2_grpc
from trustspace.enclave.datasets import DatasetStore, Progress
from trustspace.enclave.servicers import ENCLAVE, EnclaveServicer
from trustspace.transport import channel
from trustspace.transport.tls import new_key, self_signed

SERVER_NAME = "trustspace-enclave"
PLAIN = "trustspace.benchmark.Plain"


class TakingIn:
    """The part of an enclave's service that takes datasets in."""

    def __init__(self, store: DatasetStore, key: bytes) -> None:
        self._store = store
        self._key = key

    def begin_upload(self, envelope: bytes) -> Progress:
        return self._store.begin(envelope, [self._key])

    def upload(self, upload: str, offset: int, pieces: Iterable[bytes]) -> Iterator[Progress]:
        return self._store.append(upload, offset, pieces)

    def commit_upload(self, upload: str) -> Progress:
        return self._store.commit(upload)


def identities(directory: Path) -> None:
    """Keys and certificates for both ends, as an enclave and its source unit have them."""
    now = datetime.datetime.now(datetime.UTC)
    for name in ("door", "client"):
        key = new_key()
        (directory / f"{name}.key").write_bytes(key)
        (directory / f"{name}.pem").write_bytes(self_signed(name, key, now, ("127.0.0.1", SERVER_NAME)))


def identity(directory: Path, name: str) -> channel.Identity:
    """One end's key and certificate."""
    return channel.Identity(
        (directory / f"{name}.key").read_bytes(), (directory / f"{name}.pem").read_bytes()
    )


def connect(directory: Path, address: str) -> grpc.Channel:
    """A client's mutual TLS channel to a door."""
    return channel.connect(
        address, (directory / "door.pem").read_bytes(), identity(directory, "client"), SERVER_NAME
    )


def plain_stream(to: grpc.Channel, where: str, pieces: Iterable[bytes]) -> int:
    """Stream pieces to ``memory`` or ``file`` of a plain door; returns the bytes that it took."""
    call = to.stream_unary(
        f"/{PLAIN}/{where}", enclave_pb2.UploadChunk.SerializeToString, enclave_pb2.UploadStatus.FromString
    )
    reply = call(enclave_pb2.UploadChunk(data=piece) for piece in pieces)
    return int(reply.durable_bytes)


class Door:
    """The other process."""

    def __init__(self, kind: str, directory: Path, *given: str) -> None:
        command = [sys.executable, "-m", "benchmarks.doors", kind, str(directory), *given]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.listens: dict[str, str] = self._line()

    def ask(self, what: str) -> Any:
        """``reset`` the peak memory, or ``usage``."""
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The benchmark's other process has ended.")
        return json.loads(line)


def _enclave(directory: Path, key: bytes, owner: str) -> dict[str, str]:
    for name in ("datasets", "uploads"):
        (directory / name).mkdir(exist_ok=True)
    servicer = EnclaveServicer(TakingIn(DatasetStore(directory, owner), key))
    server, address = channel.serve(
        "127.0.0.1:0", identity(directory, "door"), (directory / "client.pem").read_bytes(),
        lambda server: enclave_pb2_grpc.add_EnclaveServicer_to_server(servicer, server),
        services=(ENCLAVE,), threads=16,
    )  # fmt: skip
    _serving.append(server)
    return {"door": address}


def _plain(directory: Path) -> dict[str, str]:
    def to_memory(
        pieces: Iterator[enclave_pb2.UploadChunk], _: grpc.ServicerContext
    ) -> enclave_pb2.UploadStatus:
        return enclave_pb2.UploadStatus(durable_bytes=sum(len(piece.data) for piece in pieces))

    def to_file(
        pieces: Iterator[enclave_pb2.UploadChunk], _: grpc.ServicerContext
    ) -> enclave_pb2.UploadStatus:
        with (directory / "plain").open("wb") as file:
            return enclave_pb2.UploadStatus(durable_bytes=sum(file.write(piece.data) for piece in pieces))

    def register(server: grpc.Server) -> None:
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(
                handler, enclave_pb2.UploadChunk.FromString, enclave_pb2.UploadStatus.SerializeToString
            )
            for name, handler in (("memory", to_memory), ("file", to_file))
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PLAIN, handlers),))

    bare = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    register(bare)
    port = bare.add_insecure_port("127.0.0.1:0")
    bare.start()
    secure, address = channel.serve(
        "127.0.0.1:0", identity(directory, "door"), (directory / "client.pem").read_bytes(), register,
        services=(), threads=4,
    )  # fmt: skip
    _serving.extend((bare, secure))
    return {"insecure": f"127.0.0.1:{port}", "mtls": address}


# A server that nobody refers to stops.
_serving: list[grpc.Server] = []


def main() -> None:
    """Listen and answer."""
    kind, directory, *given = sys.argv[1:]
    listens = (
        _enclave(Path(directory), bytes.fromhex(given[0]), given[1])
        if kind == "enclave"
        else _plain(Path(directory))
    )
    print(json.dumps(listens), flush=True)
    peak = PeakMemory()
    for line in sys.stdin:
        if line.strip() == "reset":
            peak.reset()
        print(json.dumps({"peak_mib": peak.mib(), "cpu_seconds": time.process_time()}), flush=True)


if __name__ == "__main__":
    main()
