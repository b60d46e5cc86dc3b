"""A dataset from its source unit to its enclave's disk, beside what it stands on.

    python -m benchmarks.submit [--json FILE] [--megabytes 256] [--gigabytes 1] [--turns 5]

In turns over the same bytes: sealing alone; a file copy with fsync; plain gRPC without TLS and with mutual TLS,
to memory and to a file, nothing made durable; and the product's own submission: sealed to the spool (durable),
streamed to the enclave's store behind mutual TLS (durable every 32 MiB), hashed again, kept. Then one long
stream, for the memory that both ends need.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.common import PeakMemory, Ratio, Result, Row, arguments, finish, take_turns, timed, workspace
from benchmarks.doors import Door, connect, identities, plain_stream
from trustspace.client.datasets import upload, write_sealed
from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.seal import CHUNK_BYTES, Sealer
from trustspace.crypto.statement import key_id, sign_statement
from trustspace.data.manifest import DatasetManifest, ManifestColumn
from trustspace.domain.binding import dataset_context
from trustspace.storage.files import fsync_dir
from trustspace.transport.links import EnclaveLink, UploadStatus

MIB = 1 << 20
BLOCK_BYTES = 8 * MIB
NOTES = (
    "Both ends run on this one machine and share its cores and its disk.",
    (
        "The submission touches each byte more often than a copy: sealed, hashed and written to the spool, read, sent, "
        "written to the store, hashed again. Two of its writes are made durable, a copy's one, plain gRPC's none."
    ),
    "The long stream measures sealing and streaming; a table that is to become Parquet is in memory before it.",
)


class SourceUnit:
    """Seals and submits as the client library does; the bytes are given, where it would write Parquet."""

    def __init__(self, key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.public = self._key.public_key().public_bytes_raw()
        self.fingerprint = key_id(self.public)
        self._version = 0

    def seal(
        self, read: Callable[[int], bytes], plain_bytes: int, into: Path
    ) -> tuple[DatasetManifest, bytes]:
        """Seal to a file under a fresh key; returns the manifest and its signed envelope."""
        self._version += 1
        sealer = Sealer(os.urandom(32), dataset_context(self.fingerprint, "benchmark", self._version))
        sealed_bytes, digest = write_sealed(into, sealer, read)
        manifest = DatasetManifest(
            dataset="benchmark", version=self._version, source_unit=self.fingerprint,
            columns=(ManifestColumn(name="bytes", type="binary"),), plain_bytes=plain_bytes, sealed_bytes=sealed_bytes,
            chunk_count=max(1, -(-plain_bytes // CHUNK_BYTES)), header_digest=sha256_hex(sealer.header),
            ciphertext_digest=digest,
        )  # fmt: skip
        signed = sign_statement(canonical_json(manifest.to_json()), self.public, self._key.sign)
        return manifest, signed.to_bytes()


class TimedLink(EnclaveLink):
    """The product's link, which notes how long the enclave takes to verify and keep."""

    commit_seconds = 0.0

    def commit_upload(self, upload: str) -> UploadStatus:
        started = time.perf_counter()
        status = super().commit_upload(upload)
        self.commit_seconds = time.perf_counter() - started
        return status


class Repeated:
    """``total`` bytes of one random block over and over, as a file-like ``read``: no file, no memory."""

    def __init__(self, total: int) -> None:
        self._block = os.urandom(BLOCK_BYTES)
        self._at, self._total = 0, total

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end of a block or of the whole."""
        start = self._at % BLOCK_BYTES
        taken = self._block[start : start + min(size, BLOCK_BYTES - start, self._total - self._at)]
        self._at += len(taken)
        return taken


@dataclass(frozen=True)
class Bench:
    """Both doors, the bytes as a file and in memory, and where results go."""

    work: Path
    data: bytes
    unit: SourceUnit
    link: TimedLink
    insecure: grpc.Channel
    mtls: grpc.Channel

    def pieces(self) -> Iterator[bytes]:
        """What a stream sends: 1 MiB at a time, as the product does."""
        with (self.work / "source").open("rb") as file:
            while piece := file.read(MIB):
                yield piece

    def tidy(self) -> None:
        """Remove what the last case wrote and let the disk come to rest, so that nobody pays for another."""
        for path in (*self.work.glob("datasets/*"), *self.work.glob("copy"), *self.work.glob("plain")):
            path.unlink()
        os.sync()

    def seal_alone(self) -> float:
        """Seconds to seal the bytes, memory to memory."""
        sealer, view = Sealer(os.urandom(32), {"purpose": "benchmark"}), memoryview(self.data)

        def work() -> None:
            for at in range(0, len(view), CHUNK_BYTES):
                sealer.seal(view[at : at + CHUNK_BYTES], last=at + CHUNK_BYTES >= len(view))

        return timed(work)

    def copy(self) -> float:
        """Seconds to copy the file and make the copy durable."""

        def work() -> None:
            shutil.copyfile(self.work / "source", self.work / "copy")
            with (self.work / "copy").open("rb") as file:
                os.fsync(file.fileno())
            fsync_dir(self.work)

        return timed(work)

    def plain(self, channel: grpc.Channel, where: str) -> float:
        """Seconds to stream the file without sealing, verifying or making durable."""
        return timed(lambda: plain_stream(channel, where, self.pieces()))

    def submit(self, phases: dict[str, list[float]]) -> float:
        """Seconds from the plain bytes to a dataset that the enclave keeps."""
        spool = self.work / "spool"
        started = time.perf_counter()
        with (self.work / "source").open("rb") as file:
            manifest, envelope = self.unit.seal(file.read, len(self.data), spool)
        sealed = time.perf_counter()
        upload(self.link, envelope, manifest, spool)
        ended = time.perf_counter()
        spool.unlink()
        phases["seal to the spool"].append(sealed - started)
        phases["stream to the enclave"].append(ended - sealed - self.link.commit_seconds)
        phases["enclave verifies and keeps"].append(self.link.commit_seconds)
        return ended - started


SUBMIT = "submit: seal, stream, verify, keep"
COPY = "file copy with fsync"
SEAL = "seal alone"


def measure(bench: Bench, result: Result, turns: int) -> None:
    """Everything in turns, as megabytes a second and as ratios of seconds."""
    phases: dict[str, list[float]] = {
        "seal to the spool": [], "stream to the enclave": [], "enclave verifies and keeps": []
    }  # fmt: skip
    cases: dict[str, Callable[[], float]] = {
        SEAL: bench.seal_alone,
        COPY: bench.copy,
        "gRPC, no TLS, to memory": lambda: bench.plain(bench.insecure, "memory"),
        "gRPC, no TLS, to a file": lambda: bench.plain(bench.insecure, "file"),
        "gRPC, mutual TLS, to memory": lambda: bench.plain(bench.mtls, "memory"),
        "gRPC, mutual TLS, to a file": lambda: bench.plain(bench.mtls, "file"),
        SUBMIT: lambda: bench.submit(phases),
    }
    for case in cases.values():
        # Channels connect and caches fill before anything counts.
        bench.tidy()
        case()
    for seconds in phases.values():
        seconds.clear()
    measured = take_turns(cases, turns, between=bench.tidy)
    for name, seconds in (measured | {f"of which {name}": s for name, s in phases.items()}).items():
        result.rows.append(Row.of(name, "MB/s", [len(bench.data) / s / 1e6 for s in seconds]))
    for other in (
        COPY,
        "gRPC, no TLS, to a file",
        "gRPC, mutual TLS, to memory",
        "gRPC, mutual TLS, to a file",
        SEAL,
    ):
        result.ratios.append(Ratio.between(SUBMIT, other, measured))


def long_stream(work: Path, door: Door, key: bytes, total: int, result: Result) -> None:
    """One submission of ``total`` bytes from a fresh client process; what both ends needed at most."""
    # A first long write may find memory that this machine has yet to be given; it counts for nothing.
    long_write(work, total)
    writes = [long_write(work, total)]
    before = door.ask("reset")
    command = [
        sys.executable,
        "-m",
        "benchmarks.submit",
        "--client",
        str(work),
        door.listens["door"],
        str(total),
    ]
    found = json.loads(
        subprocess.run(command, input=key.hex(), stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    after = door.ask("usage")
    for path in work.glob("datasets/*"):
        path.unlink()
    writes.append(long_write(work, total))
    gigabytes = total / 1e9
    whole, plain = f"long stream of {gigabytes:g} GB, whole", "long plain write with fsync"
    result.rows += [
        Row.of(plain, "MB/s", [total / seconds / 1e6 for seconds in writes]),
        Row.of(whole, "MB/s", [total / found["seconds"] / 1e6]),
        Row.of("long stream, client's peak memory", "MiB", [found["peak_mib"]]),
        Row.of("long stream, enclave's peak memory", "MiB", [after["peak_mib"]]),
        Row.of("long stream, client's CPU", "s/GB", [found["cpu_seconds"] / gigabytes]),
        Row.of(
            "long stream, enclave's CPU", "s/GB", [(after["cpu_seconds"] - before["cpu_seconds"]) / gigabytes]
        ),
    ]
    result.ratios.append(Ratio.between(whole, plain, {whole: [found["seconds"]] * 2, plain: writes}))
    result.facts |= {
        "long stream, client before it began, MiB": found["before_mib"],
        "long stream, enclave before it began, MiB": before["peak_mib"],
        "long stream, seconds of each phase": found["phases"],
    }


def long_write(work: Path, total: int) -> float:
    """Seconds to write so many bytes to a file and make them durable."""
    plain = Repeated(total)

    def write() -> None:
        with (work / "plain").open("wb", buffering=0) as file:
            while piece := plain.read(MIB):
                file.write(piece)
            os.fsync(file.fileno())

    seconds = timed(write)
    (work / "plain").unlink()
    os.sync()
    return seconds


def client(work: Path, address: str, total: int) -> None:
    """The source unit's end of the long stream, in its own process."""
    unit, peak = SourceUnit(bytes.fromhex(sys.stdin.read())), PeakMemory()
    link, plain = TimedLink(connect(work, address)), Repeated(total)
    peak.reset()
    before, cpu = peak.mib(), time.process_time()
    started = time.perf_counter()
    manifest, envelope = unit.seal(plain.read, total, work / "spool")
    sealed = time.perf_counter()
    upload(link, envelope, manifest, work / "spool")
    ended = time.perf_counter()
    (work / "spool").unlink()
    phases = {
        "seal": sealed - started,
        "stream": ended - sealed - link.commit_seconds,
        "keep": link.commit_seconds,
    }
    content = {
        "seconds": ended - started, "phases": ", ".join(f"{name} {s:.1f}" for name, s in phases.items()),
        "peak_mib": peak.mib(), "before_mib": before, "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip
    print(json.dumps(content))


def main() -> None:
    """Run the benchmark."""
    if sys.argv[1:2] == ["--client"]:
        client(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    parser = arguments("Seal and submit, beside gRPC and a file copy.", turns=5)
    parser.add_argument("--megabytes", type=float, default=256, help="bytes of each turn, in MB (256)")
    parser.add_argument("--gigabytes", type=float, default=1, help="bytes of the long stream, in GB (1)")
    given = parser.parse_args()
    size, total = int(given.megabytes * 1e6), int(given.gigabytes * 1e9)
    with workspace(given.work) as work:
        result = Result(
            "submit", {"megabytes": given.megabytes, "gigabytes": given.gigabytes, "turns": given.turns}
        )
        identities(work)
        key = os.urandom(32)
        unit = SourceUnit(key)
        data = os.urandom(size)
        (work / "source").write_bytes(data)
        enclave = Door("enclave", work, unit.public.hex(), unit.fingerprint)
        plain = Door("plain", work)
        with (
            connect(work, enclave.listens["door"]) as to_enclave,
            grpc.insecure_channel(plain.listens["insecure"]) as insecure,
            connect(work, plain.listens["mtls"]) as mtls,
        ):
            bench = Bench(work, data, unit, TimedLink(to_enclave), insecure, mtls)
            measure(bench, result, given.turns)
            bench.tidy()
        plain.close()
        if total:
            long_stream(work, enclave, key, total, result)
        enclave.close()
        result.notes += NOTES
        finish(result, work, given.json)


if __name__ == "__main__":
    main()
