"""Who reads what: bodies and blobs go to those concerned, leaves to all."""

import pytest
from support.cast import Cast, digest

from trustspace.crypto.statement import Envelope, Signature
from trustspace.domain.permissions import (
    may_read_blob,
    may_read_job,
    may_read_statement,
    names_everyone_once,
    roles_of,
)  # fmt: skip
from trustspace.domain.records import BlobRecord
from trustspace.domain.statements import parse
from trustspace.errors import VerificationFailed

JOB_STATEMENTS = (
    "job", "job-countersignature", "job-cancellation", "grant", "refusal", "run-nonce", "run-offer", "code-release", "key-release",
    "run-failed", "output",
    "decision", "revocation", "release", "receipt",
)  # fmt: skip
ASKED = {"job", "job-countersignature", "job-cancellation", "grant", "refusal"}


def readable(cast: Cast, reader: str) -> set[str]:
    who = cast.units[1] if reader == "unit" else getattr(cast, reader)
    return {kind for kind in JOB_STATEMENTS if may_read_statement(cast.view, who.fingerprint, kind, cast.job)}


@pytest.mark.parametrize(
    ("reader", "before", "after"),
    [
        ("unit", set(JOB_STATEMENTS), set(JOB_STATEMENTS)),
        ("auditor", set(JOB_STATEMENTS), set(JOB_STATEMENTS)),
        ("operator", set(JOB_STATEMENTS), set(JOB_STATEMENTS)),
        ("developer", ASKED, ASKED),
        ("buyer", ASKED, set(JOB_STATEMENTS)),
        ("other_unit", set(), set()),
        ("other_developer", set(), set()),
        ("other_buyer", set(), set()),
    ],
)
def test_who_reads_a_jobs_statements(at, reader, before, after):
    assert readable(at("hand_in"), reader) == before
    assert readable(at("approve_all"), reader) == before, "approved is not yet released"
    assert readable(at("release"), reader) == after


def test_what_belongs_to_no_job_is_for_everybody_enrolled_and_nobody_else(at):
    cast = at("describe")
    for kind in ("party", "dataset", "dataset-withdrawn"):
        assert may_read_statement(cast.view, cast.other_buyer.fingerprint, kind, None)
        assert not may_read_statement(cast.view, digest("a stranger"), kind, None)


def test_who_may_ask_about_a_job_at_all(at):
    cast = at("ask")
    allowed = {a.name for a in cast.actors if may_read_job(cast.view, a.fingerprint, cast.job)}
    assert allowed == {
        "Space",
        "Hospital A",
        "Hospital B",
        "Hospital C",
        "Dev GmbH",
        "City Clinic",
        "Auditor",
    }


def test_roles_are_those_of_the_description(at):
    cast = at("enrol")
    assert roles_of(cast.view, cast.auditor.fingerprint) == {"auditor"}
    assert roles_of(cast.view, digest("a stranger")) == frozenset()


def blob_readers(cast: Cast, blob: str) -> set[str]:
    record = cast.view.get(BlobRecord, blob)
    assert record is not None
    return {a.name for a in cast.actors if may_read_blob(cast.view, a.fingerprint, record)}


UNITS = {"Hospital A", "Hospital B", "Hospital C"}


def test_a_mock_is_for_everybody_enrolled(at):
    cast = at("describe")
    mock = cast.dataset(cast.units[0]).body.mock
    assert blob_readers(cast, mock) == {a.name for a in cast.actors}
    assert not may_read_blob(cast.view, digest("a stranger"), cast.view.get(BlobRecord, mock))


def test_open_code_is_for_those_whose_data_it_meets(at):
    cast = at("ask")
    assert blob_readers(cast, cast.job.body.code) == UNITS | {"Dev GmbH"}


def test_artifacts_evidence_and_logs_before_and_after_release(at):
    held = at("hand_in").output.body
    model, metrics, *logs = held.artifacts
    for step, buyer in (("hand_in", set()), ("approve_all", set()), ("release", {"City Clinic"})):
        cast = at(step)
        assert blob_readers(cast, model.blob) == UNITS | buyer
        assert blob_readers(cast, metrics.blob) == UNITS | buyer
        # A domain's own log is for that domain; it was not approved, so the buyer does not get it either.
        assert [blob_readers(cast, log.blob) for log in logs] == [{unit.name} for unit in cast.units]
        for unit, evidence in zip(cast.units, cast.output.body.evidence, strict=True):
            assert blob_readers(cast, evidence.blob) == {unit.name}


def test_released_is_what_every_unit_approved(at):
    assert at("hand_in").job.released == ()
    assert at("approve_all").job.released == ()
    assert at("release").job.released == ("model.safetensors", "metrics.json")


def test_a_reference_to_a_statement_that_is_not_there_opens_nothing(at):
    cast = at("release")
    for purpose in ("mock", "code", "artifact", "evidence"):
        record = BlobRecord(digest=digest("blob"), references=((purpose, digest("no statement")),))
        assert not any(may_read_blob(cast.view, a.fingerprint, record) for a in cast.actors)


def test_everyone_is_named_once(at):
    cast = at("describe")
    body = cast.job_body()
    assert names_everyone_once(body)
    first = body.source_units[0]
    assert not names_everyone_once(body.model_copy(update={"developer": first}))
    assert not names_everyone_once(body.model_copy(update={"source_units": (first, first)}))


def test_the_name_of_the_right_key_over_a_wrong_signature_is_worth_nothing(at):
    cast = at("ask")
    good = cast.sign(cast.buyer, "act", cast.countersignature_body())
    (one,) = good.envelope.signatures
    for wrong in (bytes(64), one.signature[:-1] + bytes([one.signature[-1] ^ 1])):
        forged = Envelope(good.envelope.payload, good.envelope.payload_type, (Signature(one.key_id, wrong),))
        with pytest.raises(VerificationFailed):
            cast.fork().put(parse(forged.to_bytes()))
    cast.put(good)
    assert cast.job.countersigned == good.digest
