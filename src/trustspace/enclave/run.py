"""One run, from an opened key to sealed artifacts. Plaintext lives in this process's memory and in sandboxes only."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.seal import Opener, iter_opened, take_header
from trustspace.crypto.wrap import OneTimeKey
from trustspace.data.description import DatasetDescription
from trustspace.data.handin import split_by_patient, to_memfd
from trustspace.data.manifest import DatasetManifest
from trustspace.data.parquet import read_parquet
from trustspace.data.patients import patient_keys
from trustspace.domain.binding import dataset_context, run_binding
from trustspace.domain.bodies import Artifact, Dataset, Evidence, KeyRelease, SealedEvidence
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord
from trustspace.domain.statements import dump
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.packing import Blob, Content, Run, pack_artifact, pack_evidence
from trustspace.errors import InvalidInput, TrustspaceError, VerificationFailed
from trustspace.evidence.facts import Delivered, DigestPair, PartMetrics, RunFacts, read_evaluation
from trustspace.evidence.report import build_report
from trustspace.jobs.agreement import agreed_parameters
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.container import RawArtifact, unpack
from trustspace.jobs.sections import METRICS_ARTIFACT, MODEL_ARTIFACT
from trustspace.jobs.spec import Parameters
from trustspace.sandbox import memory
from trustspace.sandbox.config import Limits
from trustspace.sandbox.launcher import Launcher, Result, Task
from trustspace.transport.session import Dossier

LOG_ARTIFACT = "run.log"
_MIB = 1 << 20


class RunError(Exception):
    """A run that ends without output: the coarse reason for the ledger, and the log for the source unit alone."""

    def __init__(self, reason: str, log: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


@dataclass(frozen=True)
class Order:
    """What is to run, all of it from statements that were proven and replayed."""

    dossier: Dossier
    job: JobRecord
    grant: GrantRecord
    source_unit: str
    offer: str
    run_key: OneTimeKey
    challenges: tuple[str, ...]
    evidence: Evidence
    code: bytes
    history: tuple[Delivered, ...]

    def dataset(self, digest: str) -> Dataset | None:
        """The proven dataset behind a statement's digest."""
        record = self.dossier.view.get(DatasetRecord, digest)
        return record.body if record is not None else None


@dataclass(frozen=True)
class Produced:
    """What a run leaves: parts of the output statement and the ciphertexts behind them."""

    artifacts: tuple[Artifact, ...]
    evidence: tuple[SealedEvidence, ...]
    blobs: tuple[Blob, ...]
    first_row_ms: int


@dataclass(frozen=True)
class _Rows:
    train: pa.Table
    withheld: pa.Table
    train_patients: int
    withheld_patients: int
    record_bytes: int


def execute(order: Order, store: DatasetStore, launcher: Launcher) -> Produced:
    """Open the data, run the job, judge what came out, and seal it.

    Raises:
        RunError: with the reason that the ledger may show.

    """
    try:
        parameters = agreed_parameters(order.job.body, order.dataset)
    except TrustspaceError as error:
        raise RunError("not-opened", error.public_message.encode()) from None
    rows = _open_rows(order, parameters, store)
    with ExitStack() as stack:
        code = stack.enter_context(_memory(order.code, "code")) if order.code else None
        spec = stack.enter_context(_memory(canonical_json(parameters.to_json()), "parameters"))
        data = stack.enter_context(_descriptor(to_memfd(rows.train, "data")))
        inputs = {"parameters": spec, "data": data, **({"code": code} if code is not None else {})}
        limits = Limits(
            wall_seconds=parameters.limits.wall_seconds,
            cpu_seconds=parameters.limits.wall_seconds * parameters.limits.threads,
            memory_bytes=parameters.limits.memory_mib * _MIB,
            output_bytes=parameters.limits.output_mib * _MIB,
        )
        result = launcher.run(Task(parameters.kind, inputs, limits))
        artifacts = _artifacts(result, parameters)
        evaluation: tuple[PartMetrics | None, PartMetrics | None] = (None, None)
        if parameters.kind == "train":
            evaluation = _evaluate(launcher, inputs, artifacts, rows, limits)
        # A log exists even when nothing was printed: its absence would say something too.
        log = result.log or b"(nothing was printed)\n"
    return _pack(order, parameters, rows, artifacts, evaluation, log, result.first_row_ms or 0)


def _open_rows(order: Order, parameters: Parameters, store: DatasetStore) -> _Rows:
    tables, split_keys, patient_column = [], [], ""
    for use in order.job.body.datasets:
        if use.source_unit != order.source_unit:
            continue
        record = order.dossier.view.get(DatasetRecord, use.dataset)
        assert record is not None
        manifest, key = _open_key(order, record, use.dataset, store)
        description = DatasetDescription.from_json(record.body.description)
        patient_column = description.patient_column
        wanted = list(dict.fromkeys([*use.columns, *([patient_column] if patient_column else [])]))
        tables.append(_open_table(key, manifest, record, store, wanted))
        split_keys.append(
            hmac.digest(key, b"trustspace split v1" + bytes.fromhex(order.job.statement), "sha256")
        )
    if len(tables) != 1:
        raise RunError("host", b"This version runs a job on one dataset of a source unit.\n")
    table, asked = tables[0], [c for use in order.job.body.datasets for c in use.columns]
    try:
        train, withheld = split_by_patient(
            table, patient_column or None, parameters.terms.withheld_percent, split_keys[0]
        )
        patients = [len(patient_keys(part, patient_column or None)[1]) for part in (train, withheld)]
    except InvalidInput as error:
        raise RunError("job-failed", error.public_message.encode() + b"\n") from None
    train, withheld = train.select(asked), withheld.select(asked)
    record_bytes = max(1, train.nbytes // max(1, train.num_rows))
    return _Rows(train, withheld, patients[0], patients[1], record_bytes)


def _open_key(
    order: Order, record: DatasetRecord, dataset: str, store: DatasetStore
) -> tuple[DatasetManifest, bytes]:
    """Open the released data key. What it is bound to is computed from what is about to run, not from the release."""
    release = next(
        (
            s.body
            for s in order.dossier.statements
            if isinstance(s.body, KeyRelease) and (s.body.offer, s.body.dataset) == (order.offer, dataset)
        ),
        None,
    )
    if release is None:
        raise RunError("not-opened")
    manifest, file = store.open(record.body.manifest)
    file.close()
    info = run_binding(
        job=order.job.statement,
        grant=order.grant.statement,
        offer=order.offer,
        dataset=dataset,
        manifest=sha256_hex(canonical_json(manifest.to_json())),
        code=sha256_hex(order.code) if order.code else "",
        parameters=sha256_hex(canonical_json(order.job.body.parameters)),
        evidence=sha256_hex(canonical_json(dump(order.evidence))),
        buyer_key=order.job.body.buyer_key,
        challenges=order.challenges,
    )
    try:
        return manifest, order.run_key.open(bytes.fromhex(release.sealed_key), info)
    except VerificationFailed:
        raise RunError("not-opened") from None


def _open_table(
    key: bytes, manifest: DatasetManifest, record: DatasetRecord, store: DatasetStore, columns: list[str]
) -> pa.Table:
    """Decrypt straight into memory that is never a file, and read the columns asked for out of it."""
    _, file = store.open(record.body.manifest)
    context = dataset_context(record.source_unit, manifest.dataset, manifest.version)
    opened = memory.create("dataset")
    try:
        with file:
            opener = Opener(key, take_header(file.read), context)
            with os.fdopen(os.dup(opened), "wb") as plaintext:
                for piece in iter_opened(opener, file.read):
                    plaintext.write(piece)
            opener.finish()
        return read_parquet(opened, columns)
    except VerificationFailed:
        raise RunError("not-opened") from None
    finally:
        os.close(opened)


def _artifacts(result: Result, parameters: Parameters) -> tuple[RawArtifact, ...]:
    with result:
        if result.status != "finished":
            limits = result.status in ("timed_out", "output_too_large") or result.reason in (
                "memory",
                "cpu-time",
            )
            reason = "stopped" if result.reason == "cancelled" else "limits" if limits else "job-failed"
            raise RunError(reason, result.log + f"\n[{result.status}: {result.reason}]\n".encode())
        try:
            raw = unpack(
                result.read_output(parameters.limits.output_mib * _MIB),
                max_bytes=parameters.limits.output_mib * _MIB,
            )
            check_artifacts(raw, parameters)
        except TrustspaceError as error:
            raise RunError("job-failed", result.log + b"\n" + error.public_message.encode() + b"\n") from None
    return raw


def _evaluate(
    launcher: Launcher,
    inputs: Mapping[str, int],
    artifacts: tuple[RawArtifact, ...],
    rows: _Rows,
    limits: Limits,
) -> tuple[PartMetrics | None, PartMetrics | None]:
    """Judge the exported bytes in a fresh sandbox, on patients that training never had mounted."""
    model = next(a.data for a in artifacts if a.name == MODEL_ARTIFACT)
    if rows.withheld.num_rows == 0:
        return None, None
    with _memory(model, "model") as weights, _descriptor(to_memfd(rows.withheld, "withheld")) as withheld:
        judged = {
            "parameters": inputs["parameters"],
            "model": weights,
            "data": withheld,
            "members": inputs["data"],
        }
        if "code" in inputs:
            judged["code"] = inputs["code"]
        with launcher.run(Task("evaluate", judged, limits)) as result:
            if result.status != "finished":
                return None, None
            try:
                found = unpack(result.read_output(_MIB), max_bytes=_MIB)
                return read_evaluation(next(a.data for a in found if a.name == METRICS_ARTIFACT))
            except (TrustspaceError, StopIteration):
                return None, None


def _pack(
    order: Order,
    parameters: Parameters,
    rows: _Rows,
    artifacts: tuple[RawArtifact, ...],
    evaluation: tuple[PartMetrics | None, PartMetrics | None],
    log: bytes,
    first_row_ms: int,
) -> Produced:
    body, unit = order.job.body, order.source_unit
    units = tuple(body.source_units)
    contents = [
        Content(a.name, a.media_type, _role(a.name, parameters), a.data, units) for a in artifacts
    ]  # fmt: skip
    contents.append(Content(LOG_ARTIFACT, "text/plain", "log", log, (unit,)))
    run = Run(order.job.statement, order.offer, {unit: order.grant.body})
    secret = os.urandom(32)
    packed = [pack_artifact(secret, run, content) for content in contents]
    facts = RunFacts.of(
        parameters,
        artifacts,
        digests=_digests(order),
        commitments={a.name: a.commitment for a, _ in packed if a.role != "log"},
        rows=rows.train.num_rows,
        patients=rows.train_patients,
        withheld_patients=rows.withheld_patients,
        record_bytes=rows.record_bytes,
        evaluation=evaluation,
        sandbox_tier=order.evidence.sandbox_tier,
        sandbox_tier_demanded=order.grant.body.sandbox_tier,
        evidence_kind=order.evidence.kind,
        evidence_kind_demanded=order.grant.body.evidence_kind,
        custody=order.evidence.custody,
        history=order.history,
    )
    policy = next(
        r.body.policy
        for r in (
            order.dossier.view.get(DatasetRecord, u.dataset) for u in body.datasets if u.source_unit == unit
        )
        if r is not None
    )
    report = build_report(facts, policy)
    evidence, sealed_report = pack_evidence(secret, run, unit, report.to_bytes())
    blobs = (*(blob for _, blob in packed), sealed_report)
    return Produced(tuple(artifact for artifact, _ in packed), (evidence,), blobs, first_row_ms)


def _digests(order: Order) -> list[DigestPair]:
    """What was granted beside what ran; equal by construction, since the key opened. Shown all the same."""
    body = order.job.body
    parameters = sha256_hex(canonical_json(Parameters.from_json(body.parameters).to_json()))
    pairs = [DigestPair("parameters", sha256_hex(canonical_json(body.parameters)), parameters)]
    if body.code:
        pairs.append(DigestPair("code", body.code, sha256_hex(order.code)))
    for use in body.datasets:
        record = order.dossier.view.get(DatasetRecord, use.dataset)
        if record is not None and use.source_unit == order.source_unit:
            pairs.append(DigestPair(f"dataset {record.body.dataset}", use.dataset, record.statement))
    return pairs


def _role(name: str, parameters: Parameters) -> Literal["model", "metrics", "result"]:
    if parameters.kind != "train":
        return "result"
    return "model" if name == MODEL_ARTIFACT else "metrics"


@contextmanager
def _descriptor(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _memory(data: bytes, name: str) -> AbstractContextManager[int]:
    return _descriptor(memory.sealed(name, data))
