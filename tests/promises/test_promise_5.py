"""Promise 5: everything is provable afterwards.

Each act is a signed statement and a leaf of an append-only log. What is proven needs no server; what is in the log
says nothing about patients and confirms no guess.
"""

import hashlib
import json

import pytest
from support.enclaves import make_enclave, publish
from support.story import Story

from trustspace.client import audit, jobs, releases
from trustspace.crypto.canonical import canonical_json, commit, sha256_hex
from trustspace.crypto.statement import sign_statement
from trustspace.domain.bodies import Refusal
from trustspace.domain.certificate import load, verify, verify_content
from trustspace.domain.records import OutputRecord
from trustspace.domain.statements import LogReference, make, parse
from trustspace.errors import (
    InvalidInput,
    LogCorrupted,
    PermissionDenied,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)  # fmt: skip
from trustspace.transport.session import Session


@pytest.fixture(scope="module")
def told():
    """A whole story with two reviewers' reasons, its delivery, and everything that its ledger holds."""
    story = Story()
    story.until_review(reviewers=("Dr Li",))
    story.approve(comment="Fine for a planning study; asked Dr Zhang.")
    story.delivered, story.certificate = story.fetch()
    story.statements = [parse(e.envelope) for e in story.auditor.session.link.read(0, 256, 0)[0]]
    yield story
    story.close()


def everything_said(told) -> bytes:
    """Every statement in the ledger, as it was signed."""
    return b"\n".join(s.envelope.payload for s in told.statements)


# -- a release can be proven without any server


def test_a_certificate_is_verified_offline(told):
    trust = told.auditor.trust()
    data = told.certificate.to_bytes()
    told.world.stop()
    try:
        found = verify(load(data), trust)
        assert found.artifacts == ("summary.json", "groups.json")
        assert found.reviewers == ("Dr Li",)
        for one in told.delivered:
            verify_content(load(data), found, one.name, one.content)
            with pytest.raises(VerificationFailed):
                verify_content(load(data), found, one.name, one.content + b" ")
    finally:
        told.world.start()


def test_somebody_who_pinned_other_people_is_not_convinced(told):
    """The control is the test above: the same certificate, another trust file."""
    trust = told.auditor.trust()
    for party in (told.hospital, told.developer, told.buyer):
        kept = tuple(p for p in trust.parties if p.fingerprint != party.fingerprint)
        with pytest.raises(VerificationFailed):
            verify(told.certificate, trust.model_copy(update={"parties": kept}))


def test_a_certificate_that_lost_its_approval_proves_nothing(told):
    statements = [s for s in told.certificate.statements if b"approve" not in _payload(s)]
    assert len(statements) == len(told.certificate.statements) - 1
    with pytest.raises(TrustspaceError):
        verify(told.certificate.model_copy(update={"statements": tuple(statements)}), told.buyer.trust())


def _payload(proven) -> bytes:
    import base64

    return parse(base64.b64decode(proven.envelope)).envelope.payload


def test_every_act_is_in_the_ledger_and_an_auditor_can_replay_it(told):
    found = audit.verify_ledger(told.auditor)
    assert found.replayed
    assert [s.type for s in told.statements if s.type not in ("party",)] == [
        "dataset", "job", "job-countersignature", "grant", "run-nonce", "run-offer", "key-release", "output",
        "decision", "release", "receipt",
    ]  # fmt: skip


def test_with_a_witness_a_certificate_waits_for_its_cosignature():
    story = Story()
    try:
        witness = audit.Witness(story.auditor)
        story.buyer.save_trust(story.buyer.trust().with_witness(witness.verifier, 1))
        story.until_review()
        story.approve()
        with pytest.raises(Unavailable, match="cosigned"):
            releases.fetch(story.buyer, story.job, wait_for_witnesses_seconds=0.3)
        witness.cosign_newest()
        _, certificate = releases.fetch(story.buyer, story.job, wait_for_witnesses_seconds=10)
        assert verify(certificate, story.buyer.trust()).ledger_size == story.world.ledger.standing().size
    finally:
        story.close()


# -- one ledger for everybody


def test_a_statement_that_names_a_state_the_ledger_never_had_is_refused(told):
    real = told.hospital.session.sync()

    def statement(log):
        return make(
            Refusal(job=told.job), by=told.hospital.fingerprint, issued=told.hospital.session.now(), nonce=b"n" * 32,
            log=log, public=told.hospital.keys.public("grant"), sign=lambda m: told.hospital.keys.sign("grant", m),
        ).envelope.to_bytes()  # fmt: skip

    link = told.world.link(told.hospital)
    for log in (
        LogReference(origin=real.origin, size=real.size, root="ab" * 32),
        LogReference(origin=real.origin, size=real.size + 5, root=real.root),
        LogReference(origin=real.origin, size=0, root=real.root),
        LogReference(origin="another/ledger", size=real.size, root=real.root),
    ):
        with pytest.raises(VerificationFailed, match="never had"):
            link.submit(statement(log))
    # With the state that it did have, the same statement is judged by its content.
    with pytest.raises(TrustspaceError, match="released"):
        link.submit(statement(real))


def test_a_client_that_was_shown_more_does_not_accept_less(told, tmp_path):
    """The space answers with an older checkpoint of its own; who never saw the newer one accepts it."""
    link = told.world.link(told.auditor)
    old_note, _ = link.checkpoint(0)
    told.developer.publish(told.developer.party.keys)
    told.auditor.session.sync()
    real = told.auditor.session.link.checkpoint
    told.auditor.session.link.checkpoint = lambda known_size: (old_note, ())
    try:
        with pytest.raises(LogCorrupted, match="shorter"):
            told.auditor.session.sync()
        naive = Session(
            told.auditor.session.link, told.auditor.trust, told.auditor.fingerprint, tmp_path / "ledger.json"
        )
        assert naive.sync().size < told.world.ledger.standing().size
    finally:
        told.auditor.session.link.checkpoint = real


# -- what the ledger says about people


def test_no_patient_and_no_value_is_in_any_statement(told):
    said = everything_said(told)
    for patient in told.table.column("patient").to_pylist():
        assert patient.encode() not in said
    for column in ("size", "texture"):
        for value in told.table.column(column).to_pylist():
            assert repr(value).encode() not in said
    # What is public is what the officer confirmed.
    assert b"Cytology" in said


def test_no_free_text_of_a_reviewer_is_in_any_statement(told):
    said = everything_said(told)
    assert b"planning study" not in said
    assert b"Zhang" not in said
    # It is committed to: who holds the text can show that it was this one.
    (kept,) = told.hospital.state()["comments"].values()
    committed = commit(kept["text"].encode(), bytes.fromhex(kept["salt"]))
    assert committed.encode() in said


def test_no_released_or_unreleased_content_is_hashed_plainly(told):
    """A result of few possible values could be found by hashing them all; the ledger must not say which it was."""
    said = everything_said(told)
    for content in (*(d.content for d in told.delivered), told.case().report.to_bytes()):
        for algorithm in ("sha256", "sha1", "md5", "sha512", "blake2b"):
            assert hashlib.new(algorithm, content).hexdigest().encode() not in said


def test_a_right_guess_of_a_small_result_is_not_confirmed(told):
    """``groups.json`` counts 120 patients in two groups: 121 guesses. None of them fits anything without the salt."""
    groups = next(d for d in told.delivered if d.name == "groups.json")
    output = told.world.ledger.view.get(OutputRecord, told.record.output).body
    artifact = next(a for a in output.artifacts if a.name == "groups.json")
    published = json.dumps([s.envelope.payload.decode() for s in told.statements])
    guesses = [
        json.dumps({"B": n, "M": 120 - n}, sort_keys=True, separators=(",", ":")).encode() for n in range(121)
    ]
    assert groups.content in guesses, "one of them is right"
    for guess in guesses:
        assert sha256_hex(guess) not in published
        for salt in (
            bytes(32),
            bytes.fromhex(told.job),
            bytes.fromhex(output.run),
            bytes.fromhex(artifact.blob),
        ):
            assert commit(guess, salt) not in published
    # The salt is what makes it checkable, and it came to the buyer with the content.
    assert commit(groups.content, groups.salt) == artifact.commitment


def test_sizes_in_the_ledger_are_classes():
    """Two results of different length are of one size to everybody but the buyer."""
    sizes = []
    for note in ("x", "x" * 900):
        story = Story()
        try:
            code = f"def run(inputs, outputs):\n    outputs.json('summary.json', {{'note': '{note}'}})\n"
            from support.enclaves import JOB

            story.until_review(text=JOB, code=code)
            output = story.world.ledger.view.get(OutputRecord, story.record.output).body
            sizes.append([(a.name, a.sealed_bytes) for a in output.artifacts])
        finally:
            story.close()
    assert sizes[0] == sizes[1]


def test_leaves_say_nothing_to_those_who_may_not_read(told):
    """A leaf is the hash of a statement with 32 random bytes: nobody tries out what it might be."""
    refusal = Refusal(job=told.job)
    one, other = (
        make(
            refusal, by=told.hospital.fingerprint, issued=1, nonce=nonce, log=told.hospital.session.sync(),
            public=told.hospital.keys.public("grant"), sign=lambda m: told.hospital.keys.sign("grant", m),
        ).digest
        for nonce in (b"a" * 32, b"b" * 32)
    )  # fmt: skip
    assert one != other
    nonces = [s.nonce for s in told.statements]
    assert len(set(nonces)) == len(nonces)
    stranger = told.world.party("Stranger", "developer")
    read = [parse(e.envelope).type for e in told.world.link(stranger).read(0, 256, 0)[0]]
    assert set(read) <= {"party", "dataset"}


# -- refusals bind and are provable


def test_a_refusal_is_in_the_ledger_without_its_reason():
    story = Story()
    try:
        story.ask()
        jobs.refuse(story.hospital, story.job)
        statement = story.hospital.session.job(story.job).statements[-1]
        assert statement.type == "refusal"
        assert set(statement.body.model_dump()) == {"job"}
        with pytest.raises(TrustspaceError):
            story.grant()
    finally:
        story.close()


# -- signatures mean one thing each


def test_what_was_signed_for_one_purpose_serves_no_other(told):
    """A manifest, a statement and a checkpoint are signed by different keys, in forms that exclude each other."""
    manifest = canonical_json({"dataset": "x"})
    keys = told.hospital.keys
    envelope = sign_statement(manifest, keys.public("act"), lambda m: keys.sign("act", m)).to_bytes()
    with pytest.raises((VerificationFailed, InvalidInput)):
        told.world.link(told.hospital).submit(envelope)
    note = told.world.link(told.hospital).checkpoint(0)[0]
    with pytest.raises((VerificationFailed, InvalidInput)):
        told.world.link(told.hospital).submit(note.encode())


def test_the_auditor_reads_all_and_decides_nothing(told):
    with pytest.raises(PermissionDenied):
        told.auditor.submit(Refusal(job=told.job), "act")
    assert len(told.statements) == told.certificate.statements[-1].index + 1


def test_two_spaces_do_not_share_evidence(told):
    """The same hospital in another space: a statement made for one ledger is none of the other's."""
    other = Story()
    try:
        assert other.hospital.fingerprint != told.hospital.fingerprint
        with pytest.raises(VerificationFailed):
            verify(told.certificate, other.auditor.trust())
    finally:
        other.close()


def test_an_enclave_hosted_by_the_operator_says_so():
    """Where the operator's machine holds the data, every statement of the run carries that word."""
    story = Story()
    try:
        hosted = make_enclave(story.world, story.hospital, name="Hosted", custody="operator-hosted")
        digest = publish(story.hospital, story.world, name="hosted-data", enclave="Hosted")
        assert story.hospital.session.dataset(digest).body.custody == "operator-hosted"
        assert hosted.runner._evidence.custody == "operator-hosted"
        hosted.stop()
    finally:
        story.close()
