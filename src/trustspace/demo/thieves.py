"""Cheats on what is stored: opening it too early, opening it at all, and calling it released."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import pyarrow as pa

from trustspace.client import releases
from trustspace.demo.attempts import Cheat
from trustspace.demo.cast import Hospital, Play
from trustspace.demo.lockpick import keys_of, locks, open_with_any, pick, raw_keys, search, understood
from trustspace.demo.powers import clone
from trustspace.domain.bodies import Artifact, Decision, Release
from trustspace.domain.records import DatasetRecord, JobRecord, OutputRecord
from trustspace.errors import InvalidTransition, NotFound, PermissionDenied, PolicyRefused, VerificationFailed
from trustspace.jobs.sections import MODEL_ARTIFACT
from trustspace.transport.tls import Caller

_PATIENTS = 50
_RUN = 3
_WINDOW_BYTES = 24


def output_of(play: Play) -> OutputRecord:
    """The story's output, as the operator's disk has it."""
    view = play.operator.view()
    job = view.get(JobRecord, play.job)
    output = view.get(OutputRecord, job.output) if job else None
    assert output is not None
    return output


def artifact_of(output: OutputRecord, name: str = MODEL_ARTIFACT) -> Artifact:
    """One of its artifacts."""
    return next(artifact for artifact in output.body.artifacts if artifact.name == name)


def buyer_before_approval(play: Play) -> Cheat:
    """The buyer wants the model before anybody has approved it, and the operator helps by leaking the ciphertext."""
    cheat, operator, buyer = Cheat("buyer-before-approval"), play.operator, play.buyer
    model = artifact_of(output_of(play))
    found = locks(operator.view(), operator.statements(), play.job)
    leaked = operator.blob(model.blob).read_bytes()
    keys = keys_of(buyer)
    cheat.attack(
        "early.ask", lambda: buyer.session.link.fetch(model.blob, model.sealed_bytes), PermissionDenied
    )
    cheat.attack("early.client", lambda: releases.fetch(buyer, play.job), InvalidTransition)
    cheat.attack(
        "early.locks", lambda: pick(found, keys), VerificationFailed, keys=len(keys), locks=len(found)
    )
    cheat.attack(
        "early.ciphertext",
        lambda: open_with_any([leaked], operator.keys()),
        VerificationFailed,
        size=len(leaked),
    )
    for hospital in play.hospitals:
        cheat.control(
            "early.control", partial(pick, found, keys_of(hospital.home)), name=hospital.home.party.name
        )
    return cheat


def release_without_approval(play: Play) -> Cheat:
    """The operator declares the output released, to its own ledger and to the buyer."""
    cheat, operator = Cheat("release-without-approval"), play.operator
    output, hospital = output_of(play), play.hospitals[0].home
    names = tuple(a.name for a in output.body.artifacts if a.role != "log")
    decision = operator.sign(
        Decision(
            job=play.job, output=output.statement, evidence=output.body.evidence[0].commitment, policy="0" * 64,
            verdict="reject", artifacts=(), buyer_key="", shares=(), comment="", expires=2**40,
        ).model_copy(update={"verdict": "approve"}),
        hospital.fingerprint,
    )  # fmt: skip
    operator_name = operator.space.operator_fingerprint()
    body = Release(job=play.job, output=output.statement, decisions=(decision.digest,), artifacts=names)
    release = operator.sign(body, operator_name)
    in_its_name = operator.connect_as(Caller(hospital.fingerprint, "client", ""))
    name = hospital.party.name
    cheat.attack(
        "release.decision",
        lambda: in_its_name.submit(decision.envelope.to_bytes()),
        VerificationFailed,
        name=name,
    )
    cheat.attack("release.ledger", lambda: operator.link.submit(release.envelope.to_bytes()), PolicyRefused)
    lied_to = clone(play.buyer, play.root / "buyer-lied-to", operator.fork(release))
    cheat.attack("release.buyer", lambda: releases.fetch(lied_to, play.job), PolicyRefused)
    told_the_truth = clone(play.buyer, play.root / "buyer-told-the-truth", operator.fork())
    cheat.control("release.control", lambda: told_the_truth.session.job(play.job))
    return cheat


def operator_opens(play: Play) -> Cheat:
    """The operator goes through everything it stores, when the whole story has passed through its hands."""
    cheat, operator = Cheat("operator-opens-what-it-stores"), play.operator
    places = operator.everything()
    size = sum(len(content) for content in places.values())
    model = (play.delivery / MODEL_ARTIFACT).read_bytes()
    rows = [needle for hospital in play.hospitals for needle in _rows(hospital)]
    weights = _windows(model)
    public = {record.body.mock for record in operator.view().all(DatasetRecord)}
    ciphertexts = [
        path.read_bytes() for path in sorted(operator.blob("x").parent.iterdir()) if path.name not in public
    ]
    secrets = operator.keys()
    found = locks(operator.view(), operator.statements(), play.job)
    cheat.attack("stored.rows", lambda: _find(places, rows), NotFound, values=len(rows), size=f"{size:,}",
                 places=len(places))  # fmt: skip
    cheat.attack("stored.weights", lambda: _find(places, weights), NotFound, values=len(weights))
    cheat.attack("stored.read", lambda: _read(ciphertexts), NotFound, files=len(ciphertexts))
    cheat.attack(
        "stored.locks", lambda: pick(found, raw_keys(secrets)), VerificationFailed, keys=len(secrets),
        locks=len(found),
    )  # fmt: skip
    cheat.attack("stored.keys", lambda: open_with_any(ciphertexts, secrets), VerificationFailed, keys=len(secrets),
                 files=len(ciphertexts))  # fmt: skip
    at_home = {
        str(index): content
        for index, hospital in enumerate(play.hospitals)
        for content in (hospital.file.read_bytes() + _arrow(hospital.table),)
    }
    cheat.control("stored.rows-control", lambda: _find_all(at_home, rows), values=len(rows))
    cheat.control("stored.weights-control", lambda: _find_all({"": model}, weights), values=len(weights))
    cheat.control("stored.read-control", lambda: _read([model]))
    cheat.control("stored.locks-control", lambda: pick(found, keys_of(play.hospitals[0].home)))
    return cheat


def _rows(hospital: Hospital) -> list[bytes]:
    """What nobody but the hospital should hold: patients' numbers, rows as text, columns as they lie in memory."""
    lines = hospital.file.read_bytes().splitlines()[1 : _PATIENTS + 1]
    numbers = [line.split(b",")[0].strip(b'"') for line in lines]
    texts = [b",".join(line.split(b",")[1 : 1 + _RUN]) for line in lines]
    columns = hospital.rows.values[:_RUN].T
    binary = [
        np.ascontiguousarray(column).tobytes() for column in columns if np.count_nonzero(column) == _RUN
    ]
    return [*numbers, *texts, *binary]


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _windows(model: bytes) -> list[bytes]:
    """Pieces of the weights: the tail of the file, cut up."""
    weights = model[len(model) // 2 :]
    return [weights[i : i + _WINDOW_BYTES] for i in range(0, len(weights) - _WINDOW_BYTES, _WINDOW_BYTES)]


def _find(places: dict[str, bytes], needles: Iterable[bytes]) -> int:
    """Find any; raises NotFound when there is none."""
    wanted = list(needles)
    found = search(places, wanted)
    if not found:
        raise NotFound(
            "None of {values} values is anywhere in {places} places.", values=len(wanted), places=len(places)
        )
    return found


def _find_all(places: dict[str, bytes], needles: list[bytes]) -> None:
    """Find every one; raises NotFound when one is missing."""
    if search(places, needles) != len(needles):
        raise NotFound("The search misses values where they certainly are.")


def _read(files: list[bytes]) -> str:
    """Make sense of any; raises NotFound when there is none to make."""
    for content in files:
        if kind := understood(content):
            return kind
    raise NotFound("None of {files} files is a table, a model or a text.", files=len(files))
