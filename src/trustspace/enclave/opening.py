"""Opening what was granted: from a released key to the rows that a job sees and those withheld from it."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.crypto.seal import Opener, iter_opened, take_header
from trustspace.crypto.wrap import OneTimeKey
from trustspace.data.description import DatasetDescription
from trustspace.data.handin import draw_withheld, drawn
from trustspace.data.manifest import DatasetManifest
from trustspace.data.parquet import read_parquet
from trustspace.data.patients import patient_keys
from trustspace.domain.binding import code_binding, dataset_context, run_binding
from trustspace.domain.bodies import CodeRelease, Dataset, Evidence, Grant, KeyRelease, Policy
from trustspace.domain.records import DatasetRecord, GrantRecord, JobRecord
from trustspace.domain.statements import dump
from trustspace.enclave.canaries import exchanged
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.failure import RunError
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.evidence.facts import Delivered
from trustspace.jobs.blind import open_bundle
from trustspace.jobs.spec import Parameters
from trustspace.sandbox import memory
from trustspace.transport.session import Dossier

if TYPE_CHECKING:
    from trustspace.enclave.history import Past


@dataclass(frozen=True)
class Order:
    """What is to run, all of it from statements that were proven and replayed.

    ``code``: the bytes that the job names by digest; of blind code its ciphertext (see :func:`open_code`).
    ``sums_spent``: how many sums of scores this enclave has made of the data for the developer's other jobs. ``past``:
    what else was made of it, and where to note what is being made; None where nobody keeps that.
    """

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
    sums_spent: int = 0
    past: Past | None = None

    def dataset(self, digest: str) -> Dataset | None:
        """The proven dataset behind a statement's digest."""
        record = self.dossier.view.get(DatasetRecord, digest)
        return record.body if record is not None else None

    def grants(self) -> dict[str, Grant]:
        """Every source unit's grant of this job."""
        found = {u: self.dossier.view.get(GrantRecord, d) for u, d in self.job.grants.items()}
        return {unit: record.body for unit, record in found.items() if record is not None}

    def policy(self, unit: str) -> Policy:
        """The policy under which a source unit's dataset was submitted."""
        return next(
            record.body.policy
            for use in self.job.body.datasets
            if use.source_unit == unit
            and (record := self.dossier.view.get(DatasetRecord, use.dataset)) is not None
        )


@dataclass(frozen=True)
class Side:
    """Rows of some patients: what a job may see of them, and whose each row is.

    ``patients``: for each row the number of its patient in the domain's list, int64 [rows]. ``labels``: the target's
    column as the source unit has it, where a job sees another one.
    """

    table: pa.Table
    patients: NDArray[np.int64] = field(repr=False)
    labels: pa.ChunkedArray | None = field(default=None, repr=False)
    target: str = ""

    @property
    def patient_count(self) -> int:
        """How many patients these rows are of."""
        return len(np.unique(self.patients))

    @property
    def recorded(self) -> pa.Table:
        """The rows as the source unit has them, whatever label a job is given."""
        if self.labels is None:
            return self.table
        at = self.table.column_names.index(self.target)
        return self.table.set_column(at, self.target, self.labels)

    def part(self, kept: NDArray[np.bool_]) -> Side:
        """Some of the rows, bool [rows]."""
        mask = pa.array(kept)
        labels = None if self.labels is None else self.labels.filter(mask)
        return Side(self.table.filter(mask), self.patients[kept], labels, self.target)


@dataclass(frozen=True)
class Rows:
    """A domain's rows, split by patient: what the job sees, what watches its rounds, what it never sees.

    ``names``: every patient of the dataset by the source's own key, the row's number where it has none; ``audited``:
    of which of them a fair coin decided whether they are withheld, bool [patients]. ``checkpoint_key`` is derived from
    the data key: whoever may not open the data cannot open a checkpoint. So is ``evidence_key``, from which chance in
    judging comes: the same job gives the same report, and nobody else can foresee it.
    ``canaries``: the rows of audited patients whose label was exchanged, also in ``training`` where the coin put them
    in. Nothing is judged by them but how well they are told apart: ``judging`` has none, and ``known`` leaves them out.
    """

    training: Side
    judging: Side
    names: tuple[str, ...] = field(repr=False)
    audited: NDArray[np.bool_] = field(repr=False)
    record_bytes: int
    checkpoint_key: bytes = field(repr=False)
    evidence_key: bytes = field(repr=False)
    validation: Side | None = None
    canaries: Side | None = None

    @cached_property
    def known(self) -> Side:
        """What the job sees, without the canaries among it."""
        if self.canaries is None:
            return self.training
        return self.training.part(~np.isin(self.training.patients, self.canaries.patients))

    @property
    def sides(self) -> tuple[Side, ...]:
        """All that together hold every row; of canaries that are in, twice."""
        each = (self.training, self.judging, self.validation, self.canaries)
        return tuple(side for side in each if side is not None)

    @property
    def train(self) -> pa.Table:
        """What the job sees."""
        return self.training.table

    @property
    def withheld(self) -> pa.Table:
        """What the job never sees, of patients whose label is their own."""
        return self.judging.table

    @property
    def train_patients(self) -> int:
        """How many patients the job sees."""
        return self.training.patient_count

    @property
    def withheld_patients(self) -> int:
        """How many patients the model is judged on: the job never sees them, and their label is their own."""
        return self.judging.patient_count


def open_code(order: Order, parameters: Parameters) -> bytes:
    """The code bundle that runs, b"" where there is none. Blind code is opened here, into this process's memory.

    Raises:
        RunError: its key was released for something else or not at all, or it is not what its developer declared.

    """
    body = order.job.body
    if body.blind is None:
        return order.code
    release = next(
        (
            s.body
            for s in order.dossier.statements
            if isinstance(s.body, CodeRelease) and s.body.offer == order.offer
        ),
        None,
    )
    if release is None:
        raise RunError("not-opened")
    info = code_binding(
        job=order.job.statement,
        offer=order.offer,
        code=sha256_hex(order.code),
        commitment=body.blind.commitment,
        parameters=sha256_hex(canonical_json(body.parameters)),
        evidence=sha256_hex(canonical_json(dump(order.evidence))),
        challenges=order.challenges,
        grants=order.job.grants.values(),
        enclave=order.grant.body.enclave,
    )
    try:
        key = order.run_key.open(bytes.fromhex(release.sealed_key), info)
        return open_bundle(key, body.developer, body.blind, parameters, order.code)
    except (VerificationFailed, InvalidInput) as error:
        raise RunError("not-opened", error.public_message.encode() + b"\n") from None


def open_rows(order: Order, parameters: Parameters, store: DatasetStore) -> Rows:
    """Open the one dataset of this source unit that the job uses.

    Raises:
        RunError: the key was released for something else, or the rows cannot be split.

    """
    uses = [use for use in order.job.body.datasets if use.source_unit == order.source_unit]
    if len(uses) != 1:
        raise RunError("host", b"A job uses one dataset of each source unit.\n")
    record = order.dossier.view.get(DatasetRecord, uses[0].dataset)
    assert record is not None
    manifest, key = _open_key(order, record, uses[0].dataset, store)
    description = DatasetDescription.from_json(record.body.description)
    patient_column = description.patient_column
    wanted = list(dict.fromkeys([*uses[0].columns, *([patient_column] if patient_column else [])]))
    table = _open_table(key, manifest, record, store, wanted)
    try:
        return divide(
            table, patient_column, uses[0].columns, parameters, key, bytes.fromhex(order.job.statement)
        )
    except InvalidInput as error:
        raise RunError("job-failed", error.public_message.encode() + b"\n") from None


def divide(
    table: pa.Table, patient_column: str, columns: Sequence[str], parameters: Parameters, key: bytes, job: bytes
) -> Rows:  # fmt: skip
    """Split a dataset's rows by patient ("": every row is one) for one job, and keep of them what it asked for.

    Canaries, as many as the job agreed to, are drawn here as well, and stand with their exchanged label.
    ``key`` is the data key, ``job`` the job's digest: who does not have the key cannot tell who was withheld.
    Raises InvalidInput when the patients are too few.
    """
    split_key, checkpoint_key, watch_key, evidence_key, canary_key = (
        hmac.digest(key, b"trustspace " + purpose + b" v1" + job, "sha256")
        for purpose in (b"split", b"checkpoint", b"validation", b"evidence", b"canaries")
    )
    watching = parameters.federated.validation_percent if parameters.federated is not None else 0
    codes, names = patient_keys(table, patient_column or None)
    draw = draw_withheld(names, parameters.terms.withheld_percent, split_key)
    watchers, audited = np.zeros(len(names), dtype=bool), draw.audited
    if watching:
        # From those whom no coin concerns, and as many as half of the coins would leave: else the coins of the rest
        # would not be fair. Where there are too few of them, no coin counts.
        apart = np.flatnonzero(~draw.withheld & ~audited)
        wanted = (len(apart) + int(audited.sum()) // 2) * watching
        share = -(-wanted // max(1, len(apart)))
        # One of them at least must be left, and nine of ten is the most that is drawn.
        if share > 90 or share * len(apart) > 100 * (len(apart) - 1):
            apart, audited, share = np.flatnonzero(~draw.withheld), np.zeros_like(audited), watching
        watchers[apart] = drawn([names[place] for place in apart], share, watch_key)

    # After the watchers: where no coin counts, nobody is a canary.
    shown = exchanged(table, codes, names, audited, parameters, canary_key)
    target = parameters.train.target if parameters.train is not None and shown.canaries.any() else ""

    def side(chosen: NDArray[np.bool_]) -> Side:
        kept = chosen[codes]
        mask, changed = pa.array(kept), bool((chosen & shown.canaries).any())
        labels = table.column(target).filter(mask) if changed else None
        return Side(shown.table.filter(mask).select(list(columns)), codes[kept], labels, target)

    training = side(~draw.withheld & ~watchers)
    record_bytes = max(1, training.table.nbytes // max(1, training.table.num_rows))
    return Rows(
        training, side(draw.withheld & ~shown.canaries), tuple(names), audited, record_bytes, checkpoint_key,
        evidence_key, side(watchers) if watching else None,
        side(shown.canaries) if shown.canaries.any() else None,
    )  # fmt: skip


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
